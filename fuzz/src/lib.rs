//! Gives a fuzzer's bytes to readers that take the path of a file.

use std::path::Path;
use tempfile::TempDir;

thread_local! {
    /// In memory where the system has such a folder, since each input is written once.
    static FOLDER: TempDir = {
        let memory = Path::new("/dev/shm");
        let made = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        made.expect("a temporary folder")
    };
}

/// Calls `read` with the path of a file of this name that holds these bytes. No file may appear
/// beside it, nor above its folder.
pub fn with_file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    FOLDER.with(|folder| {
        let root = folder.path().join("input");
        std::fs::create_dir_all(&root).expect("a folder");
        let path = root.join(name);
        std::fs::write(&path, bytes).expect("a file");
        read(&path);
        let names = |folder: &Path| -> Vec<_> {
            let entries = std::fs::read_dir(folder).expect("the folder is there");
            entries
                .map(|entry| entry.expect("an entry").file_name())
                .collect()
        };
        assert_eq!(names(&root), [name], "files beside {name}");
        assert_eq!(names(folder.path()), ["input"], "files above {name}");
    });
}

/// Opens a file as a data set, and reads every image of it.
pub fn open_set(name: &str, bytes: &[u8]) {
    with_file(name, bytes, read_images);
}

/// Opens a folder with one file as a data set, and reads every image of it.
pub fn open_folder(name: &str, bytes: &[u8]) {
    with_file(name, bytes, |path| {
        read_images(path.parent().expect("a folder"));
    });
}

fn read_images(source: &Path) {
    use wgvq::data::{self, Options, Residency};
    let options = Options {
        keep: Residency::Memory,
        cache_bytes: 0,
        ..Options::default()
    };
    let source = source.to_str().expect("a path in Unicode");
    if let Ok(set) = data::open(source, &options) {
        let all: Vec<u32> = (0..set.len() as u32).collect();
        let _ = set.gather(&all);
    }
}
