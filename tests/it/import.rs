//! First stages that others trained, by their names.

use crate::common::published::{self, checkpoint, fixture};
use crate::common::{gpu, run, stderr, stdout};
use safetensors::{SafeTensors, serialize};
use std::path::Path;
use wgvq::gpu::Tensor;
use wgvq::inference::FirstStageModel;
use wgvq::inference::import::{Names, read};
use wgvq::storage::run_folder::RunFolder;

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

/// Encodes and decodes as PyTorch does.
#[test]
fn published_names_load_and_agree_with_pytorch() {
    let gpu = gpu();
    let folder = tempfile::tempdir().unwrap();
    for (name, names, cosine) in [
        ("taming", Names::Taming, false),
        ("taming", Names::Diffusers, false),
        ("llamagen", Names::LlamaGen, true),
        ("llamagen", Names::Janus, true),
    ] {
        let file = checkpoint(folder.path(), name, names);
        // Those of diffusers lie in a folder, with their configuration.
        let own = folder.path().join("own");
        let file = if names == Names::Diffusers {
            std::fs::create_dir_all(&own).unwrap();
            std::fs::rename(&file, own.join("diffusion_pytorch_model.safetensors")).unwrap();
            std::fs::write(own.join("config.json"), r#"{"_class_name": "VQModel"}"#).unwrap();
            own
        } else {
            file
        };
        let imported = read(&file, None).unwrap();
        assert_eq!(imported.names, names);
        assert_eq!(imported.left_out.len(), 1, "{:?}", imported.left_out);
        let (m, q) = (&imported.config.model, &imported.config.quantizer);
        assert_eq!(
            (m.hidden, &m.multipliers[..], m.residual_layers),
            (32, &[1, 1, 2][..], 1)
        );
        assert_eq!(
            (m.latent_channels, &m.attention[..]),
            (6, if cosine { &[4][..] } else { &[2][..] })
        );
        assert_eq!(
            (q.codebook_size, q.codebook_dim, q.use_cosine_sim),
            (13, 4, cosine)
        );
        let place = format!("run-{}", names.program());
        let place = RunFolder::create(&folder.path().join(place), false).unwrap();
        imported.write(&gpu, [8, 16], &place).unwrap();

        let want = fixture(name);
        let images = Tensor::from_slice(&gpu, &[1, 16, 8, 3], &floats(&want["images"].1)).unwrap();
        let model = FirstStageModel::load(&gpu, place.path()).unwrap();
        let (codes, y) = model.reconstruct(&images).unwrap();
        let (codes, y) = (codes[0].read::<u32>().unwrap(), y.read::<f32>().unwrap());
        let wanted: Vec<u32> = want["codes"]
            .1
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        assert_eq!(codes, wanted, "{name}");
        let wanted = floats(&want["reconstruction"].1);
        let worst = y
            .iter()
            .zip(&wanted)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0f32, f32::max);
        assert!(
            y.len() == wanted.len() && worst < 1e-4,
            "{name}: off by {worst}"
        );
    }
}

/// A model without attention in the middle, as aMUSEd's, is read as one; and what there is none of
/// here is named.
#[test]
fn layers_that_others_leave_out_are_left_out() {
    let gpu = gpu();
    let folder = tempfile::tempdir().unwrap();
    let mut all = published::tensors("taming", Names::Diffusers);
    all.retain(|(name, ..)| !name.contains("mid_block.attentions"));
    let file = folder.path().join("model.safetensors");
    published::write(&file, &all);
    let imported = read(&file, None).unwrap();
    assert!(!imported.config.model.mid_attention);
    imported.check(&gpu, [16, 16]).unwrap();
    let config = folder.path().join("config.json");
    std::fs::write(
        &config,
        r#"{"_class_name": "VQModel", "norm_type": "spatial"}"#,
    )
    .unwrap();
    for place in [folder.path(), &file] {
        let error = read(place, None).unwrap_err().to_string();
        assert!(
            error.contains("spatial") && error.contains("config.json"),
            "{error}"
        );
    }
    std::fs::remove_file(file).unwrap();
    let error = read(folder.path(), None).unwrap_err().to_string();
    assert!(error.contains("model.safetensors"), "{error}");
}

#[test]
fn the_command_makes_a_run_that_others_take() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = |p: &Path| p.to_str().unwrap().to_owned();
    let file = checkpoint(folder.path(), "taming", Names::Taming);
    let out = run(&[
        "import",
        &text(&file),
        "--size",
        "32",
        "--out",
        &text(&at("run")),
    ]);
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(
        stdout(&out).contains("13 codes of 4: 32 x 32 pixels are 8 x 8 codes"),
        "{}",
        stdout(&out)
    );
    let set = wgvq::data::open("emoji", &Default::default()).unwrap();
    image::save_buffer(
        at("a.png"),
        &set.image(5).unwrap(),
        32,
        32,
        image::ColorType::Rgb8,
    )
    .unwrap();
    let out = run(&[
        "encode",
        &text(&at("run")),
        &text(&at("a.png")),
        "-o",
        &text(&at("codes.safetensors")),
    ]);
    assert!(out.status.success(), "{}", stderr(&out));
    let out = run(&[
        "decode",
        &text(&at("run")),
        &text(&at("codes.safetensors")),
        "-o",
        &text(&at("decoded")),
    ]);
    assert!(
        out.status.success() && at("decoded/a.png").is_file(),
        "{}",
        stderr(&out)
    );

    let refused = |args: &[&str], words: &[&str]| {
        let out = run(args);
        let said = stderr(&out);
        assert!(
            !out.status.success() && words.iter().all(|w| said.contains(w)),
            "{said}"
        );
        assert!(!at("none").exists());
    };
    let none = text(&at("none"));
    refused(
        &["import", &text(&file), "--size", "30", "--out", &none],
        &["data.width", "multiple of"],
    );
    refused(
        &["import", &text(&at("a.png")), "--out", &none],
        &["a.png", "safetensors"],
    );
    refused(
        &["import", &text(&at("codes.safetensors")), "--out", &none],
        &["encoder.conv_in.weight"],
    );
    refused(
        &["import", &text(&at("missing")), "--out", &none],
        &["missing"],
    );
    refused(
        &[
            "import",
            &text(&file),
            "--size",
            "32",
            "--out",
            &text(&at("run")),
        ],
        &["run", "--overwrite"],
    );
    // One tensor short.
    let bytes = std::fs::read(&file).unwrap();
    let whole = SafeTensors::deserialize(&bytes).unwrap();
    let kept = whole
        .tensors()
        .into_iter()
        .filter(|(n, _)| n != "decoder.mid.attn_1.q.bias")
        .collect::<Vec<_>>();
    std::fs::write(at("short.safetensors"), serialize(kept, None).unwrap()).unwrap();
    refused(
        &["import", &text(&at("short.safetensors")), "--out", &none],
        &["decoder.mid.attn_1.q.bias", "missing"],
    );
}
