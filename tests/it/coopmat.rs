//! The `coopmat` core: where an adapter lists cooperative matrices, every operation that multiplies
//! and the search; where none does, what asking for it says. Newer versions of Mesa's llvmpipe have
//! them (run on 26.2), and take minutes for this, nearly all to compile.

use crate::tiles::use_tile;
use wgvq::autograd::Tape;
use wgvq::gpu::{Core, Gpu, Options, Tensor, adapters};
use wgvq::ops::attention::attention::Attention;
use wgvq::ops::conv::Conv;
use wgvq::ops::conv::conv2d::conv2d;
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
        "attention",
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

/// Results of emulated matrices are not those of real ones, and say so.
#[test]
fn a_selftest_of_emulated_matrices_names_them() {
    let emulated = ["--emulate-matrices", "8x8", "--op", "scale"];
    let run = |more: &[&str]| {
        crate::common::run(&[&["selftest", "--json"], &emulated[..], more].concat())
    };
    let out = run(&["--robust-access", "on"]);
    let line: serde_json::Value =
        serde_json::from_str(crate::common::stdout(&out).lines().next().unwrap()).unwrap();
    assert_eq!(line["core"], "coopmat emulated 8x8");
    let out = run(&["--core", "tiled"]);
    let said = crate::common::stderr(&out);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("leave `--core tiled` out"), "{said}");
}

#[test]
fn the_search_on_real_matrices_is_the_f32_search() {
    if let Some(coopmat) = gpu(Options::default()) {
        for tile in coopmat.tiles_of(Core::Coopmat) {
            use_tile(&coopmat, &tile.to_string()).unwrap();
            same_search(&coopmat);
        }
    }
}

#[test]
fn the_search_on_emulated_matrices_is_the_f32_search() {
    // Software drivers compile the larger tile for most of a minute: before a release.
    let large = match std::env::var_os("WGVQ_THOROUGH") {
        Some(_) => "coopmat 128x128",
        None => "coopmat 64x64",
    };
    for (matrices, tile) in [
        ((16, 32), "coopmat 64x64"),
        ((16, 64), large),
        ((8, 8), "coopmat 64x64"),
    ] {
        let gpu = emulating(matrices).unwrap();
        use_tile(&gpu, tile).unwrap();
        same_search(&gpu);
    }
}

/// A latent of which f16 says nothing is compared with every code: more than an invocation walks on
/// a software driver, which leaves loops that are too long. The nearest is the last.
#[test]
fn a_walk_over_every_code_of_a_long_codebook_reaches_the_last() {
    let (k, d) = (65_600, 256);
    let far = |i: usize| if i < (k - 1) * d { -1.0 } else { 1.0 };
    let e: Vec<f32> = (0..k * d).map(far).collect();
    let x = vec![6e4; d];
    let gpu = emulating((16, 32)).unwrap();
    assert_eq!(search(&gpu, &x, &e, d), [k as u32 - 1]);
}

/// Not near the f32 search's indices: the same.
fn same_search(coopmat: &Gpu) {
    let tiled = Gpu::new(Options {
        adapter: Some(coopmat.info().name.clone()),
        core: Some(Core::Tiled),
        ..Default::default()
    });
    let tiled = tiled.unwrap();
    for (what, d, x, e) in about_a_centre().into_iter().chain(adversarial(24)) {
        let (got, want) = (search(coopmat, &x, &e, d), search(&tiled, &x, &e, d));
        let differ = got.iter().zip(&want).enumerate().find(|(_, (g, w))| g != w);
        assert!(
            differ.is_none() && got.len() == want.len(),
            "{what}: {differ:?}"
        );
    }
    let used = coopmat.kernels_in_use();
    assert!(used.iter().any(|k| k.starts_with("vq_search_coopmat(")));
}

/// Channels, latents and codes, with what is said of them.
pub type Search = (String, usize, Vec<f32>, Vec<f32>);

