//! Files that are there whole or not at all: atomic writes, run folders, logs, and the container of
//! every tensor file.

pub mod atomic;
pub mod checkpoint;
pub mod event_file;
pub(crate) mod file_system;
pub mod folder_lock;
mod host_tensor;
pub mod metrics_log;
pub mod protobuf;
pub mod run_folder;
pub mod run_parts;
pub mod sessions;
pub mod staged;
pub mod table;
pub mod weights;
