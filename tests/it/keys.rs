//! Configuration keys, plans, and what commands say.