/// Points about one centre: codes that f16 cannot tell apart, too small or too large for it, or
/// NaN.
fn about_a_centre() -> Vec<Search> {
    let mut rng = Rng::new(5);
    let mut searches = Vec::new();
    for (n, k, d, scale, spread) in [
        (301, 67, 20, 1.0, 1.0),
        (130, 515, 64, 1.0, 1.0),
        (200, 300, 7, 1.0, 1e-3),
        (70, 129, 32, 1.0, 1e-6),
        (64, 64, 16, 1e-6, 1.0),
        (65, 70, 16, 3e4, 1.0),
        (65, 70, 16, 1e18, 1.0),
        (1, 1, 1, 1.0, 1.0),
        // More blocks of codes than are looked at together.
        (5, 65_700, 4, 1.0, 1.0),
    ] {
        let centre: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
        let mut points = |count: usize| -> Vec<f32> {
            (0..count * d)
                .map(|i| (scale * (centre[i % d] + spread * rng.normal())) as f32)
                .collect()
        };
        let (mut x, mut e) = (points(n), points(k));
        if n > 10 {
            x[d + 1] = f32::NAN;
            x[2 * d] = f32::INFINITY;
            e[5 * d] = f32::NAN;
            e[6 * d] = -f32::NAN;
            let copy = e[9 * d..10 * d].to_vec();
            e[40 * d..41 * d].copy_from_slice(&copy);
            x[7 * d..8 * d].copy_from_slice(&copy);
        }
        let what = format!("n={n},k={k},d={d},scale={scale:e},spread={spread:e}");
        searches.push((what, d, x, e));
    }
    searches
}

/// Codebooks of `d` channels that are made to be mistaken.
pub fn adversarial(d: usize) -> Vec<Search> {
    let mut rng = Rng::new(11);
    let (n, k) = (90, 333);
    let mut normals =
        |count: usize| -> Vec<f32> { (0..count * d).map(|_| rng.normal() as f32).collect() };
    let (x, few) = (normals(n), normals(41));
    let of = |make: &dyn Fn(usize, usize) -> f32| -> Vec<f32> {
        (0..k * d).map(|i| make(i / d, i % d)).collect()
    };
    // From 2^-20 to 2^12, neighbours far apart.
    let scale = |i: usize| 2f32.powi((i * 7 % 33) as i32 - 20);
    let scaled = |points: &[f32]| -> Vec<f32> {
        points
            .iter()
            .enumerate()
            .map(|(i, v)| v * scale(i / d))
            .collect()
    };
    let duplicates = of(&|code, c| few[code % 41 * d + c]);
    // Codes that differ by a unit in the last place of one channel; each lies in several blocks.
    let ulps = of(&|code, c| {
        let base = few[code % 3 * d + c];
        let up = if c == code % d {
            (code / 3 % 3) as u32
        } else {
            0
        };
        f32::from_bits(base.to_bits() + up)
    });
    let many = normals(k);
    let by_code = scaled(&many);
    let mut broken = scaled(&many);
    for (code, value) in [
        (0, f32::NAN),
        (64, f32::INFINITY),
        (65, f32::NEG_INFINITY),
        (130, f32::NAN),
        (200, 7e4),
        (332, f32::MAX),
    ] {
        broken[code * d + code % d] = value;
    }
    let mut lost = x.clone();
    for (row, value) in [
        (0, f32::NAN),
        (3, f32::INFINITY),
        (4, f32::NEG_INFINITY),
        (64, f32::MAX),
        (89, 6.1e4),
    ] {
        lost[row * d + row % d] = value;
    }
    // All latents and codes are NaN or infinite.
    let nothing: Vec<f32> = (0..k * d)
        .map(|i| [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][i / d % 3])
        .collect();
    let signs = of(&|code, c| if (code + c) % 2 == 0 { 0.0 } else { -0.0 });
    [
        ("duplicates", x.clone(), duplicates.clone()),
        (
            "latents that are codes",
            duplicates[..n * d].to_vec(),
            duplicates,
        ),
        ("one unit in the last place", x.clone(), ulps.clone()),
        ("latents among them", ulps[..n * d].to_vec(), ulps),
        ("codes of all scales", x.clone(), by_code.clone()),
        ("latents of all scales", scaled(&x), by_code),
        ("codes without numbers", x.clone(), broken.clone()),
        ("latents without numbers", lost, broken),
        ("nothing is a number", nothing[..n * d].to_vec(), nothing),
        ("zeros of either sign", x, signs),
    ]
    .into_iter()
    .map(|(what, x, e)| (what.to_owned(), d, x, e))
    .collect()
}

