//! Questions that ranks answer together before they go on: whether they hold the same, and whether
//! one of them has failed, for which the others would wait.

use super::Ranks;
use crate::{Error, Result};

/// Bytes of a rank's error that the others get to know.
const MOST_SAID: usize = 4096;

impl Ranks {
    /// Returns whether all ranks have the same words.
    ///
    /// # Errors
    /// If a rank is gone.
    pub fn agree(&self, words: &[u32]) -> Result<bool> {
        let Some(c) = &self.0 else { return Ok(true) };
        let all = c.gather(words)?;
        Ok(all.chunks(words.len().max(1)).all(|other| other == words))
    }

    /// Returns whether one of the ranks has it so.
    ///
    /// # Errors
    /// If a rank is gone.
    pub(crate) fn any(&self, own: bool) -> Result<bool> {
        let all = self.gather_words(&[u32::from(own)])?;
        Ok(all.contains(&1))
    }

    /// Returns what this rank has, where no rank has failed: before all of them do something
    /// together, in which the others would wait for one that has.
    ///
    /// # Errors
    /// Its own error where this rank has failed; on the others one that names the first rank that
    /// has, and says why.
    pub(crate) fn agree_on<T>(&self, own: Result<T>) -> Result<T> {
        let Some(c) = &self.0 else { return own };
        let mut text = match &own {
            Ok(_) => Vec::new(),
            // Long texts are cut, so that all ranks know how long one is.
            Err(error) => error.to_string().into_bytes(),
        };
        text.truncate(MOST_SAID);
        let failed = u32::from(own.is_err());
        let lengths = c.gather(&[failed * (1 + text.len() as u32)])?;
        let Some(first) = lengths.iter().position(|length| *length > 0) else {
            return own;
        };
        let length = lengths[first] as usize - 1;
        text.resize(length.next_multiple_of(4), 0);
        let mut words: Vec<u32> = bytemuck::pod_collect_to_vec(&text);
        c.copy_of(first, &mut words)?;
        own.and_then(|_| {
            let said = &bytemuck::cast_slice(&words)[..length];
            let said = String::from_utf8_lossy(said);
            Err(Error::data(format!("rank {first} has failed: {said}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::on;
    use super::*;

    #[test]
    fn all_ranks_know_which_has_failed_and_why() {
        let long = "a".repeat(2 * MOST_SAID);
        for (failing, why) in [(vec![], ""), (vec![2], "a file"), (vec![1, 2], &long[..])] {
            let found = on(3, |ranks| {
                let own = match failing.contains(&ranks.rank()) {
                    true => Err(Error::data(format!("{why} of {}", ranks.rank()))),
                    false => Ok(ranks.rank()),
                };
                let agreed = ranks.agree_on(own).map_err(|e| e.to_string());
                // They go on together.
                let any = [false, ranks.rank() == 1].map(|own| ranks.any(own).unwrap());
                assert_eq!(any, [false, true]);
                agreed
            });
            let Some(first) = failing.first() else {
                assert_eq!(found, [Ok(0), Ok(1), Ok(2)]);
                continue;
            };
            for (rank, found) in found.into_iter().enumerate() {
                let said = found.unwrap_err();
                match failing.contains(&rank) {
                    true => assert_eq!(said, format!("{why} of {rank}")),
                    false => {
                        assert!(
                            said.starts_with(&format!("rank {first} has failed: ")),
                            "{said}"
                        );
                        assert!(said.contains(&why[..why.len().min(1000)]), "{said}");
                    }
                }
            }
        }
        let alone = Ranks::alone();
        assert!(alone.agree_on(Ok(3)).is_ok() && !alone.any(false).unwrap());
    }
}
