//! Weights of classes: how often training draws the images of each.
//!
//! As `WeightedRandomSampler` of PyTorch does, images are drawn more or less often, and no loss is
//! multiplied: in expectation both are the same, and a step of drawn images varies less. Unlike
//! there, nothing is left to chance but the order. An epoch of n images has a number of places for
//! each class, the nearest whole numbers to its share of the weights, in a keyed permutation; a
//! class's own images fill its places in permutations of their own, so that each of them comes as
//! often as the others of its class. All of it is a function of the seed and the position.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::loader::order::{Permutation, batch_indices};
use crate::splitmix::splitmix64 as mix;
use crate::{Error, Result};

/// The weights by which the images of classes are drawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum ClassWeights {
    /// Every image as often as any other.
    #[default]
    None,
    /// Every class as often as any other.
    Balanced,
    /// An image of each class by the class's weight, in the order of the classes.
    Each(Vec<f64>),
}

/// The form of weights in a configuration.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Word(String),
    Numbers(Vec<f64>),
}

impl TryFrom<Written> for ClassWeights {
    type Error = String;

    fn try_from(written: Written) -> std::result::Result<ClassWeights, String> {
        match written {
            Written::Word(word) => match word.as_str() {
                "none" => Ok(ClassWeights::None),
                "balanced" => Ok(ClassWeights::Balanced),
                // As serde says it, so that it is told in the same words as for other keys.
                _ => Err(format!(
                    "unknown variant `{word}`, expected `none` or `balanced`"
                )),
            },
            Written::Numbers(all) => Ok(ClassWeights::Each(all)),
        }
    }
}

impl From<ClassWeights> for Written {
    fn from(weights: ClassWeights) -> Written {
        match weights {
            ClassWeights::None => Written::Word("none".into()),
            ClassWeights::Balanced => Written::Word("balanced".into()),
            ClassWeights::Each(all) => Written::Numbers(all),
        }
    }
}

impl ClassWeights {
    /// Checks that the numbers can be weights; `key` is what errors name.
    ///
    /// # Errors
    /// If one is negative or not finite, or none is above 0.
    pub(crate) fn check(&self, key: &str) -> Result<()> {
        let ClassWeights::Each(all) = self else {
            return Ok(());
        };
        if let Some(wrong) = all.iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
            let what = format!("{wrong} is not allowed: a weight is a number of at least 0");
            return Err(Error::config(key, what));
        }
        if all.iter().all(|w| *w == 0.0) {
            let what = "has no weight above 0, so that no image would be drawn: write `none`, or a \
                        number for each class";
            return Err(Error::config(key, what));
        }
        Ok(())
    }

    /// Returns the order in which images of these classes are drawn; `None` where each comes once
    /// in an epoch. `names` has the classes' names, as far as they are known, of `count` classes;
    /// errors name `key` and `data`.
    ///
    /// # Errors
    /// If the images have no classes, there is not a weight for each class, or all of those that
    /// have images weigh nothing.
    pub(crate) fn order(
        &self,
        key: &str,
        data: &str,
        names: &[String],
        count: usize,
        class_of: &[Option<u32>],
    ) -> Result<Option<Arc<ClassOrder>>> {
        if *self == ClassWeights::None {
            return Ok(None);
        }
        // The last are images without a class.
        let mut members = vec![Vec::new(); count + 1];
        for (place, class) in (0..).zip(class_of) {
            let class = class.map_or(count, |class| (class as usize).min(count));
            members[class].push(place);
        }
        let labelled = class_of.len() - members[count].len();
        if labelled == 0 {
            let what = format!(
                "needs classes, and the images of {data} have none: set it to none, or give \
                 images in a folder to each class, or with labels"
            );
            return Err(Error::config(key, what));
        }
        let mut weights = match self {
            ClassWeights::Each(all) if all.len() != count => {
                let what = format!(
                    "has {} numbers, and {data} has {count} classes: {}",
                    all.len(),
                    counted(names, &members[..count])
                );
                return Err(Error::config(key, what));
            }
            ClassWeights::Each(all) => all.clone(),
            ClassWeights::Balanced | ClassWeights::None => {
                let present = members[..count].iter().filter(|m| !m.is_empty()).count();
                let each = labelled as f64 / present.max(1) as f64;
                let weight = |m: &Vec<u32>| each / m.len().max(1) as f64;
                members[..count].iter().map(weight).collect()
            }
        };
        // Their mean, where classes are balanced.
        weights.push(1.0);
        let order = ClassOrder::new(&weights, members);
        order.map(|order| Some(Arc::new(order))).ok_or_else(|| {
            let what = "gives all classes that have images to train on a weight of 0";
            Error::config(key, what)
        })
    }
}

/// Returns classes with the number of their images.
fn counted(names: &[String], members: &[Vec<u32>]) -> String {
    let one = |(i, m): (usize, &Vec<u32>)| match names.get(i) {
        Some(name) => format!("{name} ({} images)", m.len()),
        None => format!("class {i} ({} images)", m.len()),
    };
    let shown = members.iter().enumerate().take(12).map(one);
    let more = match members.len().saturating_sub(12) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", shown.collect::<Vec<_>>().join(", "))
}

