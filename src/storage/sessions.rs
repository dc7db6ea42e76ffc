//! The record of a run's sessions: the processes that trained it, where and with what.

use crate::storage::atomic;
use crate::{Result, files};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name of the record in a run's folder.
pub const FILE: &str = "sessions.json";

/// A process that trained a run, or a part of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionRecord {
    /// The words of the command that started the process.
    pub command: Vec<String>,
    /// The version of this library.
    pub version: String,
    /// The adapter.
    pub adapter: String,
    /// The interface that it was used through, such as `vulkan`.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// The matrix core.
    pub core: String,
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// The step that it began after.
    pub from: u64,
    /// The last step that was saved.
    pub to: u64,
    /// Seconds that it trained until then, measurements and checkpoints included.
    pub seconds: f64,
    /// Device memory at peak, in bytes.
    pub peak_device_bytes: u64,
}

/// Returns the record of a run's folder; empty where there is none that can be read.
pub fn load(folder: &Path) -> Vec<SessionRecord> {
    let text = files::read_text(&folder.join(FILE), files::TEXT).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Writes the record of a run's folder.
///
/// # Errors
/// If it cannot be written.
pub fn save(folder: &Path, sessions: &[SessionRecord]) -> Result<()> {
    let text = serde_json::json!(sessions);
    atomic::write(&folder.join(FILE), format!("{text:#}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_a_damaged_one_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()), []);
        let one = SessionRecord {
            command: vec!["wgvq".into(), "train".into()],
            from: 3,
            seconds: 0.5,
            ..Default::default()
        };
        save(folder.path(), std::slice::from_ref(&one)).unwrap();
        assert_eq!(load(folder.path()), [one]);
        // Fields that another version does not have.
        std::fs::write(folder.path().join(FILE), "[{\"to\": 7, \"more\": 1}]").unwrap();
        assert_eq!(load(folder.path())[0].to, 7);
        std::fs::write(folder.path().join(FILE), "[{\"to\"").unwrap();
        assert_eq!(load(folder.path()), []);
    }
}
