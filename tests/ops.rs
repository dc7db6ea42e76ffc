//! Every operation of the registry against its twin, forward and backward, on the default adapter.

use std::collections::BTreeSet;
use wgvq::gpu::{Core, Gpu, Options};
use wgvq::ops::{Case, Operation, registry, verify};

fn gpu(options: Options) -> Gpu {
    Gpu::new(options)
        .expect("these tests need a Vulkan, Metal or DX12 adapter; scripts/test.sh installs a software one")
}

/// Forward and backward of every case that `wanted` takes, with unwritten memory full of NaN; and that what ran is what
/// tests/shaders.rs translates for other devices: no operation dispatches a variant that it does not declare.
fn agree(core: Option<Core>, wanted: impl Fn(&dyn Operation, &Case) -> bool) {
    let gpu = gpu(Options { poison: true, core, ..Default::default() });
    let mut failures = Vec::new();
    for op in registry() {
        let cases = op.cases();
        assert!(!cases.is_empty(), "{} has no case", op.name());
        for (i, case) in cases.iter().enumerate().filter(|(_, case)| wanted(*op, case)) {
            let seed = 1000 + i as u64;
            let verdict =
                verify::forward(&gpu, *op, case, seed).unwrap_or_else(|e| panic!("{}({case}): {e}", op.name()));
            println!("{:>9.2e} of allowed, {}", verdict.worst, verdict.detail);
            if !verdict.pass || verdict.compared == 0 {
                failures.push(format!("seed {seed}: {}", verdict.detail));
            }
            match verify::backward(&gpu, *op, case, seed) {
                Ok(Some(v)) if !v.pass || v.compared == 0 => failures.push(format!("seed {seed}: {}", v.detail)),
                Err(e) => failures.push(format!("{}({case}) backward: {e}", op.name())),
                _ => {}
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    let declared: BTreeSet<String> = registry().iter().flat_map(|op| op.kernels()).map(|k| k.label()).collect();
    for label in gpu.kernels_in_use() {
        assert!(declared.contains(&label), "{label} is dispatched, and in no operation's list of kernels");
    }
}

#[test]
fn operations_agree_with_their_twins() {
    agree(None, |_, _| true);
}

/// The core of GPUs, which a software adapter runs too.
#[test]
fn operations_agree_with_their_twins_on_the_tiled_core() {
    // Operations off the matrix cores are the same on every core, but for those that share out rows; the widest heads only compile
    // for long.
    let heavy = ["attention", "conv2d", "conv_transpose2d", "matmul", "vq_search"];
    let rows = ["attention_decode", "cross_decode", "cross_entropy", "rms_norm", "sample", "softmax"];
    let heavy = [&heavy[..], &rows[..]].concat();
    agree(Some(Core::Tiled), |op, case| {
        heavy.contains(&op.name()) && op.work(case).flops < 1e7 && case.get("d") <= 128
    });
}

/// The twins' own gradients, which the device is held to, against central differences in f64.
#[test]
fn twins_agree_with_differences() {
    let mut checked = 0;
    for op in registry() {
        // The smallest case of each kind says the same as the largest, in a thousandth of the time.
        for (i, case) in op.cases().iter().enumerate() {
            if op.work(case).flops > 3e6 {
                continue;
            }
            if let Some(v) = verify::differences(*op, case, 2000 + i as u64, 24) {
                assert!(v.pass && v.compared > 0, "{}", v.detail);
                checked += 1;
            }
        }
    }
    assert!(checked > 0);
}

#[test]
fn hostile_calls_are_errors() {
    let gpu = gpu(Options::default());
    for op in registry() {
        for (what, result) in op.hostile(&gpu) {
            assert!(result.is_err(), "{}: {what} was accepted", op.name());
        }
        gpu.finish().unwrap_or_else(|e| panic!("{}: a hostile call reached the device: {e}", op.name()));
    }
}
