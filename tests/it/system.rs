//! Signals, paths, file systems and limits of the machine.
