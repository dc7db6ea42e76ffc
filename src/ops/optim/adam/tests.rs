//! Tests of the host's side.

use super::*;
use crate::gpu::{DeviceClass, Gpu, Options};
use crate::ops::elementwise::cast::cast;
use crate::spec::Rng;
use half::f16;

/// An arena beyond the binding size is walked in parts: the bits are those of one dispatch.
#[test]
fn parts_give_the_bits_of_the_whole() {
    let gpu = Gpu::new(Options {
        poison: true,
        ..Default::default()
    })
    .unwrap();
    let n = 1000;
    let mut rng = Rng::new(5);
    let [w, m, g] = [0; 3].map(|_| rng.normals(&[n]).upload(&gpu).unwrap());
    let v = Tensor::from_slice(&gpu, &[n], &vec![0.5f32; n]).unwrap();
    let hyper = Hyper {
        weight_decay: 0.5,
        ..Default::default()
    };
    let run = |limit| {
        let [w, m, v] = [&w, &m, &v].map(|t| t.duplicate().unwrap());
        let state = State {
            weights: &w,
            m: &m,
            v: &v,
        };
        adam_in_chunks(&hyper, 3, state, &g, (None, None), 300, limit).unwrap();
        [w, m, v].map(|t| t.read::<f32>().unwrap())
    };
    let bits = |x: [Vec<f32>; 3]| x.map(|v| v.into_iter().map(f32::to_bits).collect::<Vec<u32>>());
    assert_eq!(bits(run(1 << 20)), bits(run(1024)));
    assert_eq!(bits(run(1 << 20)), bits(run(256 + 255)));
}

/// Copies are the weights rounded to f16, block by block in another order, whatever the parts
/// and the class of the device; a step that is skipped leaves them as they are.
#[test]
fn copies_are_the_weights_in_f16() {
    for class in [DeviceClass::Processor, DeviceClass::Discrete] {
        let gpu = Gpu::new(Options {
            poison: true,
            device_class: Some(class),
            ..Default::default()
        })
        .unwrap();
        let (n, blocks) = (16 * BLOCK, 16);
        let mut rng = Rng::new(8);
        let [w, m, g] = [0; 3].map(|_| rng.normals(&[n]).upload(&gpu).unwrap());
        let v = Tensor::from_slice(&gpu, &[n], &vec![0.5f32; n]).unwrap();
        let places: Vec<u32> = (0..blocks as u32).rev().collect();
        let places = Tensor::from_slice(&gpu, &[blocks], &places).unwrap();
        for (factor, limit) in [(0.5f32, 1 << 20), (0.5, 1024), (0.0, 1 << 20)] {
            let clip = Tensor::from_slice(&gpu, &[3], &[1.0, factor, 1.0]).unwrap();
            let nothing = Tensor::zeros(&gpu, &[blocks * BLOCK], DType::F32).unwrap();
            let halves = cast(&nothing, DType::F16).unwrap();
            let copies = Copies {
                halves: &halves,
                places: &places,
            };
            let [plain, own] = [None, Some(copies)].map(|copies| {
                let [w, m, v] = [&w, &m, &v].map(|t| t.duplicate().unwrap());
                let state = State {
                    weights: &w,
                    m: &m,
                    v: &v,
                };
                let with = (Some(&clip), copies);
                adam_in_chunks(&Hyper::default(), 3, state, &g, with, 300, limit).unwrap();
                w.read::<f32>().unwrap()
            });
            assert_eq!(plain, own);
            let found = halves.read::<f16>().unwrap();
            for (i, w) in own.iter().enumerate() {
                let at = (blocks - 1 - i / BLOCK) * BLOCK + i % BLOCK;
                let wanted = if factor == 0.0 { 0.0 } else { *w };
                assert_eq!(found[at], f16::from_f32(wanted), "{class:?} {i}");
            }
        }
        let state = State {
            weights: &w,
            m: &m,
            v: &v,
        };
        let copies = Copies {
            halves: &places,
            places: &places,
        };
        let clip = Tensor::zeros(&gpu, &[3], DType::F32).unwrap();
        let with = (Some(&clip), Some(copies));
        assert!(adam_with(&Hyper::default(), 1, state, &g, with, 0).is_err());
    }
}
