//! The `coopmat` core: where an adapter lists cooperative matrices, every operation that multiplies
//! and the search; where none does, what asking for it says. Newer versions of Mesa's llvmpipe have
//! them (run on 26.2), and take minutes for this, nearly all to compile.

use wgvq::gpu::{Core, Gpu, Options, Tensor, adapters};
use wgvq::ops::quantize::vq_search::nearest;
use wgvq::registry::operations;
use wgvq::spec::Rng;
use wgvq::verify;

/// An engine on the core, or `None` where no adapter has it.
fn gpu(options: Options) -> Option<Gpu> {
    let found = adapters()
        .into_iter()
        .find(|a| a.cores.contains(&Core::Coopmat));
    let Some(adapter) = found else {
        crate::skip::skipped("coopmat", "no adapter here has the coopmat core");
        return None;
    };
    let adapter = Some(adapter.index.to_string());
    Some(
        Gpu::new(Options {
            adapter,
            core: Some(Core::Coopmat),
            ..options
        })
        .expect("an adapter that lists the core runs it"),
    )
}

#[test]
fn asking_for_it_in_vain_names_what_is_missing() {
    let reports = adapters();
    assert!(
        !reports.is_empty(),
        "these tests need an adapter; scripts/test.sh installs one"
    );
    for report in reports {
        let adapter = Some(report.index.to_string());
        let options = Options {
            adapter,
            core: Some(Core::Coopmat),
            ..Default::default()
        };
        assert!(
            Gpu::new(Options {
                no_features: true,
                ..options.clone()
            })
            .is_err()
        );
        match Gpu::new(options) {
            Ok(gpu) => assert_eq!(gpu.core(), Core::Coopmat),
            Err(e) => {
                assert!(!report.cores.contains(&Core::Coopmat), "{e}");
                let text = e.to_string();
                assert!(
                    text.contains("coopmat core needs") && text.contains("choose another core"),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn operations_agree_with_their_twins() {
    let Some(gpu) = gpu(Options {
        guard: true,
        ..Default::default()
    }) else {
        return;
    };
    let multiply = [
        "matmul",
        "conv2d",
        "conv_transpose2d",
        "vq_search",
        "kmeans",
    ];
    let mut failures = Vec::new();
    for op in operations()
        .iter()
        .filter(|op| multiply.contains(&op.name()))
    {
        for (i, case) in op.cases().iter().enumerate() {
            let seed = 3000 + i as u64;
            let forward = verify::forward(&gpu, *op, case, seed)
                .unwrap_or_else(|e| panic!("{}({case}): {e}", op.name()));
            let backward = verify::backward(&gpu, *op, case, seed)
                .unwrap_or_else(|e| panic!("{}({case}): {e}", op.name()));
            for verdict in [Some(forward), backward].into_iter().flatten() {
                println!("{:>9.2e} of allowed, {}", verdict.worst, verdict.detail);
                if !verdict.pass || verdict.compared == 0 {
                    failures.push(format!("seed {seed}: {}", verdict.detail));
                }
            }
        }
    }
    gpu.check_guard_bands().unwrap();
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
    let used = gpu.kernels_in_use();
    assert!(
        used.iter().any(|k| k.contains("SIDE=")),
        "the core was not used"
    );
    let declared: Vec<String> = operations()
        .iter()
        .flat_map(|op| op.kernels())
        .map(|k| k.label())
        .collect();
    for label in used {
        assert!(
            declared.contains(&label),
            "{label} is dispatched, and in no operation's list of kernels"
        );
    }
}

fn search(gpu: &Gpu, x: &[f32], e: &[f32], d: usize) -> Vec<u32> {
    let x = Tensor::from_slice(gpu, &[x.len() / d, d], x).unwrap();
    let e = Tensor::from_slice(gpu, &[e.len() / d, d], e).unwrap();
    nearest(&x, &e).unwrap().read().unwrap()
}

/// An engine on the core with emulated matrices.
fn emulating(matrices: (u32, u32)) -> wgvq::Result<Gpu> {
    Gpu::new(Options {
        core: Some(Core::Coopmat),
        emulated_matrices: Some(matrices),
        ..Default::default()
    })
}

#[test]
fn only_known_matrices_are_emulated() {
    let error = emulating((16, 8)).unwrap_err().to_string();
    assert!(error.contains("16x32, 16x64, 8x32, 8x8"), "{error}");
    let gpu = emulating((16, 32)).unwrap();
    assert_eq!(gpu.core(), Core::Coopmat);
    let tiles: Vec<String> = gpu
        .tiles_of(Core::Coopmat)
        .iter()
        .map(|t| t.to_string())
        .collect();
    assert_eq!(tiles, ["coopmat 64x64", "coopmat 128x128"]);
    // Each was held to exact products when the device was opened.
    let used = gpu.kernels_in_use();
    for size in ["64", "128"] {
        let of = |k: &&String| k.contains("EMULATE=1") && k.contains(&format!("TILE_ROWS={size},"));
        assert_eq!(used.iter().filter(of).count(), 2, "{used:?}");
    }
}

#[test]
fn the_search_on_real_matrices_is_the_f32_search() {
    if let Some(coopmat) = gpu(Options::default()) {
        same_search(&coopmat);
    }
}

#[test]
fn the_search_on_emulated_matrices_is_the_f32_search() {
    same_search(&emulating((16, 32)).unwrap());
}

/// Not near the f32 search's indices: the same. With codes that f16 cannot tell apart, too small or
/// too large for it, or NaN.
fn same_search(coopmat: &Gpu) {
    let tiled = Gpu::new(Options {
        adapter: Some(coopmat.info().name.clone()),
        core: Some(Core::Tiled),
        ..Default::default()
    });
    let tiled = tiled.unwrap();
    let mut rng = Rng::new(5);
    for (n, k, d, scale, spread) in [
        (301, 67, 20, 1.0, 1.0),
        (130, 515, 64, 1.0, 1.0),
        (200, 300, 7, 1.0, 1e-3),
        (70, 129, 32, 1.0, 1e-6),
        (64, 64, 16, 1e-6, 1.0),
        (65, 70, 16, 3e4, 1.0),
        (65, 70, 16, 1e18, 1.0),
        (1, 1, 1, 1.0, 1.0),
    ] {
        // All points about one centre, `spread` apart.
        let centre: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
        let mut points = |count: usize| -> Vec<f32> {
            (0..count * d)
                .map(|i| (scale * (centre[i % d] + spread * rng.normal())) as f32)
                .collect()
        };
        let (mut x, mut e) = (points(n), points(k));
        if n > 2 {
            x[d + 1] = f32::NAN;
            x[2 * d] = f32::INFINITY;
            e[5 * d] = f32::NAN;
            e[6 * d] = -f32::NAN;
            let copy = e[9 * d..10 * d].to_vec();
            e[40 * d..41 * d].copy_from_slice(&copy);
            x[7 * d..8 * d].copy_from_slice(&copy);
        }
        let (got, want) = (search(coopmat, &x, &e, d), search(&tiled, &x, &e, d));
        let differ = got.iter().zip(&want).enumerate().find(|(_, (g, w))| g != w);
        assert!(
            differ.is_none() && got.len() == want.len(),
            "n={n},k={k},d={d},scale={scale:e},spread={spread:e}: {differ:?}"
        );
    }
}
