//! Sets by where they come from: named sets, folders, archives, files of captions, Parquet and IDX
//! files.

pub(super) mod archive;
pub(super) mod captions;
pub(super) mod cifar;
pub(super) mod embedding;
mod emoji;
pub(super) mod folder;
mod grid;
pub(super) mod idx;
mod image_file;
mod labelled;
pub(super) mod location;
pub(super) mod memory;
pub(super) mod named;
pub(super) mod numpy;
pub(super) mod parquet;
pub(super) mod test_files;
mod tiles;
