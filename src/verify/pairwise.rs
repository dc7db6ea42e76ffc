//! A choice of kernel variants that covers all of them two defines at a time.

use crate::gpu::Kernel;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Two defines of a file and a value of each; `None` where it is not set.
pub type Pair<'a> = ((&'a str, Option<u32>), (&'a str, Option<u32>));

/// Returns the pairs of each variant, over the defines that any of them sets.
pub fn pairs<'a>(variants: &[&'a Kernel]) -> Vec<Vec<Pair<'a>>> {
    let axes: BTreeSet<&str> = variants
        .iter()
        .flat_map(|kernel| kernel.defines().iter().map(|(name, _)| *name))
        .collect();
    let of = |kernel: &&'a Kernel| {
        let values: Vec<(&str, Option<u32>)> =
            axes.iter().map(|axis| (*axis, kernel.get(axis))).collect();
        let rest = |i: usize| values[i + 1..].iter().map(move |b| (i, *b));
        let both = (0..values.len()).flat_map(rest);
        // A file with a single define has each of its values met as well.
        let alone = values.iter().map(|a| (*a, *a));
        alone
            .chain(both.map(|(i, b)| (values[i], b)))
            .collect::<Vec<Pair>>()
    };
    variants.iter().map(of).collect()
}

/// Returns variants of one file among which every two values of two defines that meet in some
/// variant meet as well: greedily, whichever brings most pairs that are still missing, until none
/// is.
pub fn pairwise<'a>(variants: &[&'a Kernel]) -> Vec<&'a Kernel> {
    let mut numbers: HashMap<Pair, usize> = HashMap::new();
    let of: Vec<Vec<usize>> = pairs(variants)
        .into_iter()
        .map(|pairs| {
            pairs
                .into_iter()
                .map(|pair| {
                    let next = numbers.len();
                    *numbers.entry(pair).or_insert(next)
                })
                .collect()
        })
        .collect();
    let mut missing = vec![true; numbers.len()];
    let mut chosen = Vec::new();
    loop {
        let gain = |i: usize| of[i].iter().filter(|pair| missing[**pair]).count();
        let best = (0..variants.len()).max_by_key(|i| (gain(*i), usize::MAX - i));
        let Some(best) = best.filter(|i| gain(*i) > 0 || chosen.is_empty()) else {
            return chosen;
        };
        of[best].iter().for_each(|pair| missing[*pair] = false);
        chosen.push(variants[best]);
    }
}

/// Returns the variants of each file, by the file's name.
pub fn by_file(kernels: &BTreeMap<String, Kernel>) -> BTreeMap<&str, Vec<&Kernel>> {
    let mut files: BTreeMap<&str, Vec<&Kernel>> = BTreeMap::new();
    for kernel in kernels.values() {
        files.entry(kernel.source().name).or_default().push(kernel);
    }
    files
}
