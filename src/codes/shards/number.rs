//! The number of a shard.

use super::environment;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// One of several shards, counted from 1: `3/7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShardNumber {
    number: usize,
    of: usize,
}

impl ShardNumber {
    /// The whole, as one shard.
    pub const WHOLE: ShardNumber = ShardNumber { number: 1, of: 1 };

    /// Returns shard `number` of `of`, counted from 1.
    ///
    /// # Errors
    /// If there is no such shard.
    pub fn new(number: usize, of: usize) -> Result<ShardNumber> {
        if (1..=of).contains(&number) && of <= 100_000 {
            return Ok(ShardNumber { number, of });
        }
        let what = format!("{number}/{of}: shards are counted from 1/{of} to {of}/{of}");
        Err(Error::config("--shard", what))
    }

    /// Returns the number of the shard, from 1.
    pub fn number(self) -> usize {
        self.number
    }

    /// Returns how many shards there are.
    pub fn of(self) -> usize {
        self.of
    }

    /// Returns the share of `all` things in a row that are this shard's.
    pub fn share(self, all: usize) -> Range<usize> {
        let at = |n: usize| (all as u128 * n as u128 / self.of as u128) as usize;
        at(self.number - 1)..at(self.number)
    }

    /// Returns the name of the shard's manifest.
    pub fn manifest(self) -> String {
        format!("{self:#}.json")
    }
}

/// `3/7`; in the alternate form as in names of files, `shard-00003-of-00007`.
impl fmt::Display for ShardNumber {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (number, of) = (self.number, self.of);
        match f.alternate() {
            true => write!(f, "shard-{number:05}-of-{of:05}"),
            false => write!(f, "{number}/{of}"),
        }
    }
}

/// The shards that a process is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardChoice {
    /// One of them.
    One(ShardNumber),
    /// All of so many, each by whichever of the processes of one job is free.
    HandedOut(usize),
}

/// Reads what [`ShardNumber`] reads, and `auto/7`.
impl FromStr for ShardChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<ShardChoice> {
        let Some(of) = text.strip_prefix("auto/") else {
            return text.parse().map(ShardChoice::One);
        };
        let Ok(of) = of.trim().parse() else {
            let what = format!("`{text}`: write auto/7 for all of seven shards");
            return Err(Error::config("--shard", what));
        };
        let first = ShardNumber::new(1, of)?;
        environment::one_job(&|name| std::env::var(name).ok())?;
        Ok(ShardChoice::HandedOut(first.of()))
    }
}

/// Reads `3/7`; `auto` takes the number from the environment that a cluster's scheduler or MPI set.
impl FromStr for ShardNumber {
    type Err = Error;

    fn from_str(text: &str) -> Result<ShardNumber> {
        if text == "auto" {
            return environment::shard(&|name| std::env::var(name).ok());
        }
        let parts = text.split_once('/');
        let parts = parts.and_then(|(i, n)| Some((i.trim().parse().ok()?, n.trim().parse().ok()?)));
        let Some((number, of)) = parts else {
            let what =
                format!("`{text}` is no shard: write 3/7 for the third of seven, auto, or auto/7");
            return Err(Error::config("--shard", what));
        };
        ShardNumber::new(number, of)
    }
}
