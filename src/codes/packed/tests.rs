use super::*;
use crate::splitmix::{GOLDEN, splitmix64};

const MODEL: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn level(name: &str, grid: [usize; 2], codebook_size: usize, codebooks: usize) -> Level {
    Level {
        name: name.into(),
        grid,
        codebook_size,
        codebooks,
    }
}

/// Codes with a pattern that an entropy coder finds: runs along rows, a few codes more often.
fn codes(levels: Vec<Level>, image: [usize; 3], names: &[&str], seed: u64) -> Codes {
    let mut state = seed;
    let mut draw = |below: u64| {
        state = state.wrapping_add(GOLDEN);
        (splitmix64(state) % below) as u32
    };
    let mut indices = Vec::new();
    for _ in names {
        for level in &levels {
            let mut last = 0;
            for _ in 0..level.codes() {
                if draw(4) == 0 {
                    last = draw(level.codebook_size as u64).min(draw(level.codebook_size as u64));
                }
                indices.push(last);
            }
        }
    }
    Codes {
        model: MODEL.into(),
        quantizer: "ema".into(),
        levels,
        image,
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        indices,
    }
}

/// Levels of one, two and several codebooks, of one code, and of many.
fn kinds() -> Vec<Vec<Level>> {
    vec![
        vec![level("", [8, 8], 512, 1)],
        vec![level("top", [4, 4], 256, 1), level("bottom", [8, 8], 64, 1)],
        vec![level("", [3, 5], 16, 4)],
        vec![level("", [7, 1], 1, 1)],
        vec![level("", [2, 2], 1 << 18, 1)],
        vec![level("", [1, 1], 2, 1)],
    ]
}

#[test]
fn what_is_packed_is_unpacked() {
    for (i, levels) in kinds().into_iter().enumerate() {
        let one = codes(levels.clone(), [32, 32, 3], &["only"], i as u64);
        let many = codes(
            levels.clone(),
            [32, 32, 3],
            &["a", "b", "ü/c"],
            7 + i as u64,
        );
        let mut statistics = CodeStatistics::new(MODEL, &levels);
        statistics.count(&many.indices).unwrap();
        for with in [None, Some(&statistics)] {
            let packed = pack(std::slice::from_ref(&many), with).unwrap();
            let again = unpack(&packed.bytes, &one, with).unwrap();
            assert_eq!(again, vec![many.clone()], "{levels:?}");
            let packed = pack(std::slice::from_ref(&one), with).unwrap();
            let again = unpack(&packed.bytes, &many, with).unwrap();
            assert_eq!(again[0].indices, one.indices);
            assert_eq!(again[0].names, [""]);
        }
    }
}

#[test]
fn images_of_many_sizes_go_into_one_file() {
    let small = codes(vec![level("", [2, 3], 64, 1)], [24, 16, 3], &["small"], 1);
    let large = codes(vec![level("", [9, 5], 64, 1)], [40, 72, 3], &["large"], 2);
    let all = [small.clone(), large, small.clone()];
    let packed = pack(&all, None).unwrap();
    assert_eq!(unpack(&packed.bytes, &small, None).unwrap(), all);
}

