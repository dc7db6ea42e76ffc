//! A model of workgroup memory: what the `tiled` core's addresses cost on NVIDIA's GPUs.
//!
//! Memory has 32 banks of a word. The lanes of a warp are served in wavefronts: accesses of a word
//! all at once, unless two lanes want different words of one bank; accesses of 16 bytes eight lanes
//! at a time, or sixteen where every lane shares its address with the next, or with the next but
//! one. Loads of a quad's four scalars count as one of 16 bytes, as which they are compiled. The
//! functions here are those of `shaders/gemm/core.wgsl` and `tiled/`, which the test compares.

use super::gemm::Tile;
use crate::gpu::Core;
use std::collections::{BTreeMap, BTreeSet};

const LANES: usize = 32;

fn tile_x(across: usize, lane: usize) -> usize {
    let x = (lane & 1) | ((lane >> 1) & 2) | ((lane >> 2) & 4);
    (x & (across - 1)) + 8 * (lane / 32 % (across / 8).max(1))
}

fn tile_y(across: usize, lane: usize) -> usize {
    let y = ((lane >> 1) & 1) | ((lane >> 2) & 2);
    let (tall, rows) = if across == 4 {
        ((lane >> 2) & 4, 8)
    } else {
        (0, 4)
    };
    (y | tall) + rows * (lane / 32 / (across / 8).max(1))
}

fn mixed(depth: usize, k: usize, quads: usize) -> usize {
    (k / 4 * (32 / depth)) & (quads - 1)
}

/// The most different words that lanes want of one bank.
fn conflicts(words: &[usize]) -> usize {
    let mut banks: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for word in words {
        banks.entry(word % 32).or_default().insert(*word);
    }
    banks.values().map(BTreeSet::len).max().unwrap_or(0)
}

/// Wavefronts of accesses of 16 bytes, by the quad that each lane wants.
fn of_quads(quads: &[usize; LANES]) -> usize {
    let shared = |with: usize| (0..LANES).all(|lane| quads[lane] == quads[lane ^ with]);
    let served = if shared(1) || shared(2) { 16 } else { 8 };
    let words = |quads: &[usize]| {
        let words = quads
            .iter()
            .flat_map(|quad| (0..4).map(move |j| 4 * quad + j));
        words.collect::<Vec<usize>>()
    };
    quads
        .chunks(served)
        .map(|lanes| conflicts(&words(lanes)))
        .sum()
}

/// The wavefronts of one step along k, and the most of one store of a word.
fn wavefronts(down: usize, across: usize, v: usize, nc: usize, depth: usize) -> (usize, usize) {
    let sides = [(down, v, true), (across, nc, false)];
    let mut loads = 0;
    let mut store = 0;
    for (count, each, rows) in sides {
        let quads = count * each / 4;
        let at = |lane, i| {
            let place = if rows {
                tile_y(across, lane)
            } else {
                tile_x(across, lane)
            };
            place + i * count
        };
        loads += (0..each / 4)
            .map(|i| of_quads(&std::array::from_fn(|lane| at(lane, i))))
            .sum::<usize>();
        // Neighbours load the quads along k of one line, and store a word to each of four steps.
        let along = depth / 4;
        for j in 0..4 {
            let words: Vec<usize> = (0..LANES)
                .map(|lane| {
                    let (k, line) = (4 * (lane % along), lane / along);
                    let quad = (line / 4) ^ mixed(depth, k, quads);
                    4 * ((k + j) * quads + quad) + line % 4
                })
                .collect();
            store = store.max(conflicts(&words));
        }
    }
    (loads, store)
}

