//! Devices without robust buffer access. That kernels stay inside their tensors there is
//! `tests/ops.rs`.

use wgvq::gpu::{Gpu, Options, RobustAccess, Tensor, adapters};
use wgvq::ops::linalg::matmul::{Transpose, matmul};
use wgvq::ops::linalg::reduce::sum;

fn without() -> Option<Gpu> {
    let gpu = Gpu::new(Options {
        robust_access: RobustAccess::Off,
        ..Default::default()
    });
    if adapters()[0].robust_access_optional {
        Some(gpu.unwrap())
    } else {
        let message = gpu.unwrap_err().to_string();
        assert!(message.contains("leave robust access on"), "{message}");
        None
    }
}

/// Bits of a product and a sum on a device.
fn bits(gpu: &Gpu) -> Vec<u32> {
    let (m, k) = (37, 53);
    let values: Vec<f32> = (0..m * k).map(|i| (i * 31 % 97) as f32 / 13.0).collect();
    let x = Tensor::from_slice(gpu, &[m, k], &values).unwrap();
    let y = matmul(&x, &x, Transpose::B, None).unwrap();
    let mut all = y.read::<f32>().unwrap();
    all.extend(sum(&y).unwrap().read::<f32>().unwrap());
    all.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_device_without_robust_access_computes_the_same_bits() {
    let Some(without) = without() else { return };
    let with = Gpu::new(Options::default()).unwrap();
    assert_eq!(with.robust_access(), RobustAccess::On);
    assert_eq!(without.robust_access(), RobustAccess::Off);
    // It has all that the other has.
    assert_eq!(with.device().features(), without.device().features());
    assert_eq!(with.limits(), without.limits());
    assert_eq!(bits(&with), bits(&without));
}

#[test]
fn errors_on_such_a_device_are_values() {
    let Some(gpu) = without() else { return };
    let huge = Tensor::zeros(&gpu, &[1 << 44], wgvq::gpu::DType::F32);
    assert!(huge.is_err());
    assert_eq!(bits(&gpu).len(), 37 * 37 + 1);
}

#[test]
fn a_hosts_device_stays_as_it_is() {
    let own = Gpu::new(Options::default()).unwrap();
    let gpu = Gpu::from_wgpu_with(
        own.info().clone(),
        own.device().clone(),
        own.queue().clone(),
        Options {
            robust_access: RobustAccess::Off,
            ..Default::default()
        },
    );
    assert_eq!(gpu.robust_access(), RobustAccess::On);
}

#[test]
fn bounds_checks_want_robust_access() {
    let error = Gpu::new(Options {
        robust_access: RobustAccess::Off,
        shader_checks: true,
        ..Default::default()
    });
    let message = error.unwrap_err().to_string();
    assert!(message.contains("shader_checks"), "{message}");
}

#[test]
fn a_word_that_is_neither_is_refused() {
    assert_eq!("off".parse::<RobustAccess>().unwrap(), RobustAccess::Off);
    assert_eq!("on".parse::<RobustAccess>().unwrap(), RobustAccess::On);
    let message = "no".parse::<RobustAccess>().unwrap_err().to_string();
    assert!(message.contains("neither on nor off"), "{message}");
}
