//! Where a run keeps what reads and judges its texts.

use std::path::{Path, PathBuf};

/// Returns the folder of a run's tokenizer.
pub fn text_folder(run: &Path) -> PathBuf {
    run.join("text")
}

/// Returns the folder of a run's contrastive model.
pub fn contrastive_folder(run: &Path) -> PathBuf {
    run.join("contrastive")
}
