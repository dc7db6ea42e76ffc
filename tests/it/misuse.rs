//! Calls of the library with tensors and numbers that do not fit: each is an error that names the
//! call, or does nothing, and whatever else was recorded is not lost with it.

use crate::common::gpu;
use crate::host::Host;
use std::time::Duration;
use wgvq::autograd::Tape;
use wgvq::gpu::{DType, Gpu, Tensor};
use wgvq::nn::Builder;
use wgvq::ops::attention::attention::{Attention, attention};
use wgvq::ops::attention::attention_decode::{KvCache, attention_window};
use wgvq::ops::conv::Conv;
use wgvq::ops::conv::conv_transpose2d::{ConvTranspose, conv_transpose2d};
use wgvq::ops::conv::conv2d::conv2d;
use wgvq::ops::conv::max_pool::{Pool, max_pool};
use wgvq::ops::elementwise::activation::{Function, activation};
use wgvq::ops::elementwise::scale::scale;
use wgvq::ops::linalg::column_sum::column_sum;
use wgvq::ops::linalg::matmul::{Transpose, matmul};
use wgvq::ops::sampling::repetition_penalty::{Columns, repetition_penalty_each};
use wgvq::ops::sampling::sample::{Sampling, probabilities};
use wgvq::quantize::{Options, lfq, product, residual};
use wgvq::{FeatureRequest, Result, wgpu};

fn f32s(gpu: &Gpu, shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_slice(gpu, shape, values).unwrap()
}

fn says<T>(result: Result<T>, word: &str) {
    let message = result.err().expect("an error").to_string();
    assert!(message.contains(word), "{message:?} has no {word:?}");
}

#[test]
fn operations_on_nothing_leave_the_batch_whole() {
    let gpu = gpu();
    let x = f32s(&gpu, &[4], &[1.0, 2.0, 3.0, 4.0]);
    let empty = |shape: &[usize]| Tensor::zeros(&gpu, shape, DType::F32).unwrap();
    let same = Conv {
        stride: 1,
        pad: 1,
        after: 0,
        relu: false,
    };
    let weights = f32s(&gpu, &[4, 3, 3, 4], &[0.5; 144]);
    // Each is an error by name, or a tensor, and the work around it is done.
    let calls: [(&str, &dyn Fn() -> Result<Tensor>); 6] = [
        ("matmul over 0", &|| {
            matmul(&empty(&[3, 0]), &empty(&[0, 4]), Transpose::NONE, None)
        }),
        ("matmul of no row", &|| {
            matmul(&empty(&[0, 4]), &empty(&[4, 4]), Transpose::NONE, None)
        }),
        ("column sum", &|| column_sum(&empty(&[0, 4]))),
        ("conv of no image", &|| {
            conv2d(&empty(&[0, 4, 4, 4]), &weights, None, None, same)
        }),
        ("gradient of a gather", &|| {
            let tape = Tape::new(&gpu);
            let codes = tape.leaf(&f32s(&gpu, &[3, 4], &[1.0; 12]));
            let none = Tensor::zeros(&gpu, &[0], DType::U32)?;
            let rows = tape.gather(&codes, &none)?;
            let ones = empty(&[0, 4]);
            let mut gradients = tape.backward_with(&rows, ones)?;
            Ok(gradients.take(&codes).unwrap_or_else(|| empty(&[3, 4])))
        }),
        ("relu", &|| activation(Function::Relu, &empty(&[0, 4]))),
    ];
    for (name, call) in calls {
        let before = scale(&x, 2.0, 0.0).unwrap();
        let made = call();
        let after = scale(&before, 1.0, 1.0).unwrap();
        let read = after
            .read::<f32>()
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(read, [3.0, 5.0, 7.0, 9.0], "{name}");
        if let Ok(made) = made {
            let values = made.read::<f32>().unwrap();
            assert!(
                values.iter().all(|v| *v == 0.0),
                "{name}: sums of nothing are 0"
            );
        }
    }
}

#[test]
fn tensors_of_another_engine_are_refused() {
    let host = Host::new(FeatureRequest::default());
    let (here, there) = (host.gpu(), host.gpu());
    let (x, y) = (f32s(&here, &[4], &[1.0; 4]), f32s(&there, &[4], &[2.0; 4]));
    says(x.copy_from(&y), "another engine");
    says(x.copy_into(0, &y), "another engine");
    let square = |gpu: &Gpu| f32s(gpu, &[2, 2], &[1.0; 4]);
    says(
        matmul(&square(&here), &square(&there), Transpose::NONE, None),
        "another engine",
    );
    assert_eq!(x.read::<f32>().unwrap(), [1.0; 4]);
}

