//! Files of models and codes, and training that goes wrong.