#[test]
fn a_payload_is_as_long_as_the_probabilities_ask_for() {
    for levels in kinds().into_iter().take(3) {
        let names: Vec<String> = (0..40).map(|i| format!("{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let set = codes(levels, [32, 32, 3], &names, 3);
        let packed = pack(&[set], None).unwrap();
        let bits = 8.0 * packed.payload as f64;
        assert!(
            bits >= packed.estimate - 32.0 && bits <= packed.estimate * 1.01 + 64.0,
            "{bits} bits, {} were estimated",
            packed.estimate
        );
    }
}

#[test]
fn statistics_make_files_smaller_and_survive_their_file() {
    let levels = vec![level("", [8, 8], 512, 1)];
    let names: Vec<String> = (0..200).map(|i| format!("{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let set = codes(levels.clone(), [32, 32, 3], &names, 4);
    let mut statistics = CodeStatistics::new(MODEL, &levels);
    statistics.count(&set.indices).unwrap();
    let again = CodeStatistics::from_bytes(&statistics.to_bytes().unwrap()).unwrap();
    assert_eq!(again.images(), 200);
    assert_eq!(again.hash(), statistics.hash());
    // An image like those that were counted.
    let mut image = codes(levels, [32, 32, 3], &["new"], 4);
    image.indices[9] ^= 1;
    let [without, with, with_again] = [None, Some(&statistics), Some(&again)]
        .map(|s| pack(std::slice::from_ref(&image), s).unwrap());
    assert_eq!(with.bytes, with_again.bytes);
    assert!(with.payload < without.payload, "{with:?} {without:?}");
}

#[test]
fn the_bytes_of_a_file_stay_as_they_are() {
    // Files that were packed must be read for ever: these bytes are version 1's.
    let set = codes(vec![level("", [4, 4], 64, 1)], [16, 16, 3], &["a", "b"], 5);
    let mut statistics = CodeStatistics::new(MODEL, &set.levels);
    statistics.count(&set.indices).unwrap();
    let packed = pack(std::slice::from_ref(&set), Some(&statistics)).unwrap();
    let expected = "7767767101030123456789abcdef2c51061683cd5af9010210100304\
                    040161016250bbca44821bfce455e3577c";
    assert_eq!(hex::encode(&packed.bytes), expected);
}

#[test]
fn codes_that_cost_nothing_are_unpacked_too() {
    for (size, code) in [(1, 0), (2, 0), (2, 1), (8, 7), (512, 0)] {
        let levels = vec![level("", [400, 500], size, 1)];
        let mut set = codes(levels, [4000, 3200, 3], &["large"], 1);
        set.indices.fill(code);
        let packed = pack(std::slice::from_ref(&set), None).unwrap();
        let again = unpack(&packed.bytes, &set, None).unwrap();
        assert!(again[0].indices == set.indices, "{code} of {size}");
    }
}

#[test]
fn sizes_past_all_numbers_are_refused() {
    let set = codes(kinds().remove(1), [32, 32, 3], &["a", "b"], 6);
    let mut bytes = pack(std::slice::from_ref(&set), None).unwrap().bytes;
    // Up to the groups: magic, version, flags and the model.
    bytes.truncate(14);
    for number in [1, 2, 32, 32, 3, 1 << 31, 1 << 31, 1 << 31, 1 << 31] {
        put(&mut bytes, number);
    }
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    let error = unpack(&bytes, &set, None).unwrap_err().to_string();
    assert!(error.contains("more of them"), "{error}");
}

#[test]
fn damage_is_found_and_nothing_grows() {
    let set = codes(kinds().remove(1), [32, 32, 3], &["a", "b"], 6);
    let bytes = pack(std::slice::from_ref(&set), None).unwrap().bytes;
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1 << (at % 8);
        assert!(unpack(&other, &set, None).is_err(), "byte {at}");
        assert!(unpack(&bytes[..at], &set, None).is_err(), "{at} bytes");
    }
    // A checksum that is right proves nothing of what it sums.
    for at in 5..bytes.len() - 4 {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut other = bytes[..bytes.len() - 4].to_vec();
            other[at] = value;
            other.extend(crc32fast::hash(&other).to_le_bytes());
            if let Ok(groups) = unpack(&other, &set, None) {
                let codes: usize = groups.iter().map(|g| g.indices.len()).sum();
                assert!(4 * codes < 6000 * (other.len() + 64));
            }
        }
    }
}

#[test]
fn files_of_another_model_or_with_other_statistics_are_refused() {
    let set = codes(kinds().remove(0), [32, 32, 3], &["a"], 7);
    let other = Codes {
        model: MODEL.replace("01", "10"),
        ..set.clone()
    };
    let mut statistics = CodeStatistics::new(MODEL, &set.levels);
    statistics.count(&set.indices).unwrap();
    let plain = pack(std::slice::from_ref(&set), None).unwrap().bytes;
    let error = unpack(&plain, &other, None).unwrap_err().to_string();
    assert!(error.contains("of the model 0123456789abcdef"), "{error}");
    let with = pack(std::slice::from_ref(&set), Some(&statistics)).unwrap();
    let error = unpack(&with.bytes, &set, None).unwrap_err().to_string();
    assert!(error.contains("--statistics"), "{error}");
    statistics.count(&set.indices).unwrap();
    assert!(unpack(&with.bytes, &set, Some(&statistics)).is_err());
    // What needs none is read with some at hand.
    assert!(unpack(&plain, &set, Some(&statistics)).is_ok());
    assert!(pack(&[set, other], None).is_err());
}