#[test]
fn hosts_buffers_are_used_as_they_may_be() {
    let host = Host::new(FeatureRequest::default());
    let gpu = host.gpu();
    let plain = host.buffer(1_024, wgpu::BufferUsages::STORAGE);
    let of = |offset| Tensor::from_buffer(&gpu, &plain, offset, &[4], DType::F32).unwrap();
    let (x, y) = (of(0), of(256));
    says(x.read::<f32>(), "COPY_SRC");
    says(x.duplicate(), "COPY_SRC");
    says(x.write(&[0.0f32; 4]), "COPY_DST");
    says(x.copy_from(&f32s(&gpu, &[4], &[1.0; 4])), "COPY_DST");
    let all =
        wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let able = host.buffer(1_024, all);
    let of = |offset| Tensor::from_buffer(&gpu, &able, offset, &[4], DType::F32).unwrap();
    let (a, b) = (of(0), of(256));
    says(a.copy_from(&b), "share a buffer");
    says(a.copy_to_buffer(&able, 512), "share a buffer");
    // A kernel may read them, and what was refused left nothing behind.
    a.write(&[1.0f32, 2.0, 3.0, 4.0]).unwrap();
    let sum = scale(&a, 2.0, 0.0).unwrap();
    assert_eq!(sum.read::<f32>().unwrap(), [2.0, 4.0, 6.0, 8.0]);
    drop((x, y));
}

#[test]
fn shapes_and_reaches_beyond_all_numbers_are_errors() {
    let gpu = gpu();
    let huge = 1 << 32;
    says(
        Tensor::zeros(&gpu, &[0], DType::F32)
            .unwrap()
            .reshape(&[huge, huge]),
        "reshape",
    );
    let bytes = Tensor::zeros(&gpu, &[512], DType::U8).unwrap();
    says(bytes.view(usize::MAX - 255, &[256]), "view");
    says(bytes.view(256, &[huge, huge]), "view");
    let words = Tensor::zeros(&gpu, &[8], DType::U32).unwrap();
    says(
        words.copy_into(usize::MAX, &words.duplicate().unwrap()),
        "copy_into",
    );
    let (x, w) = (
        f32s(&gpu, &[1, 1, 1, 4], &[1.0; 4]),
        f32s(&gpu, &[4, 4, 4, 4], &[1.0; 256]),
    );
    for stride in [1 << 16, 1 << 32] {
        let c = ConvTranspose {
            stride,
            pad: 0,
            output_pad: 0,
            relu: false,
        };
        says(conv_transpose2d(&x, &w, None, c), "at most 65535");
    }
}

