//! `wgvq bench --replay`: the shapes of a run's own steps.

use crate::common::{printed, refused, run};
use std::collections::BTreeMap;

const RUN: &str = "tests/fixtures/runs/ema";

#[test]
fn a_runs_shapes_are_those_of_its_model_and_batch() {
    let quick = ["--seconds", "0", "--any-clock", "--json"];
    let said = printed(&[&["bench", "--replay", RUN], &quick[..]].concat());
    let mut parts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for line in said.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        assert_eq!(line["row"]["pass"], true, "{line}");
        let each = line["row"]["ms"].as_f64().unwrap();
        let count = line["count"].as_u64().unwrap();
        let share = each * count as f64 / line["part_ms"].as_f64().unwrap();
        assert!(
            (line["share"].as_f64().unwrap() - share).abs() < 1e-9,
            "{line}"
        );
        let part = parts.entry(text(&line["part"])).or_default();
        let before = part.insert(text(&line["row"]["name"]), count);
        assert!(before.is_none(), "a shape twice: {line}");
    }
    let names: Vec<&str> = parts.keys().map(String::as_str).collect();
    assert_eq!(names, ["encoding", "prior: training step", "training step"]);
    // Batches of 4 images of 16 x 16, 32 codes of 8 channels, two blocks on either side.
    let step = &parts["training step"];
    assert_eq!(step["vq_search_n64_k32_d8"], 1);
    assert_eq!(step["loss_mae0_n3072_fwd_bwd"], 1);
    assert_eq!(
        step["conv2d_n4_h4_w4_i16_o8_kh3_kw3_s1_p1_relu1_fwd_bwd"],
        2
    );
    // Encoding has no gradients, and 64 images.
    let encoding = &parts["encoding"];
    assert_eq!(encoding["vq_search_n1024_k32_d8"], 1);
    assert!(
        !encoding.keys().any(|name| name.ends_with("_fwd_bwd")),
        "{encoding:?}"
    );
    let prior = &parts["prior: training step"];
    let attention = "attention_b4_h2_tq16_tk16_d16_causal1_packed1_mask0_fwd_bwd";
    assert_eq!(prior[attention], 2);
}

#[test]
fn what_cannot_be_replayed_says_so() {
    refused(run(&["bench", "--replay", "nowhere"]), &["nowhere"]);
    let peer = ["bench", "--replay", RUN, "--peer", "python"];
    refused(run(&peer), &["--peer", "--replay"]);
    refused(
        run(&["bench", "matmul_1024", "--replay", RUN]),
        &["--replay"],
    );
}
