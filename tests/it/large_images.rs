//! Images of any size through a trained model: tiles give what the whole gives, within the memory
//! allowed, and no seam.

use crate::common::{run, stderr, stdout, wgvq};
use std::path::{Path, PathBuf};
use wgvq::codes::load_all;
use wgvq::gpu::{Gpu, Options};
use wgvq::inference::{FirstStageModel, TilingOptions, no_progress};

/// A model of one level, or of two, trained for a few steps: its weights and codes are then no
/// longer symmetric in anything.
fn train(folder: &Path, kind: &str) -> PathBuf {
    let (config, out) = (folder.join(format!("{kind}.toml")), folder.join(kind));
    let text = format!(
        "[model]\nkind = \"{kind}\"\nhidden = 32\nresidual_layers = 2\nresidual_hidden = \
         16\n[quantizer]\ncodebook_size = 128\ncodebook_dim = 16\nkmeans_iters = \
         3\n[train]\nsteps = 40\nbatch_size = 8\nlr = 2e-3\neval_every = 0\n"
    );
    std::fs::write(&config, text).unwrap();
    let output = run(&[
        "train",
        config.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--quiet",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    out
}

/// Smooth colours with edges and a fine pattern, different everywhere.
fn picture(w: usize, h: usize) -> Vec<u8> {
    let at = |i: usize| {
        let (x, y, c) = ((i / 3 % w) as f64, (i / 3 / w) as f64, (i % 3) as f64);
        let wave = (x / 23.0 + c).sin() + (y / 17.0 - c * 2.0).cos() + 0.5 * (x * y / 900.0).sin();
        let edge = if ((x - 60.0).powi(2) + (y - 90.0).powi(2)).sqrt() % 50.0 < 20.0 {
            40.0
        } else {
            0.0
        };
        (127.0 + 35.0 * wave + edge).clamp(0.0, 255.0) as u8
    };
    (0..w * h * 3).map(at).collect()
}

/// Bytes that force an image into so many tiles at least, and what is known of them.
fn tiled(
    model: &FirstStageModel,
    pixels: &[u8],
    size: [usize; 2],
    memory_budget: Option<u64>,
) -> (Vec<u32>, usize, Vec<u8>) {
    let mut tiled = model.tiled(TilingOptions { memory_budget });
    let mut tiles = 0;
    let codes = tiled
        .encode(pixels, size, &mut |_, of| {
            tiles = of;
            Ok(())
        })
        .unwrap();
    let image = tiled
        .decode(&codes, size, &mut |_, of| {
            tiles = tiles.min(of);
            Ok(())
        })
        .unwrap();
    (codes, tiles, image)
}

#[test]
fn tiles_give_what_the_whole_image_gives() {
    let folder = tempfile::tempdir().unwrap();
    let gpu = Gpu::new(Options::default()).unwrap();
    for (kind, size, budget) in [
        ("vqvae", [333, 290], 3 << 20),
        ("vqvae2", [402, 611], 8 << 20),
    ] {
        let model = FirstStageModel::load(&gpu, &train(folder.path(), kind)).unwrap();
        let pixels = picture(size[0], size[1]);
        let (codes, one, image) = tiled(&model, &pixels, size, None);
        assert_eq!((one, image.len()), (1, pixels.len()));
        gpu.trim();
        gpu.reset_peak();
        let (parts, many, composed) = tiled(&model, &pixels, size, Some(budget));
        assert!(many >= 4, "{kind}: {many} tiles prove nothing");
        let peak = gpu.memory().peak;
        assert!(
            peak <= budget,
            "{kind}: {peak} bytes at peak, {budget} allowed"
        );
        let used: std::collections::BTreeSet<u32> = codes.iter().copied().collect();
        assert!(
            used.len() > 8,
            "{kind}: {} codes in use prove nothing",
            used.len()
        );
        // Kernels may add in another order where rows have another length, and then a latent
        // between two codes takes the other.
        let other = codes.iter().zip(&parts).filter(|(a, b)| a != b).count();
        assert!(
            other * 10_000 <= codes.len(),
            "{kind}: {other} of {} codes differ",
            codes.len()
        );
        // Decoding the same codes both ways: no pixel is off by more than rounding, at tile borders
        // as elsewhere.
        let whole = model
            .tiled(TilingOptions::default())
            .decode(&parts, size, &mut no_progress)
            .unwrap();
        let off = whole.iter().zip(&composed).filter(|(a, b)| a != b).count();
        let worst = whole
            .iter()
            .zip(&composed)
            .map(|(a, b)| a.abs_diff(*b))
            .max()
            .unwrap();
        assert!(
            worst <= 1 && off * 10_000 <= whole.len(),
            "{kind}: {off} values differ, by {worst} of 255 at most"
        );
        assert!(
            image.iter().any(|p| p.abs_diff(image[0]) > 20),
            "{kind}: a flat picture proves nothing"
        );
    }
}

/// Images of the model's own size give the same codes either way, and a budget that nothing fits in
/// says what would.
#[test]
fn small_images_and_small_budgets() {
    let folder = tempfile::tempdir().unwrap();
    let gpu = Gpu::new(Options::default()).unwrap();
    let model = FirstStageModel::load(&gpu, &train(folder.path(), "vqvae")).unwrap();
    let pixels = picture(32, 32);
    let codes = model.encode(&pixels).unwrap();
    let image = model.decode(&codes).unwrap();
    let (same, _, again) = tiled(&model, &pixels, [32, 32], None);
    assert_eq!((codes, image), (same.clone(), again));
    let mut small = model.tiled(TilingOptions {
        memory_budget: Some(1 << 18),
    });
    let error = small
        .encode(&picture(400, 400), [400, 400], &mut no_progress)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("memory-budget") && error.contains("allow more"),
        "{error}"
    );
    let mut tiled = model.tiled(TilingOptions::default());
    for (size, codes) in [
        ([32, 36], &same[..]),
        ([0, 32], &[]),
        ([1 << 40, 32], &same),
        ([32, 32], &same[1..]),
    ] {
        assert!(
            tiled.decode(codes, size, &mut no_progress).is_err(),
            "{size:?}"
        );
    }
    assert!(tiled.encode(&pixels, [32, 31], &mut no_progress).is_err());
    assert!(
        tiled
            .decode(&vec![128; same.len()], [32, 32], &mut no_progress)
            .unwrap_err()
            .to_string()
            .contains("128")
    );
}

fn save(path: &Path, pixels: &[u8], w: usize, h: usize) {
    image::save_buffer(
        path,
        pixels,
        w as u32,
        h as u32,
        image::ExtendedColorType::Rgb8,
    )
    .unwrap();
}

#[test]
fn the_command_line_keeps_every_image_at_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let model = train(folder.path(), "vqvae2");
    let model = model.to_str().unwrap();
    let sizes = [("wide", 301, 45), ("tall", 37, 120), ("square", 32, 32)];
    let images: Vec<String> = sizes
        .iter()
        .map(|(name, w, h)| {
            let path = at(&format!("{name}.png"));
            save(Path::new(&path), &picture(*w, *h), *w, *h);
            path
        })
        .collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let done = |args: Vec<&str>| {
        let output = wgvq().args(&args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    };
    let (codes, decoded, reconstructed) =
        (at("codes.safetensors"), at("decoded"), at("reconstructed"));
    let say = done(
        [
            &["encode", model],
            &images[..],
            &["--native-size", "-o", &codes],
        ]
        .concat(),
    );
    assert!(say.contains("3 images, each at its own size"), "{say}");
    let all = load_all(Path::new(&codes)).unwrap();
    for (codes, (name, w, h)) in all.iter().zip(sizes) {
        assert_eq!(
            (codes.image, &codes.names[..]),
            ([w, h, 3], &[name.to_owned()][..])
        );
        assert_eq!(codes.levels[0].grid, [h.div_ceil(8), w.div_ceil(8)]);
    }
    done(vec![
        "decode",
        model,
        &codes,
        "-o",
        &decoded,
        "--memory-budget",
        "64",
    ]);
    let lines = done(
        [
            &["reconstruct", model],
            &images[..],
            &["--native-size", "-o", &reconstructed, "--json"],
        ]
        .concat(),
    );
    for ((name, w, h), line) in sizes.iter().zip(lines.lines()) {
        let [decoded, reconstructed] = [&decoded, &reconstructed].map(|folder| {
            image::open(Path::new(folder).join(format!("{name}.png")))
                .unwrap()
                .into_rgb8()
        });
        assert_eq!(decoded.dimensions(), (*w as u32, *h as u32));
        assert_eq!(decoded, reconstructed, "{name}");
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["psnr"].as_f64().unwrap() > 5.0, "{line}");
    }
    // What is there is not replaced, and what does not go together is said so.
    for args in [
        [
            &["encode", model],
            &images[..],
            &["--native-size", "-o", &codes],
        ]
        .concat(),
        vec!["decode", model, &codes, "-o", &decoded],
        [
            &["reconstruct", model],
            &images[..],
            &["--native-size", "-o", &reconstructed],
        ]
        .concat(),
    ] {
        let output = run(&args);
        assert!(
            !output.status.success() && stderr(&output).contains("--overwrite"),
            "{args:?}"
        );
    }
    let output = run(&[
        "encode",
        model,
        images[0],
        "--native-size",
        "--npy",
        "-o",
        &at("other.safetensors"),
    ]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