#[test]
fn the_tiled_core_meets_few_bank_conflicts() {
    for tile in Tile::candidates(Core::Tiled, None) {
        let Tile::Tiled {
            down,
            across,
            v,
            nc,
            depth,
        } = tile
        else {
            panic!("{tile} is of another core");
        };
        let [down, across, v, nc, depth] = [down, across, v, nc, depth].map(|n| n as usize);
        // What is mixed into a quad's place leaves the distance between quads as it is.
        for (count, each) in [(down, v), (across, nc)] {
            let most = (0..depth).map(|k| mixed(depth, k, count * each / 4)).max();
            assert!(count.is_power_of_two() && most < Some(count), "{tile}");
        }
        // Every invocation has a place of its own.
        let places: BTreeSet<(usize, usize)> = (0..down * across)
            .map(|lane| (tile_y(across, lane), tile_x(across, lane)))
            .collect();
        assert_eq!(places.len(), down * across, "{tile}");
        assert_eq!(places.last(), Some(&(down - 1, across - 1)), "{tile}");

        let (loads, store) = wavefronts(down, across, v, nc, depth);
        // Two for each quad of an operand, and two lines to a bank where a step has 16 columns.
        assert!(loads <= 2 * (v / 4 + nc / 4), "{tile}: {loads} wavefronts");
        let narrow = across * nc < 32;
        assert!(
            store == 1 || narrow && store == 2,
            "{tile}: {store} a store"
        );
        if v == 8 {
            assert_eq!(loads, 2 * (v / 4 + nc / 4), "{tile}");
        }
    }
}

/// The model counts conflicts where there are: lanes in rows, quads side by side, nothing mixed.
#[test]
fn the_model_counts_what_a_plain_layout_costs() {
    let rows = |i: usize| of_quads(&std::array::from_fn(|lane| lane / 8 * 2 + i));
    let columns = |i: usize| of_quads(&std::array::from_fn(|lane| lane % 8 * 2 + i));
    assert_eq!(rows(0) + rows(1) + columns(0) + columns(1), 20);
    let plain: Vec<usize> = (0..LANES)
        .map(|lane| 4 * (lane % 4) * 128 + lane / 4)
        .collect();
    assert_eq!(conflicts(&plain), 4);
}

#[test]
fn the_model_is_of_the_shader_as_it_is() {
    let text = concat!(
        include_str!("../../../shaders/gemm/core.wgsl"),
        include_str!("../../../shaders/gemm/tiled/begin.wgsl"),
        include_str!("../../../shaders/gemm/tiled/store.wgsl"),
        include_str!("../../../shaders/gemm/tiled/turn.wgsl")
    );
    for line in [
        "lhs_read(lhs_get_{kk/4} + ({kk}u * (TILE_ROWS / 4u) + {i}u * DOWN));",
        "rhs_read(rhs_get_{kk/4} + ({kk}u * (TILE_COLS / 4u) + {i}u * ACROSS));",
        "var lhs_get_{s} = tile_y(lane) ^ mixed({4*s}u, TILE_ROWS / 4u);",
        "var rhs_get_{s} = tile_x(lane) ^ mixed({4*s}u, TILE_COLS / 4u);",
        "[{op}_put_{i} + {j}u * ({SPAN} / 4u)][{op}_line_{i} % 4u] = {op}_next_{i}[{j}];",
        "+ (({op}_line_{i} / 4u) ^ mixed({op}_at_k_{i}, {SPAN} / 4u));",
        "let x = (lane & 1u) | ((lane >> 1u) & 2u) | ((lane >> 2u) & 4u);",
        "return (x & (ACROSS - 1u)) + 8u * (lane / 32u % max(ACROSS / 8u, 1u));",
        "let y = ((lane >> 1u) & 1u) | ((lane >> 2u) & 2u);",
        "let tall = select(0u, (lane >> 2u) & 4u, ACROSS == 4u);",
        "return (y | tall) + select(4u, 8u, ACROSS == 4u) * (lane / 32u / max(ACROSS / 8u, 1u));",
        "{ return (k / 4u * (32u / TILE_K)) & (quads - 1u); }",
    ] {
        assert!(text.contains(line), "no longer in the shader: {line}");
    }
}
