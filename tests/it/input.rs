//! What people hand in: pictures, tars, captions, labels.
