//! Places of parameters: one behind the other in the order of an arena, which falls into parts
//! where one buffer would be more than the device binds at once.

use crate::{Error, Result};
use std::collections::BTreeMap;

/// Elements in the 256 bytes that bindings are aligned to.
pub(super) const ALIGN: usize = 64;

/// A parameter's place.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    /// The part that it lies in, by its number.
    pub(super) part: usize,
    /// Elements before it in its part.
    pub(super) start: usize,
    /// Whether it is left out of the arena.
    pub(super) omitted: bool,
}

impl Slot {
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A part of an arena: a buffer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Elements of the arena before it.
    pub(super) start: usize,
    /// Its elements, padding included.
    pub(super) len: usize,
}

/// Places of the parameters in an arena.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(super) slots: Vec<Slot>,
    pub(super) parts: Vec<Part>,
    /// Elements at the start of the arena that weight decay reaches.
    pub(super) decay_len: usize,
}

/// A parameter that is to be placed.
pub(super) struct Unplaced<'a> {
    pub(super) name: &'a str,
    pub(super) shape: &'a [usize],
    /// Whether weight decay reaches it.
    pub(super) decays: bool,
    pub(super) omitted: bool,
}

impl Layout {
    /// Places parameters, those that weight decay reaches first, in parts of at most `most`
    /// elements. None is split over two: one that is larger has a part of its own.
    ///
    /// # Errors
    /// If they are more than any memory holds, or none is left.
    pub(super) fn of(declared: &[Unplaced], most: usize) -> Result<Layout> {
        let wrong = |what: &str| Err(Error::invalid("parameters", what));
        let mut places = vec![(0, 0); declared.len()];
        let (mut parts, mut decay_len): (Vec<Part>, _) = (Vec::new(), 0);
        let mut len = 0usize;
        for decays in [true, false] {
            let kept = places
                .iter_mut()
                .zip(declared)
                .filter(|(_, d)| d.decays == decays && !d.omitted);
            for (place, d) in kept {
                let own = d.shape.iter().product::<usize>().next_multiple_of(ALIGN);
                let all = len.checked_add(own);
                let Some(all) = all.filter(|all| *all <= isize::MAX as usize / 4) else {
                    return wrong("they are more than any memory holds");
                };
                match parts.last_mut() {
                    Some(part) if part.len + own <= most => part.len += own,
                    _ => parts.push(Part {
                        start: len,
                        len: own,
                    }),
                }
                let part = parts.len() - 1;
                *place = (part, parts[part].len - own);
                len = all;
            }
            if decays {
                decay_len = len;
            }
        }
        if len == 0 {
            return wrong("all were left out; a part of a model needs one at least");
        }
        let slots = places.into_iter().zip(declared);
        let slots = slots.map(|((part, start), d)| Slot {
            name: d.name.to_owned(),
            shape: d.shape.to_vec(),
            part,
            start,
            omitted: d.omitted,
        });
        Ok(Layout {
            slots: slots.collect(),
            parts,
            decay_len,
        })
    }

    /// Returns the elements of all parts, padding included.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len).sum()
    }

    /// Returns the elements at the start of a part that weight decay reaches.
    pub(super) fn decay_len_of(&self, part: usize) -> usize {
        let Part { start, len } = self.parts[part];
        self.decay_len.saturating_sub(start).min(len)
    }

    /// Returns the slots that are not left out, in the order of declaration.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| !slot.omitted)
    }

    /// Checks that tensors of these shapes, by name, are those of the parameters. `what` names
    /// them in errors.
    ///
    /// # Errors
    /// If one is missing, unexpected or of another shape.
    pub(super) fn check(&self, what: &str, shapes: &BTreeMap<&str, &[usize]>) -> Result<()> {
        let mut known = BTreeMap::new();
        for slot in self.kept() {
            let Some(shape) = shapes.get(slot.name.as_str()) else {
                return Err(Error::data(format!(
                    "{what}: `{}` of shape {:?} is missing: it is another architecture's, or cut \
                     short",
                    slot.name, slot.shape
                )));
            };
            if *shape != slot.shape {
                return Err(Error::data(format!(
                    "{what}: `{}` has shape {shape:?}, but the model's has shape {:?}",
                    slot.name, slot.shape
                )));
            }
            known.insert(slot.name.as_str(), ());
        }
        match shapes.keys().find(|name| !known.contains_key(*name)) {
            Some(name) => Err(Error::data(format!(
                "{what}: `{name}` is unexpected: the model has no such parameter"
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(sizes: &[(usize, bool)], most: usize) -> Layout {
        let names: Vec<String> = (0..sizes.len()).map(|i| format!("p{i}")).collect();
        let shapes: Vec<[usize; 1]> = sizes.iter().map(|(n, _)| [*n]).collect();
        let declared: Vec<Unplaced> = sizes
            .iter()
            .zip(names.iter().zip(&shapes))
            .map(|((_, decays), (name, shape))| Unplaced {
                name,
                shape,
                decays: *decays,
                omitted: false,
            })
            .collect();
        Layout::of(&declared, most).unwrap()
    }

    /// In one part or several, a parameter has the same place in the arena, and lies in one part.
    #[test]
    fn parts_divide_the_arena_between_parameters() {
        let sizes = [
            (100, true),
            (64, false),
            (65, true),
            (700, true),
            (1, false),
        ];
        let whole = layout(&sizes, usize::MAX);
        assert_eq!(whole.parts.len(), 1);
        for most in [64, 128, 256, 300, 704, 1024] {
            let cut = layout(&sizes, most);
            assert!(cut.parts.len() > 1, "{most}");
            assert_eq!((cut.len(), cut.decay_len), (whole.len(), whole.decay_len));
            let mut decays = 0;
            for (i, part) in cut.parts.iter().enumerate() {
                let own = cut.slots.iter().filter(|slot| slot.part == i);
                let most_there = own.map(|slot| slot.len().next_multiple_of(ALIGN)).max();
                // A larger one is alone.
                assert!(part.len <= most || Some(part.len) == most_there, "{most}");
                decays += cut.decay_len_of(i);
            }
            assert_eq!(decays, whole.decay_len);
            for (a, b) in cut.slots.iter().zip(&whole.slots) {
                assert_eq!(cut.parts[a.part].start + a.start, b.start, "{most}");
                assert!(a.start + a.len() <= cut.parts[a.part].len);
            }
        }
    }
}