#[test]
fn nan_is_seen() {
    let gpu = gpu();
    let x = f32s(&gpu, &[1, 2, 2, 1], &[1.0, f32::NAN, 3.0, -2.0]);
    let relu = activation(Function::Relu, &x)
        .unwrap()
        .read::<f32>()
        .unwrap();
    assert!(
        relu[1].is_nan() && relu[0] == 1.0 && relu[3] == 0.0,
        "{relu:?}"
    );
    let infinite = f32s(&gpu, &[3], &[f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    let tanh = activation(Function::Tanh, &infinite)
        .unwrap()
        .read::<f32>()
        .unwrap();
    assert!(tanh[..2] == [1.0, -1.0] && tanh[2].is_nan(), "{tanh:?}");
    let pool = Pool {
        window: 2,
        stride: 2,
        ceil: false,
    };
    let largest = max_pool(&x, pool).unwrap().read::<f32>().unwrap();
    assert!(largest[0].is_nan(), "{largest:?}");
    // Over few keys, and over so many that several workgroups share them.
    for keys in [5, 2_000] {
        let q = f32s(&gpu, &[1, 1, 1, 4], &[1.0, f32::NAN, 1.0, 1.0]);
        let kv = f32s(&gpu, &[1, 1, keys, 4], &vec![0.5; keys * 4]);
        // A driver's own logarithm decides what the lse is.
        let (o, _) = attention(&q, &kv, &kv, Attention::FULL).unwrap();
        assert!(
            o.read::<f32>().unwrap().iter().all(|v| v.is_nan()),
            "{keys} keys"
        );
    }
    let logits = f32s(
        &gpu,
        &[2, 3],
        &[f32::NAN, f32::NAN, f32::NAN, 0.0, 0.0, f32::NAN],
    );
    let shares = probabilities(&logits, &Sampling::default())
        .unwrap()
        .read::<f32>()
        .unwrap();
    assert!(shares[..3].iter().all(|v| v.is_nan()), "{shares:?}");
    assert_eq!(shares[3..], [0.5, 0.5, 0.0]);
}

#[test]
fn places_past_the_last_sequence_write_nothing() {
    let gpu = gpu();
    let cache = KvCache {
        k: Tensor::zeros(&gpu, &[2, 3, 1, 4], DType::F32).unwrap(),
        v: Tensor::zeros(&gpu, &[2, 3, 1, 4], DType::F32).unwrap(),
    };
    let qkv = f32s(&gpu, &[2, 1, 3, 1, 4], &[1.0; 24]);
    let at = Tensor::from_slice(&gpu, &[2, 2], &[5u32, 0, 1, 2]).unwrap();
    attention_window(&qkv, &cache, &at, Attention::FULL).unwrap();
    for kept in [&cache.k, &cache.v] {
        let kept = kept.read::<f32>().unwrap();
        assert!(
            kept[..20].iter().all(|v| *v == 0.0) && kept[20..] == [1.0; 4],
            "{kept:?}"
        );
    }
    let logits = f32s(&gpu, &[1, 4], &[1.0; 4]);
    let sequence = Tensor::from_slice(&gpu, &[1, 3], &[2u32, 2, 2]).unwrap();
    let columns = Columns {
        first: 0,
        stride: 1,
        count: 3,
    };
    let at = Tensor::from_slice(&gpu, &[1, 2], &[9u32, 3]).unwrap();
    let penalized = repetition_penalty_each(&logits, &sequence, columns, 2.0, &at).unwrap();
    assert_eq!(penalized.read::<f32>().unwrap(), [1.0, 1.0, 0.5, 1.0]);
    let scalar = Tensor::from_slice(&gpu, &[], &[1u32]).unwrap();
    assert!(repetition_penalty_each(&logits, &sequence, columns, 2.0, &scalar).is_err());
}

#[test]
fn quantizers_that_are_built_directly_check_their_own_options() {
    let gpu = gpu();
    let options = |change: fn(&mut Options)| {
        let mut options = Options {
            codebook_dim: 4,
            codebook_size: 8,
            ..Options::default()
        };
        change(&mut options);
        options
    };
    let b = || Builder::default();
    says(
        product::build(&gpu, &mut b(), &options(|o| o.groups = 0)),
        "groups",
    );
    says(
        product::build(&gpu, &mut b(), &options(|o| o.groups = 3)),
        "groups",
    );
    let none = options(|o| o.num_quantizers = 0);
    says(residual::build(&gpu, &mut b(), &none), "num_quantizers");
    let bits = lfq::build(&gpu, &mut b(), &options(|o| o.codebook_dim = 0)).unwrap();
    assert_eq!(bits.codebook_size(), 8);
}

#[test]
fn work_that_waits_for_itself_is_work() {
    let gpu = gpu();
    let x = f32s(&gpu, &[1_000], &[1.0; 1_000]);
    let (mut sum, mut left) = (0.0, 3);
    let second = Duration::from_secs(1);
    while !gpu
        .run_for_budget(second, || {
            sum += scale(&x, 1.0, 1.0)?.read::<f32>()?[0];
            left -= 1;
            Ok(left > 0)
        })
        .unwrap()
        .done
    {}
    assert_eq!((sum, left), (6.0, 0));
    // What the last piece recorded is done before all is said to be.
    let mut y = None;
    let worked = gpu
        .run_for_budget(second, || {
            y = Some(scale(&x, 3.0, 0.0)?);
            Ok(false)
        })
        .unwrap();
    assert!(worked.done && worked.slices == 1, "{worked:?}");
    // A panic within leaves an engine that works.
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = gpu.run_for_budget(second, || panic!("in `more`"));
    }));
    assert!(panicked.is_err());
    let before = gpu.counters().submissions;
    scale(&x, 1.0, 1.0).unwrap();
    gpu.flush().unwrap();
    assert_eq!(gpu.counters().submissions, before + 1);
    assert_eq!(y.unwrap().read::<f32>().unwrap()[0], 3.0);
}
