//! The sizes of codebooks that a comparison is asked for, and the keys that it sets itself.

use crate::cli::common::keys::{Keys, key_value};
use wgvq::{Error, Result};

/// Reads `64..8192`, or `64,500,8192`.
///
/// # Errors
/// If it is neither, or a number is beyond what a codebook may hold.
pub fn sizes(text: &str) -> Result<Vec<u64>> {
    let wrong = || {
        Error::config(
            "--k",
            format!("`{text}` is neither FROM..TO, such as 64..8192, nor a list of numbers"),
        )
    };
    let number = |s: &str| {
        s.trim()
            .parse::<u64>()
            .ok()
            .filter(|n| (1..=1 << 24).contains(n))
            .ok_or_else(wrong)
    };
    let Some((from, to)) = text.split_once("..") else {
        let mut all = text.split(',').map(number).collect::<Result<Vec<_>>>()?;
        // A curve over them, and what it says of larger ones, goes from the smallest on.
        all.sort_unstable();
        return Ok(all);
    };
    let (from, to) = (number(from)?, number(to.trim_start_matches('='))?);
    let all: Vec<u64> = std::iter::successors(Some(from), |k| Some(2 * k))
        .take_while(|k| *k <= to)
        .collect();
    if all.is_empty() {
        Err(wrong())
    } else {
        Ok(all)
    }
}

/// Refuses the keys that each run of a comparison has of its own, which would be one for all or be
/// passed over: what is compared is named by lists. `sized` is whether the comparison is one of
/// sizes.
///
/// # Errors
/// Names the first such option or key, and what stands in its place.
pub fn refuse_own(keys: &Keys, sized: bool) -> Result<()> {
    const KIND: (&str, &str) = (
        "quantizer.kind",
        "is that of each run: list those to compare by --quantizers",
    );
    const SEED: (&str, &str) = (
        "train.seed",
        "is that of each run: list the seeds by --seeds",
    );
    const SIZE: (&str, &str) = (
        "quantizer.codebook_size",
        "is that of each run where --k lists sizes: leave one of the two out",
    );
    const MEASURED: (&str, &str) = (
        "train.eval_every",
        "follows from the steps: a comparison measures ten times in each run",
    );
    let refused = |option: &str, (_, what): (&str, &str)| Err(Error::config(option, what));
    if keys.quantizer.is_some() {
        return refused("--quantizer", KIND);
    }
    if keys.seed.is_some() {
        return refused("--seed", SEED);
    }
    if sized && keys.codes.is_some() {
        return refused("--codes", SIZE);
    }
    let own = [KIND, SEED, MEASURED]
        .into_iter()
        .chain(sized.then_some(SIZE));
    for pair in &keys.set {
        let (key, _) = key_value("--set", pair)?;
        if let Some(found) = own.clone().find(|(own, _)| *own == key) {
            return refused(key, found);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_ranges_or_lists() {
        assert_eq!(sizes("64..512").unwrap(), [64, 128, 256, 512]);
        assert_eq!(sizes("64..=500").unwrap(), [64, 128, 256]);
        assert_eq!(sizes("500, 7,64").unwrap(), [7, 64, 500]);
        for wrong in ["", "0..8", "9..3", "a..b", "8,x", "1..99999999"] {
            assert!(sizes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_of_each_run_are_refused_by_name() {
        let set = |pair: &str| Keys {
            set: vec!["train.lr=0.1".into(), pair.into()],
            ..Keys::default()
        };
        let quantizer = Keys {
            quantizer: Some("fsq".into()),
            ..Keys::default()
        };
        let seed = Keys {
            seed: Some(3),
            ..Keys::default()
        };
        let codes = Keys {
            codes: Some(64),
            ..Keys::default()
        };
        for (keys, sized, words) in [
            (&quantizer, false, ["--quantizer", "--quantizers"]),
            (
                &set(" quantizer.kind = fsq"),
                true,
                ["quantizer.kind", "--quantizers"],
            ),
            (&seed, false, ["--seed", "--seeds"]),
            (&set("train.seed=3"), false, ["train.seed", "--seeds"]),
            (&codes, true, ["--codes", "--k"]),
            (
                &set("quantizer.codebook_size=64"),
                true,
                ["codebook_size", "--k"],
            ),
            (
                &set("train.eval_every=3"),
                false,
                ["train.eval_every", "ten times"],
            ),
        ] {
            let said = refuse_own(keys, sized).unwrap_err().to_string();
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
        for (keys, sized) in [(&codes, false), (&set("quantizer.codebook_size=64"), false)] {
            refuse_own(keys, sized).unwrap();
        }
        refuse_own(&set("quantizer.decay=0.9"), true).unwrap();
    }
}
