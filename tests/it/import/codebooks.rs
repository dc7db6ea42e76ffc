//! Codebooks of others alone, as arrays.

use super::floats;
use crate::common::published::{self, checkpoint, fixture};
use crate::common::{run, stderr, stdout};
use std::path::Path;
use wgvq::inference::import::{Names, read_codebook};

/// The codebooks of quantizers alone, under the names of several programs.
#[test]
fn codebooks_become_arrays_that_quantize_reads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = |p: &Path| p.to_str().unwrap().to_owned();
    let bytes = |values: &[f32]| {
        values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    // Two codes of two numbers: the first layer's, and what it leaves.
    let (coarse, fine) = ([0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 0.0, 1.0]);
    let layer = |name: &str, shape: &[usize], values: &[f32]| {
        (name.to_owned(), shape.to_vec(), bytes(values))
    };
    let columns = [0.0, 10.0, 0.0, 10.0];
    let vectors: Vec<u8> = bytes(&[0.0, 1.0, 11.0, 10.0, 10.0, 11.0]);
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }";
    let padded = format!("{header:<117}\n");
    let mut array = b"\x93NUMPY\x01\x00".to_vec();
    array.extend((padded.len() as u16).to_le_bytes());
    array.extend(padded.as_bytes());
    array.extend(vectors);
    std::fs::write(at("x.npy"), array).unwrap();
    for (name, tensors, quantizer, wanted) in [
        (
            "residual",
            vec![
                layer("quantizer.layers.0._codebook.embed", &[1, 2, 2], &coarse),
                layer(
                    "quantizer.layers.0._codebook.cluster_size",
                    &[1, 2],
                    &[1.0; 2],
                ),
                layer("quantizer.layers.1._codebook.embed", &[1, 2, 2], &fine),
            ],
            "residual",
            vec![0u16, 1, 1, 0, 1, 1],
        ),
        (
            "sonnet",
            vec![layer("vq/embeddings", &[2, 2], &columns)],
            "kmeans",
            vec![0, 1, 1],
        ),
        (
            "heads",
            vec![layer(
                "_codebook.embed",
                &[2, 2, 1],
                &[0.0, 10.0, 1.0, 11.0],
            )],
            "product",
            vec![0, 0, 1, 1, 1, 1],
        ),
    ] {
        let file = at(&format!("{name}.safetensors"));
        published::write(&file, &tensors);
        let books = at(&format!("{name}.npy"));
        let out = run(&["import", &text(&file), "--out", &text(&books)]);
        assert!(out.status.success(), "{}", stderr(&out));
        assert!(stdout(&out).contains(quantizer), "{}", stdout(&out));
        let codes = at(&format!("{name}-codes.npy"));
        let out = run(&[
            "quantize",
            &text(&at("x.npy")),
            "--quantizer",
            quantizer,
            "--codebook",
            &text(&books),
            "-o",
            &text(&codes),
        ]);
        assert!(out.status.success(), "{}", stderr(&out));
        let file = std::fs::read(codes).unwrap();
        let own: Vec<u16> = file[file.len() - 2 * wanted.len()..]
            .chunks_exact(2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]))
            .collect();
        assert_eq!(own, wanted, "{name}");
    }
    let refused = |args: &[&str], words: &[&str]| {
        let out = run(args);
        let said = stderr(&out);
        let named = words.iter().all(|w| said.contains(w));
        assert!(!out.status.success() && named, "{said}");
    };
    // What a tokenizer's configuration says of its layers does not concern its codebook.
    std::fs::write(
        at("config.json"),
        r#"{"_class_name": "VQModel", "norm_num_groups": 16}"#,
    )
    .unwrap();
    let (file, none) = (text(&at("residual.safetensors")), text(&at("none.npy")));
    read_codebook(file.as_ref(), None, None).unwrap();
    refused(
        &["import", &file, "--out", &text(&at("run"))],
        &[".npy", "--out"],
    );
    refused(
        &["import", &file, "--out", &none, "--prefix", "x"],
        &["`x`", "`quantizer`"],
    );
    refused(
        &["import", &file, "--out", &none, "--scales", "1,2"],
        &["--scales"],
    );
    // A layer may map vectors, or be without its codebook.
    let behind = |name: &str| {
        let first = layer("layers.0._codebook.embed", &[1, 2, 2], &coarse);
        published::write(
            &at("layers.safetensors"),
            &vec![first, layer(name, &[2, 2], &fine)],
        );
        text(&at("layers.safetensors"))
    };
    for (name, words) in [
        ("layers.0.project_in.weight", ["project_in", "codebook_dim"]),
        (
            "layers.2._codebook.embed",
            [
                "`layers.1._codebook.embed`",
                "layers.safetensors: has no tensor",
            ],
        ),
    ] {
        let file = behind(name);
        refused(
            &["import", &file, "--out", &none],
            &[name, words[0], words[1]],
        );
    }
    let mapped = vec![
        layer("_codebook.embed", &[1, 2, 2], &coarse),
        layer("project_in.weight", &[2, 2], &coarse),
    ];
    published::write(&at("mapped.safetensors"), &mapped);
    let mapped = text(&at("mapped.safetensors"));
    refused(
        &["import", &mapped, "--out", &none],
        &["project_in", "codebook_dim"],
    );
    assert!(!at("none.npy").exists() && !at("run").exists());
}

/// LlamaGen and Janus compare directions: their codes get length 1, and others' stay as they are.
#[test]
fn codes_that_a_program_normalises_become_normalised_arrays() {
    let folder = tempfile::tempdir().unwrap();
    for (name, names, asked, cosine) in [
        ("taming", Names::Taming, None, false),
        ("taming", Names::Taming, Some("true"), true),
        ("llamagen", Names::LlamaGen, None, true),
        ("llamagen", Names::Janus, None, true),
        ("llamagen", Names::Janus, Some("false"), false),
    ] {
        let file = checkpoint(folder.path(), name, names);
        let out = folder.path().join("books.npy");
        let [file, out] = [file, out].map(|p| p.to_str().unwrap().to_owned());
        let mut args = vec!["import", &file, "--out", &out, "--overwrite"];
        args.extend(asked.iter().flat_map(|asked| ["--cosine", asked]));
        let said = run(&args);
        assert!(said.status.success(), "{}", stderr(&said));
        let stored = floats(&fixture(name)["codebook"].1);
        let array = std::fs::read(&out).unwrap();
        let own = floats(&array[array.len() - 4 * stored.len()..]);
        for (own, stored) in own.chunks(4).zip(stored.chunks(4)) {
            let length = stored.iter().map(|v| v * v).sum::<f32>().sqrt();
            let by = if cosine { length } else { 1.0 };
            for (own, stored) in own.iter().zip(stored) {
                assert!((own - stored / by).abs() < 1e-6, "{names:?} {asked:?}");
            }
        }
    }
}
