//! SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators",
//! OOPSLA 2014).

/// The step from one state to the next: 2^64 over the golden ratio, made odd.
pub(crate) const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Returns the 64 random bits that a generator in state `x` gives: the step, and what finishes it.
pub(crate) fn splitmix64(x: u64) -> u64 {
    let z = x.wrapping_add(GOLDEN);
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of seed 1234567, as the generator's public test vectors have them.
    #[test]
    fn the_published_sequence_comes_out() {
        let state = |i: u64| 1_234_567u64.wrapping_add(i.wrapping_mul(GOLDEN));
        let first = [0, 1, 2].map(|i| splitmix64(state(i)));
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }
}
