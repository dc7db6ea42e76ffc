//! Runs that are moved, resumed and extended.
