//! First stages that others trained, by their names.

mod common;

use common::{pattern_weight, run, stderr, stdout};
use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wgvq::gpu::{Gpu, Options, Tensor};
use wgvq::train::Trained;
use wgvq::train::import::{Names, read};
use wgvq::train::run_folder::RunFolder;

fn gpu() -> Gpu {
    Gpu::new(Options { poison: true, ..Default::default() })
        .expect("these tests need a Vulkan, Metal or DX12 adapter; scripts/test.sh installs a software one")
}

/// The shapes of the fixtures' network under taming-transformers' names, with attention at these resolutions: 32 channels times
/// [1, 1, 2], one block each, 6 channels before the quantizer and 4 in it.
fn shapes(attention: &[usize]) -> BTreeMap<String, Vec<usize>> {
    let mut all = BTreeMap::new();
    fn conv(all: &mut BTreeMap<String, Vec<usize>>, name: &str, i: usize, o: usize, k: usize) {
        all.insert(format!("{name}.weight"), vec![o, i, k, k]);
        all.insert(format!("{name}.bias"), vec![o]);
    }
    fn norm(all: &mut BTreeMap<String, Vec<usize>>, name: &str, c: usize) {
        all.insert(format!("{name}.weight"), vec![c]);
        all.insert(format!("{name}.bias"), vec![c]);
    }
    fn block(all: &mut BTreeMap<String, Vec<usize>>, name: &str, i: usize, o: usize) {
        norm(all, &format!("{name}.norm1"), i);
        conv(all, &format!("{name}.conv1"), i, o, 3);
        norm(all, &format!("{name}.norm2"), o);
        conv(all, &format!("{name}.conv2"), o, o, 3);
        if i != o {
            conv(all, &format!("{name}.nin_shortcut"), i, o, 1);
        }
    }
    fn attend(all: &mut BTreeMap<String, Vec<usize>>, name: &str, c: usize) {
        norm(all, &format!("{name}.norm"), c);
        ["q", "k", "v", "proj_out"].iter().for_each(|part| conv(all, &format!("{name}.{part}"), c, c, 1));
    }
    let widths = [32, 32, 64];
    let all_of = &mut all;
    conv(all_of, "encoder.conv_in", 3, 32, 3);
    conv(all_of, "decoder.conv_in", 6, 64, 3);
    for (side, blocks) in [("encoder.down", 1), ("decoder.up", 2)] {
        for (level, width) in widths.into_iter().enumerate() {
            let before = match side {
                "encoder.down" => widths[level.saturating_sub(1)],
                _ => widths[(level + 1).min(2)],
            };
            for j in 0..blocks {
                let from = if j == 0 { before } else { width };
                block(all_of, &format!("{side}.{level}.block.{j}"), from, width);
                if attention.contains(&(1 << level)) {
                    attend(all_of, &format!("{side}.{level}.attn.{j}"), width);
                }
            }
            if side == "encoder.down" && level < 2 {
                conv(all_of, &format!("{side}.{level}.downsample.conv"), width, width, 3);
            }
            if side == "decoder.up" && level > 0 {
                conv(all_of, &format!("{side}.{level}.upsample.conv"), width, width, 3);
            }
        }
    }
    for side in ["encoder", "decoder"] {
        block(all_of, &format!("{side}.mid.block_1"), 64, 64);
        attend(all_of, &format!("{side}.mid.attn_1"), 64);
        block(all_of, &format!("{side}.mid.block_2"), 64, 64);
    }
    norm(all_of, "encoder.norm_out", 64);
    conv(all_of, "encoder.conv_out", 64, 6, 3);
    conv(all_of, "quant_conv", 6, 4, 1);
    conv(all_of, "post_quant_conv", 4, 6, 1);
    norm(all_of, "decoder.norm_out", 32);
    conv(all_of, "decoder.conv_out", 32, 3, 3);
    all
}

/// A name of taming-transformers as LlamaGen has it.
fn llama(name: &str) -> String {
    let mid = name.replace("mid.block_1", "mid.0").replace("mid.attn_1", "mid.1").replace("mid.block_2", "mid.2");
    let down = mid.replace("encoder.down.", "encoder.conv_blocks.").replace(".block.", ".res.");
    (0..3).fold(down, |name, i| name.replace(&format!("decoder.up.{i}."), &format!("decoder.conv_blocks.{}.", 2 - i)))
}