/// A value whose probabilities are below all that f16 has gets its gradient: they are scaled on
/// their way into matrices. On emulated matrices before a release, where none are real.
#[test]
fn small_probabilities_reach_their_values() {
    let emulated = || {
        let options = Options {
            core: Some(Core::Coopmat),
            emulated_matrices: Some((8, 8)),
            ..Default::default()
        };
        let thorough = std::env::var_os("WGVQ_THOROUGH").is_some();
        thorough.then(|| Gpu::new(options).ok()).flatten()
    };
    let Some(gpu) = emulated().or_else(|| gpu(Options::default())) else {
        return;
    };
    let of = |rows: usize, values: &dyn Fn(usize, usize) -> f32| {
        let all: Vec<f32> = (0..4 * rows).map(|i| values(i / 4, i % 4)).collect();
        Tensor::from_slice(&gpu, &[1, 1, rows, 4], &all).unwrap()
    };
    let q = of(3, &|_, c| if c == 0 { 4.0 } else { 0.0 });
    // Scores of 18 and 0, so that the second key has 1.5e-8 of each query: half of the least f16.
    let k = of(2, &|row, c| if row + c == 0 { 9.0 } else { 0.0 });
    let v = of(2, &|row, c| (row + c) as f32);
    let g = of(3, &|row, c| (1 + row + c) as f32);
    let tape = Tape::new(&gpu);
    let v = tape.leaf(&v);
    let (q, k) = (tape.constant(&q), tape.constant(&k));
    let o = tape.attention(&q, &k, &v, Attention::FULL).unwrap();
    let gradients = tape.backward_with(&o, g).unwrap();
    let dv = gradients.get(&v).unwrap().read::<f32>().unwrap();
    let used = gpu.kernels_in_use();
    assert!(
        used.iter()
            .any(|k| k.starts_with("attention_grad_kv_coopmat("))
    );
    let p = (-18f64).exp() / (1.0 + (-18f64).exp());
    for (c, got) in dv[4..].iter().enumerate() {
        let want = p * (6 + 3 * c) as f64;
        assert!(
            (f64::from(*got) / want - 1.0).abs() < 2e-3,
            "{got} for {want}"
        );
    }
}

/// A convolution that rectifies its input keeps a NaN of it, on every core: f16 makes one of what
/// it does not hold, and a 0 in its place would hide it.
#[test]
fn a_number_that_is_none_passes_a_rectifier() {
    let (side, channels) = (40, 64);
    let mut values = vec![-1.0f32; side * side * channels];
    let at = 20 * side + 20;
    values[at * channels + 5] = f32::NAN;
    let weights = vec![0.5f32; channels * 9 * channels];
    let plain = |core| Gpu::new(core).unwrap();
    let core = |core| Options {
        core: Some(core),
        ..Default::default()
    };
    for (gpu, kernel) in [
        (plain(Options::default()), "conv2d_row"),
        (plain(core(Core::Tiled)), "conv2d("),
        (emulating((16, 32)).unwrap(), "conv2d("),
    ] {
        let rows = gpu.core() == Core::Subgroup;
        let x = Tensor::from_slice(&gpu, &[1, side, side, channels], &values).unwrap();
        let w = Tensor::from_slice(&gpu, &[channels, 3, 3, channels], &weights).unwrap();
        let same = Conv {
            stride: 1,
            pad: 1,
            after: 0,
            relu: true,
        };
        let y = conv2d(&x, &w, None, None, same).unwrap();
        let y = y.read::<f32>().unwrap();
        for (i, pixel) in y.chunks(channels).enumerate() {
            let near = (i / side).abs_diff(20) <= 1 && (i % side).abs_diff(20) <= 1;
            let holds = |v: &f32| if near { v.is_nan() } else { *v == 0.0 };
            assert!(pixel.iter().all(holds), "{kernel}: {i}: {}", pixel[0]);
        }
        let used = gpu.kernels_in_use();
        let named = |k: &String| k.starts_with(kernel);
        assert!(used.iter().any(named) || !rows, "{kernel}: {used:?}");
    }
}
