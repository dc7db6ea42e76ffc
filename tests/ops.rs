//! Every operation of the registry against its twin, forward and backward, on the default adapter.

use wgvq::gpu::{Gpu, Options};
use wgvq::ops::{registry, verify};

fn gpu(options: Options) -> Gpu {
    Gpu::new(options)
        .expect("these tests need a Vulkan, Metal or DX12 adapter; scripts/test.sh installs a software one")
}

/// Forward and backward of every case, with unwritten memory full of NaN.
#[test]
fn operations_agree_with_their_twins() {
    let gpu = gpu(Options { poison: true, ..Default::default() });
    let mut failures = Vec::new();
    for op in registry() {
        let cases = op.cases();
        assert!(!cases.is_empty(), "{} has no case", op.name());
        for (i, case) in cases.iter().enumerate() {
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