/// The order in which images are drawn whose classes have weights.
#[derive(Debug, PartialEq, Eq)]
pub struct ClassOrder {
    /// Classes that are drawn, by their first place in an epoch.
    shares: Vec<Share>,
    /// Images of the classes that are drawn, class after class.
    members: Vec<u32>,
    /// Places of an epoch, as many as there are images.
    epoch: u32,
}

/// The places of a class in an epoch, before they are put in order.
#[derive(Debug, PartialEq, Eq)]
struct Share {
    class: u64,
    places: Range<u32>,
    members: Range<usize>,
}

/// Keeps the order of a class's own images apart from the order of all.
const CLASS_STREAM: u64 = 0x636c_6173_7365_7300;

impl ClassOrder {
    /// Returns the order for classes of these weights and images; `None` if no image would be
    /// drawn.
    fn new(weights: &[f64], members: Vec<Vec<u32>>) -> Option<ClassOrder> {
        let epoch: usize = members.iter().map(Vec::len).sum();
        let epoch = u32::try_from(epoch).ok().filter(|n| *n < 1 << 31)?;
        let sums = weights.iter().zip(&members);
        // Of the largest, so that no product leaves f64 at either end.
        let most = weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let share = |w: f64| match w > 0.0 {
            true => (w / most).max(f64::MIN_POSITIVE),
            false => 0.0,
        };
        let sums: Vec<f64> = sums.map(|(w, m)| share(*w) * m.len() as f64).collect();
        let places = places(&sums, epoch)?;
        let (mut shares, mut all, mut first) = (Vec::new(), Vec::new(), 0);
        for (class, (places, members)) in (0..).zip(places.into_iter().zip(members)) {
            if places > 0 {
                let begin = all.len();
                all.extend(members);
                shares.push(Share {
                    class,
                    places: first..first + places,
                    members: begin..all.len(),
                });
                first += places;
            }
        }
        Some(ClassOrder {
            shares,
            members: all,
            epoch,
        })
    }

    /// Returns the images of step `step` (from 0) at `batch` images a step, by their places in the
    /// list whose classes were given.
    pub fn batch(&self, seed: u64, step: u64, batch: usize) -> Vec<u32> {
        let n = u128::from(self.epoch);
        let start = u128::from(step) * batch as u128;
        let mut order = None;
        let image = |i| {
            let position = start + i as u128;
            let epoch = (position / n) as u64;
            let permutation = match order {
                Some((of, permutation)) if of == epoch => permutation,
                _ => Permutation::new(seed, epoch, self.epoch),
            };
            order = Some((epoch, permutation));
            let place = permutation.at((position % n) as u32);
            let share = self.shares.partition_point(|s| s.places.end <= place);
            self.shares[share].image(seed, epoch, place, &self.members)
        };
        (0..batch).map(image).collect()
    }
}

impl Share {
    /// Returns the image at a place of the class in an epoch.
    fn image(&self, seed: u64, epoch: u64, place: u32, members: &[u32]) -> u32 {
        let members = &members[self.members.clone()];
        let (n, places) = (members.len() as u128, self.places.len() as u128);
        let draw = u128::from(epoch) * places + u128::from(place - self.places.start);
        let seed = mix(mix(seed ^ CLASS_STREAM).wrapping_add(self.class));
        let round = Permutation::new(seed, (draw / n) as u64, members.len() as u32);
        members[round.at((draw % n) as u32) as usize]
    }
}

/// Returns so many places that were shared out by sums of weights: to the nearest whole number, and
/// at least one where a sum is above 0; `None` where all are 0.
fn places(sums: &[f64], all: u32) -> Option<Vec<u32>> {
    // Sums as large as can be would add up to infinity.
    let most = sums.iter().copied().fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let total: f64 = sums.iter().map(|sum| sum / most).sum();
    let exact = |sum: &f64| sum / most / total * f64::from(all);
    let mut places: Vec<u32> = sums.iter().map(|sum| exact(sum) as u32).collect();
    let left = all.saturating_sub(places.iter().sum());
    let mut by_rest: Vec<usize> = (0..sums.len()).filter(|i| sums[*i] > 0.0).collect();
    let rest = |i: usize| exact(&sums[i]) - f64::from(exact(&sums[i]) as u32);
    // Of equal ones the first: the sort keeps their order.
    by_rest.sort_by(|a, b| rest(*b).total_cmp(&rest(*a)));
    for i in by_rest.into_iter().cycle().take(left as usize) {
        places[i] += 1;
    }
    for i in 0..sums.len() {
        if sums[i] > 0.0 && places[i] == 0 {
            let richest = (0..sums.len()).rev().max_by_key(|j| places[*j])?;
            places[richest] = places[richest].checked_sub(1)?;
            places[i] = 1;
        }
    }
    Some(places)
}

/// Returns the images of a step at `batch` images a step, of `n`: each once in an epoch, or in the
/// order of their classes. They are places among the n.
pub fn drawn(order: Option<&ClassOrder>, seed: u64, step: u64, batch: usize, n: usize) -> Vec<u32> {
    match order {
        Some(order) => order.batch(seed, step, batch),
        None => batch_indices(seed, step, batch, n),
    }
}

#[cfg(test)]
mod tests;
