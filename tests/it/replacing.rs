//! Whatever replaces is whole first; what can be known is checked before anything is done.
