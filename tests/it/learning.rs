//! It learns: the standard model on the embedded emoji, a short budget of the curve that the README
//! states.

use crate::common::{run, stderr, stdout};

/// 30 steps of the preset at half its batch, held to what this engine reached (0.068 and 11.5) with
/// room to spare. The curves that are compared with another program's are those of
/// `scripts/learning.sh`.
#[test]
fn the_standard_model_learns_and_its_codebook_lives() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let output = run(&[
        "train",
        "--preset",
        "emoji32",
        "--steps",
        "30",
        "--batch",
        "16",
        "--out",
        out.to_str().unwrap(),
        "--quiet",
        "--json",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let line: serde_json::Value = serde_json::from_str(stdout(&output).trim()).expect("JSON");
    let (mse, perplexity) = (
        line["mse"].as_f64().unwrap(),
        line["perplexity"].as_f64().unwrap(),
    );
    println!("MSE {mse}, perplexity {perplexity}");
    assert!(mse < 0.08, "test MSE {mse} after 30 steps");
    assert!(
        perplexity > 7.0,
        "perplexity {perplexity} after 30 steps: the codebook collapses"
    );
}
