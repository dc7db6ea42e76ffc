//! First stages that others trained, by their names.

mod codebooks;
mod crafted;
mod shards;

use crate::common::published::{self, checkpoint, fixture};
use crate::common::{gpu, ok, run, stderr, stdout, text};
use safetensors::{SafeTensors, serialize};
use std::path::Path;
use wgvq::gpu::{Gpu, Tensor};
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
        ("movq", Names::Taming, false),
        ("movq", Names::Diffusers, false),
        ("llamagen", Names::LlamaGen, true),
        ("llamagen", Names::Janus, true),
    ] {
        let file = checkpoint(folder.path(), name, names);
        // Those of diffusers lie in a folder, with their configuration.
        let own = folder.path().join("own");
        let file = if names == Names::Diffusers {
            std::fs::create_dir_all(&own).unwrap();
            std::fs::rename(&file, own.join("diffusion_pytorch_model.safetensors")).unwrap();
            let norms = if name == "movq" { "spatial" } else { "group" };
            let config = format!(r#"{{"_class_name": "VQModel", "norm_type": "{norms}"}}"#);
            std::fs::write(own.join("config.json"), config).unwrap();
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
        assert_eq!(m.spatial_norms, name == "movq");
        let place = format!("run-{name}-{}", names.program());
        let place = RunFolder::create(&folder.path().join(place), false).unwrap();
        imported.write(&gpu, [8, 16], &place).unwrap();

        agrees(&gpu, name, place.path());
    }
}

/// Checks that a run has the codes of PyTorch's, and its reconstruction.
fn agrees(gpu: &Gpu, name: &str, place: &Path) {
    let want = fixture(name);
    let (shape, images) = &want["images"];
    let images = Tensor::from_slice(gpu, shape, &floats(images)).unwrap();
    let model = FirstStageModel::load(gpu, place).unwrap();
    let (codes, y) = model.reconstruct(&images).unwrap();
    let read = |codes: &Tensor| codes.read::<u32>().unwrap();
    let codes: Vec<u32> = codes.iter().flat_map(read).collect();
    let y = y.read::<f32>().unwrap();
    assert!(y.iter().all(|v| v.is_finite()), "{name}");
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

/// VAR's codes on several grids, and MaskGIT's and Emu3's models as ones of ours that compute the
/// same.
#[test]
fn other_architectures_load_and_agree_with_pytorch() {
    let gpu = gpu();
    let folder = tempfile::tempdir().unwrap();
    let file = checkpoint(folder.path(), "var", Names::Var);
    let mut imported = read(&file, None).unwrap();
    assert_eq!(imported.names, Names::Var);
    let (m, q) = (&imported.config.model, &imported.config.quantizer);
    assert_eq!((m.latent_kernel, &m.attention[..]), (3, &[4][..]));
    assert_eq!(
        (&q.kind[..], q.scale_convolutions, q.scale_ratio),
        ("multiscale", 4, 0.5)
    );
    // Of a grid of 8 x 8 the authors name no scales; of one of 16 x 16 they do.
    let error = imported.check(&gpu, [32, 32]).unwrap_err().to_string();
    assert!(
        error.contains("--scales") && error.contains("8 x 8"),
        "{error}"
    );
    imported.check(&gpu, [64, 64]).unwrap();
    // Fewer scales than convolutions leave one of these without.
    imported.config.quantizer.scales = vec![1, 8];
    let error = imported.check(&gpu, [32, 32]).unwrap_err().to_string();
    assert!(
        error.contains("--scales") && error.contains("4 convolutions"),
        "{error}"
    );
    imported.config.quantizer.scales = vec![1, 2, 3, 4, 6, 8];
    let place = RunFolder::create(&folder.path().join("run-var"), false).unwrap();
    imported.write(&gpu, [32, 32], &place).unwrap();
    agrees(&gpu, "var", place.path());
    // `using_znorm`, which no file says.
    let file = checkpoint(folder.path(), "var_znorm", Names::Var);
    let place = folder.path().join("run-znorm");
    let import = ["import", text(&file), "--size", "32", "--out", text(&place)];
    let more = ["--scales", "1,2,3,4,6,8", "--cosine", "true"];
    ok(run(&[&import[..], &more].concat()));
    agrees(&gpu, "var_znorm", &place);

    let file = checkpoint(folder.path(), "maskgit", Names::MaskGit);
    let imported = read(&file, None).unwrap();
    assert_eq!(imported.names, Names::MaskGit);
    let m = &imported.config.model;
    assert_eq!((&m.multipliers[..], m.residual_layers), (&[1, 2, 2][..], 2));
    assert!(m.unit_pixels && !m.mid_attention && m.attention.is_empty());
    let place = RunFolder::create(&folder.path().join("run-maskgit"), false).unwrap();
    imported.write(&gpu, [8, 16], &place).unwrap();
    agrees(&gpu, "maskgit", place.path());

    let file = checkpoint(folder.path(), "emu3", Names::Emu3);
    let imported = read(&file, None).unwrap();
    assert_eq!(imported.names, Names::Emu3);
    let m = &imported.config.model;
    assert!(m.spatial_norms && m.latent_blocks == 2 && m.latent_channels == 4);
    let place = RunFolder::create(&folder.path().join("run-emu3"), false).unwrap();
    imported.write(&gpu, [8, 16], &place).unwrap();
    agrees(&gpu, "emu3", place.path());

    // What makes no model of ours is named.
    let mut all = published::tensors("maskgit", Names::MaskGit);
    all.retain(|(name, ..)| name != "encoder.conv_out.weight");
    let file = folder.path().join("short.safetensors");
    published::write(&file, &all);
    let error = read(&file, None).unwrap_err().to_string();
    assert!(error.contains("encoder.conv_out.weight"), "{error}");
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
        r#"{"_class_name": "VQModel", "norm_type": "batch"}"#,
    )
    .unwrap();
    for place in [folder.path(), &file] {
        let error = read(place, None).unwrap_err().to_string();
        assert!(
            error.contains("norm_type") && error.contains("config.json"),
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
        stderr(&out).contains("named as by taming-transformers; 1 tensors"),
        "{}",
        stderr(&out)
    );
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
        &["decoder.mid.attn_1.q.bias", "missing", "short.safetensors"],
    );
    // One that implies a configuration that nobody wrote.
    let kept = whole
        .tensors()
        .into_iter()
        .filter(|(n, _)| !n.contains(".down.0.block.0.conv1."))
        .collect::<Vec<_>>();
    std::fs::write(at("none.safetensors"), serialize(kept, None).unwrap()).unwrap();
    refused(
        &["import", &text(&at("none.safetensors")), "--out", &none],
        &["none.safetensors", "its tensors imply"],
    );
}
