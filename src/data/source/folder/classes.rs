//! The classes of a set: what is said beside its images, or the folders that they lie in.

use std::collections::{BTreeSet, HashMap};

use crate::data::source::image_file::{ImageFile, Sidecar, UnreadableTexts};

/// A class: its number, where the source gives it one, and its name.
type Class = (Option<usize>, String);

/// Returns the names of the classes, and each image's place among them: what is said beside
/// images, where that is so of any, else the names of the subfolders `depth` folders down.
pub(super) fn classes(
    files: &[ImageFile],
    depth: usize,
    unread: &mut UnreadableTexts,
) -> (Vec<String>, Vec<Option<u32>>) {
    let is_said = files.iter().any(|file| file.class != Sidecar::Nothing);
    let of = |file: &ImageFile| -> Option<Class> {
        match &file.class {
            Sidecar::Class(number, name) => Some((Some(*number), name.clone())),
            class if is_said => Some((None, class.read(unread)?)),
            _ => Some((None, (*file.folders().get(depth)?).to_owned())),
        }
    };
    let said: Vec<Option<Class>> = files.iter().map(of).collect();
    let all: BTreeSet<&Class> = said.iter().flatten().collect();
    let mut all: Vec<&Class> = all.into_iter().collect();
    // Numbers in their own order, where all are; so many digits or none more is as good as their
    // value.
    let value = |class: &Class| class.1.parse::<u64>().ok();
    let is_number = |class: &&Class| class.0.is_none() && value(class).is_some();
    if is_said && all.iter().all(is_number) {
        all.sort_by_key(|class| value(class));
    }
    let place: HashMap<&Class, u32> = all.iter().copied().zip(0..).collect();
    let of = said.iter().map(|class| class.as_ref().map(|c| place[c]));
    let of = of.collect();
    (all.into_iter().map(|(_, name)| name.clone()).collect(), of)
}
