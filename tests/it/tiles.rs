//! Every tile that a table can name computes right, and tiles of one core give the same bits.

use wgvq::gpu::{Core, Gpu, Options, Rule, TUNING_FORMAT, Tensor, Tile, Tuning};
use wgvq::ops::linalg::matmul::{Transpose, matmul};
use wgvq::registry::find;
use wgvq::spec::Rng;
use wgvq::verify;

/// Makes one tile the engine's for every problem.
pub fn use_tile(gpu: &Gpu, tile: &str) -> wgvq::Result<()> {
    gpu.set_tuning(&Tuning {
        format: TUNING_FORMAT,
        adapter: gpu.info().name.clone(),
        driver: String::new(),
        core: gpu.core().name().into(),
        // The search's too.
        few_channels: Some(0),
        rules: vec![Rule {
            max_cols: None,
            below_flops: None,
            tile: tile.into(),
            gflops: None,
        }],
    })
}

/// Runs `check` on an engine of each core that the adapter has, between guard bands.
fn every_core(mut check: impl FnMut(&Gpu)) {
    for core in [Core::Subgroup, Core::Tiled] {
        let gpu = Gpu::new(Options {
            core: Some(core),
            guard: true,
            ..Default::default()
        })
        .expect("an adapter; scripts/test.sh installs one");
        if gpu.core() != core {
            crate::skip::skipped(
                "tiles",
                &format!("{} cannot run the {} core", gpu.info().name, core.name()),
            );
            continue;
        }
        check(&gpu);
        gpu.check_guard_bands().unwrap();
    }
}

fn every_tile(mut check: impl FnMut(&Gpu, Tile)) {
    every_core(|gpu| {
        for tile in gpu.tiles_of(gpu.core()) {
            use_tile(gpu, &tile.to_string()).unwrap();
            check(gpu, tile);
            gpu.check_guard_bands()
                .unwrap_or_else(|e| panic!("{tile}: {e}"));
        }
    });
}

/// Every way of loading once, past the edges of a tile. `tests/ops.rs` has all cases.
const CASES: [(&str, &str); 6] = [
    ("matmul", "b=1,m=68,n=100,k=64,ta=0,tb=1"),
    ("matmul", "b=2,m=65,n=33,k=17,ta=1,tb=0"),
    ("conv2d", "n=2,h=6,w=7,i=12,o=40,kh=3,kw=3,s=1,p=1,relu=1"),
    // Channels and pixels in whole tiles of 8.
    ("conv2d", "n=2,h=6,w=16,i=16,o=40,kh=3,kw=3,s=2,p=1,relu=1"),
    ("vq_search", "n=257,k=101,d=12"),
    ("vq_search", "n=66,k=9,d=17"),
];

/// Each case compiles its kernels anew for each tile: the first runs with every tile, the others
/// in turn, and all with all before a release (`WGVQ_THOROUGH=1`).
#[test]
fn every_tile_agrees_with_the_twins() {
    let thorough = std::env::var_os("WGVQ_THOROUGH").is_some();
    let mut tiles = 0;
    every_tile(|gpu, tile| {
        let turn = 1 + tiles % (CASES.len() - 1);
        tiles += 1;
        for (i, (name, case)) in CASES.into_iter().enumerate() {
            if !(thorough || i == 0 || i == turn) {
                continue;
            }
            let (op, case) = (find(name).unwrap(), case.parse().unwrap());
            let forward = verify::forward(gpu, op, &case, 3).unwrap();
            assert!(
                forward.pass && forward.compared > 0,
                "{tile}: {}",
                forward.detail
            );
            if name == "conv2d" {
                let backward = verify::backward(gpu, op, &case, 3)
                    .unwrap()
                    .expect("a gradient");
                assert!(
                    backward.pass && backward.compared > 0,
                    "{tile}: {}",
                    backward.detail
                );
            }
        }
    });
    assert!(tiles >= CASES.len() - 1, "only {tiles} tiles");
}

#[test]
fn tiles_of_one_core_give_the_same_bits() {
    let mut rng = Rng::new(5);
    let (a, b) = (rng.normals(&[70, 52]), rng.normals(&[68, 52]));
    let mut seen: Vec<(Core, Vec<u32>)> = Vec::new();
    every_tile(|gpu, tile| {
        let y = matmul(
            &a.upload(gpu).unwrap(),
            &b.upload(gpu).unwrap(),
            Transpose::B,
            None,
        )
        .unwrap();
        let bits: Vec<u32> = y
            .read::<f32>()
            .unwrap()
            .iter()
            .map(|v| v.to_bits())
            .collect();
        match seen.iter().find(|(core, _)| *core == gpu.core()) {
            Some((_, first)) => assert_eq!(*first, bits, "{tile}"),
            None => seen.push((gpu.core(), bits)),
        }
    });
    assert!(!seen.is_empty());
}

#[test]
fn a_table_that_cannot_be_used_leaves_the_old_one() {
    let gpu = Gpu::new(Options {
        core: Some(Core::Tiled),
        ..Default::default()
    })
    .expect("an adapter");
    let error = use_tile(&gpu, "tiled 3x3 1x1").unwrap_err().to_string();
    assert!(error.contains("tiled 64x64 8x8"), "{error}");
    let foreign = Tuning {
        format: 99,
        adapter: String::new(),
        driver: String::new(),
        core: "tiled".into(),
        few_channels: None,
        rules: vec![],
    };
    assert!(
        gpu.set_tuning(&foreign)
            .unwrap_err()
            .to_string()
            .contains("format 99")
    );
    let x = Tensor::from_slice(&gpu, &[1, 1], &[3.0f32]).unwrap();
    assert_eq!(
        matmul(&x, &x, Transpose::NONE, None)
            .unwrap()
            .read::<f32>()
            .unwrap(),
        [9.0]
    );
}

/// Long sums over one tile fall into parts: each number of parts from 1 to 7 agrees with the
/// reference, and a product that is made again has the same bits.
#[test]
fn sums_in_one_to_seven_parts_agree_and_repeat() {
    every_core(|gpu| {
        for parts in 1..=7 {
            // A part has 256 steps at least, and a last one that is shorter.
            let k = 256 * parts + 37;
            let case = format!("b=1,m=5,n=7,k={k},ta=0,tb=1").parse().unwrap();
            let verdict = verify::forward(gpu, find("matmul").unwrap(), &case, 3).unwrap();
            assert!(verdict.pass && verdict.compared >= 35, "{}", verdict.detail);

            let mut rng = Rng::new(parts as u64);
            let [a, b] = [[5, k], [7, k]].map(|s| rng.normals(&s).upload(gpu).unwrap());
            let made = || {
                let before = gpu.counters().dispatches;
                let y = matmul(&a, &b, Transpose::B, None).unwrap();
                let dispatches = gpu.counters().dispatches - before;
                let bits = y.read::<f32>().unwrap().into_iter().map(f32::to_bits);
                (dispatches, bits.collect::<Vec<_>>())
            };
            let first = made();
            // Parts are added by a dispatch of their own.
            assert_eq!(first.0, if parts == 1 { 1 } else { 2 }, "{parts} parts");
            assert_eq!(first, made(), "{parts} parts");
        }
    });
}