fn fixture(name: &str) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let path = format!("{}/tests/fixtures/vqgan/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let own = file.tensors().into_iter().map(|(n, v)| (n, (v.shape().to_vec(), v.data().to_vec())));
    own.filter(|(n, _)| !n.starts_with("grad.")).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// A published checkpoint's file: its network, its codebook, and what else such files hold.
fn checkpoint(folder: &Path, fixture_name: &str, names: Names) -> PathBuf {
    let codebook = &fixture(fixture_name)["codebook"];
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = vec![
        ("quantize.embedding.weight".into(), codebook.0.clone(), codebook.1.clone()),
        ("loss.discriminator.main.0.weight".into(), vec![2], vec![0; 8]),
    ];
    let attention: &[usize] = if names == Names::LlamaGen { &[4] } else { &[2] };
    for (name, shape) in shapes(attention) {
        let bytes = pattern_weight(&name, &shape).iter().flat_map(|v| v.to_le_bytes()).collect();
        // LlamaGen's stands behind a prefix, as in a training checkpoint.
        let name = if names == Names::LlamaGen { llama(&name) } else { name };
        tensors.push((name, shape, bytes));
    }
    if names == Names::LlamaGen {
        tensors.iter_mut().for_each(|(name, ..)| *name = format!("model.{name}"));
    }
    let views = tensors.iter().map(|(n, s, b)| (n.as_str(), TensorView::new(Dtype::F32, s.clone(), b).unwrap()));
    let path = folder.join(format!("{fixture_name}.safetensors"));
    std::fs::write(&path, serialize(views, None).unwrap()).unwrap();
    path
}

/// Encodes and decodes as PyTorch does.
#[test]
fn published_names_load_and_agree_with_pytorch() {
    let gpu = gpu();
    let folder = tempfile::tempdir().unwrap();
    for (name, names, cosine) in [("taming", Names::Taming, false), ("llamagen", Names::LlamaGen, true)] {
        let file = checkpoint(folder.path(), name, names);
        let imported = read(&file).unwrap();
        assert_eq!(imported.names, names);
        assert_eq!(imported.left_out.len(), 1, "{:?}", imported.left_out);
        let (m, q) = (&imported.config.model, &imported.config.quantizer);
        assert_eq!((m.hidden, &m.multipliers[..], m.residual_layers), (32, &[1, 1, 2][..], 1));
        assert_eq!((m.latent_channels, &m.attention[..]), (6, if cosine { &[4][..] } else { &[2][..] }));
        assert_eq!((q.codebook_size, q.codebook_dim, q.use_cosine_sim), (13, 4, cosine));
        let place = RunFolder::create(&folder.path().join(format!("run-{name}")), false).unwrap();
        imported.write(&gpu, [8, 16], &place).unwrap();

        let want = fixture(name);
        let images = Tensor::from_slice(&gpu, &[1, 16, 8, 3], &floats(&want["images"].1)).unwrap();
        let model = Trained::load(&gpu, place.path()).unwrap();
        let (codes, y) = model.reconstruct(&images).unwrap();
        let (codes, y) = (codes[0].read::<u32>().unwrap(), y.read::<f32>().unwrap());
        let wanted: Vec<u32> =
            want["codes"].1.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        assert_eq!(codes, wanted, "{name}");
        let wanted = floats(&want["reconstruction"].1);
        let worst = y.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        assert!(y.len() == wanted.len() && worst < 1e-4, "{name}: off by {worst}");
    }
}

#[test]
fn the_command_makes_a_run_that_others_take() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = |p: &Path| p.to_str().unwrap().to_owned();
    let file = checkpoint(folder.path(), "taming", Names::Taming);
    let out = run(&["import", &text(&file), "--size", "32", "--out", &text(&at("run"))]);
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(stdout(&out).contains("13 codes of 4: 32 x 32 pixels are 8 x 8 codes"), "{}", stdout(&out));
    let set = wgvq::data::open("emoji", &Default::default()).unwrap();
    image::save_buffer(at("a.png"), &set.image(5).unwrap(), 32, 32, image::ColorType::Rgb8).unwrap();
    let out = run(&["encode", &text(&at("run")), &text(&at("a.png")), "-o", &text(&at("codes.safetensors"))]);
    assert!(out.status.success(), "{}", stderr(&out));
    let out = run(&["decode", &text(&at("run")), &text(&at("codes.safetensors")), "-o", &text(&at("decoded"))]);
    assert!(out.status.success() && at("decoded/a.png").is_file(), "{}", stderr(&out));

    let refused = |args: &[&str], words: &[&str]| {
        let out = run(args);
        let said = stderr(&out);
        assert!(!out.status.success() && words.iter().all(|w| said.contains(w)), "{said}");
        assert!(!at("none").exists());
    };
    let none = text(&at("none"));
    refused(&["import", &text(&file), "--size", "30", "--out", &none], &["data.width", "multiple of"]);
    refused(&["import", &text(&at("a.png")), "--out", &none], &["a.png", "safetensors"]);
    refused(&["import", &text(&at("codes.safetensors")), "--out", &none], &["encoder.conv_in.weight"]);
    refused(&["import", &text(&at("missing")), "--out", &none], &["missing"]);
    refused(&["import", &text(&file), "--size", "32", "--out", &text(&at("run"))], &["run", "--overwrite"]);
    // One tensor short.
    let bytes = std::fs::read(&file).unwrap();
    let whole = SafeTensors::deserialize(&bytes).unwrap();
    let kept = whole.tensors().into_iter().filter(|(n, _)| n != "decoder.mid.attn_1.q.bias").collect::<Vec<_>>();
    std::fs::write(at("short.safetensors"), serialize(kept, None).unwrap()).unwrap();
    refused(&["import", &text(&at("short.safetensors")), "--out", &none], &["decoder.mid.attn_1.q.bias", "missing"]);
}
