//! Files that are there whole or not at all: atomic writes, run folders, logs, and the container of
//! every tensor file.

pub mod atomic;
pub mod checkpoint;
pub(crate) mod file_system;
pub mod metrics_log;
pub mod run_folder;
pub mod run_parts;
pub mod staged;
pub mod table;
pub mod weights;
