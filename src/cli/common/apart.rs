//! Checks that outputs have places of their own: none over an input, and none over another output.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wgvq::{Error, Result};

/// Checks that all outputs are files of their own, and none an input.
///
/// # Errors
/// If not; the message names the file and what to change.
pub fn apart<I: AsRef<Path>, O: AsRef<Path>>(
    inputs: impl IntoIterator<Item = I>,
    outputs: impl IntoIterator<Item = O>,
) -> Result<()> {
    let mut taken: BTreeMap<PathBuf, bool> = inputs
        .into_iter()
        .map(|path| (place(path.as_ref()), false))
        .collect();
    for path in outputs {
        let path = path.as_ref();
        match taken.insert(place(path), true) {
            None => {}
            Some(false) => {
                return Err(Error::file(
                    path,
                    "is read by this command and would be replaced: name another output",
                ));
            }
            Some(true) => {
                return Err(Error::file(
                    path,
                    "would be written twice, the second file over the first: name another output",
                ));
            }
        }
    }
    Ok(())
}

/// The file that holds the model of a run that is named by its folder or by that file.
pub fn model_of(run: &Path) -> PathBuf {
    if run.is_dir() {
        run.join("final.safetensors")
    } else {
        run.to_owned()
    }
}

/// One name for each file, however it is spelt: links and `..` followed as far as there is
/// something.
fn place(path: &Path) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (whole.parent(), whole.file_name()) {
        (Some(folder), Some(name)) => place(folder).join(name),
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_known_by_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.png"), "").unwrap();
        let none: [PathBuf; 0] = [];
        apart([at("a.png")], [at("b.png"), at("new/b.png")]).unwrap();
        for again in ["./a.png", "new/../a.png"] {
            std::fs::create_dir_all(at("new")).unwrap();
            let said = apart([at("a.png")], [at(again)]).unwrap_err().to_string();
            assert!(said.contains("a.png") && said.contains("is read"), "{said}");
        }
        for (one, two) in [("b.npy", "./b.npy"), ("none/x", "none/./x")] {
            let said = apart(&none, [at(one), at(two)]).unwrap_err().to_string();
            assert!(said.contains("twice"), "{said}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("a.png"), at("link.png")).unwrap();
            assert!(apart([at("link.png")], [at("a.png")]).is_err());
        }
    }
}
