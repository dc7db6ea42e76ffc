//! Sets of images with labels, however they were read.

use crate::data::{ImageSet, Item, split};
use std::collections::BTreeSet;

/// Images with labels, the test side's behind the others.
pub(super) struct Labelled {
    pub name: String,
    /// Width, height and channels.
    pub size: [usize; 3],
    pub pixels: Vec<u8>,
    /// Images to train on, and images held out.
    pub counts: [usize; 2],
    pub labels: Option<Vec<u8>>,
    /// The classes' names by their labels, where they have some.
    pub names: Vec<String>,
    pub notes: Vec<String>,
}

/// Returns the set of labelled images.
pub(super) fn assemble(of: Labelled) -> ImageSet {
    let Labelled {
        name,
        size: [width, height, channels],
        pixels,
        counts: [count, held_out],
        labels,
        names,
        mut notes,
    } = of;
    let named = |i: usize| match held_out {
        0 => format!("{i:05}"),
        _ if i < count => format!("train/{i:05}"),
        _ => format!("test/{:05}", i - count),
    };
    // A label that never comes is no class: nothing could be drawn of it.
    let numbers: Vec<u8> = labels
        .iter()
        .flatten()
        .copied()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let class = |i: usize| Some(numbers.binary_search(&labels.as_ref()?[i]).ok()? as u32);
    let all = count + held_out;
    let items: Vec<Item> = (0..all)
        .map(|i| Item {
            name: named(i),
            group: i as u64,
            class: class(i),
            caption: None,
            embedding: None,
        })
        .collect();
    let (train_items, test_items) = if held_out > 0 {
        notes.push(format!(
            "split as the files give it: {count} to train on, {held_out} held out"
        ));
        (
            (0..count as u32).collect(),
            (count as u32..all as u32).collect(),
        )
    } else {
        let (train, test, note) = split(&items);
        notes.extend(note);
        (train, test)
    };
    let class_name = |label: &u8| match names.get(usize::from(*label)) {
        Some(name) => name.clone(),
        None => label.to_string(),
    };
    ImageSet {
        name,
        width,
        height,
        channels,
        pixels: pixels.into(),
        items,
        classes: numbers.iter().map(class_name).collect(),
        notes,
        train: train_items,
        test: test_items,
    }
}
