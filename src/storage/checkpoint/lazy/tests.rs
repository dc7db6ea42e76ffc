use super::*;
use crate::gpu::{Gpu, Options};
use crate::nn::{Adam, Init, MomentType, Parameters};
use crate::storage::checkpoint;

/// Parameters, moments of 16 bits and whole numbers, in memory and on the device.
fn sample() -> LazyCheckpoint {
    let gpu = Gpu::new(Options {
        parameter_part: Some(512),
        ..Default::default()
    })
    .unwrap();
    let mut b = Parameters::builder();
    let shapes: [(&str, &[usize]); 3] = [("z", &[5]), ("conv", &[2, 3, 3, 4]), ("m", &[4, 9])];
    for (name, shape) in shapes {
        b.declare(name, shape, Init::Normal(1.0));
    }
    let params = b.build(&gpu, 3).unwrap();
    let moments = MomentType::Bf16 { seed: 2 };
    let mut adam = Adam::with_moments(&params, Default::default(), moments).unwrap();
    let gradients = params.handles().map(|handle| {
        let tensor = params.get(handle).unwrap().duplicate().unwrap();
        (handle, tensor)
    });
    adam.step(&params, &gradients.collect::<Vec<_>>()).unwrap();
    let mut all = LazyCheckpoint::default();
    all.add_saved("", params.saved());
    let [m, v] = adam.saved().unwrap();
    all.add_saved("adam.m.", m);
    all.add_saved("adam.v.", v);
    all.add(
        "own.",
        [("k".to_owned(), (vec![2, 2], vec![1.5; 4]))].into(),
    );
    let words = HostTensor {
        shape: vec![3],
        dtype: Dtype::U8,
        bytes: vec![1, 2, 3],
    };
    all.tensors.insert("classes".into(), LazyTensor::of(words));
    all.state = serde_json::json!({ "step": 1, "text": "\"quoted\"" });
    all
}

#[test]
fn what_is_written_a_tensor_at_a_time_has_the_bytes_of_the_whole() {
    let all = sample();
    let whole = all.in_memory().unwrap();
    let bytes = checkpoint::to_bytes(&whole).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let mut seen = Vec::new();
    let every = |name: &str, _: Dtype, bytes: &[u8]| {
        seen.push((name.to_owned(), bytes.len()));
        Ok(())
    };
    let (size, sum) = all.write(&path, every).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!((size, sum), (bytes.len() as u64, checkpoint::sum(&bytes)));
    assert_eq!(seen.len(), whole.tensors.len());
    assert_eq!(whole.tensors["adam.m.conv"].dtype, Dtype::BF16);
    assert_eq!(whole.tensors["adam.m.conv"].shape, [2, 4, 3, 3]);

    // Read back a tensor at a time.
    let (found, sum) = LazyCheckpoint::open(&path).unwrap();
    assert_eq!(found.sum_of(|_| true).unwrap(), sum);
    assert_eq!(sum, checkpoint::tensor_sum(&whole.tensors));
    assert_eq!(found.in_memory().unwrap(), whole);
    let prefixes = ["adam.m.", "adam.v.", "own.", "classes"];
    let part = found.source("", &prefixes);
    assert_eq!(part.shapes()["conv"], [2, 3, 3, 4]);
    assert_eq!(part.shapes().len(), 3);
    let wanted = all.source("", &prefixes);
    assert_eq!(part.read("conv").unwrap(), wanted.read("conv").unwrap());
    assert_eq!(found.part("own.").unwrap()["k"].1, [1.5; 4]);
}

#[test]
fn what_is_refused_leaves_the_file_as_it_was() {
    let all = sample();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    std::fs::write(&path, b"before").unwrap();
    let every = |name: &str, _: Dtype, _: &[u8]| match name {
        "m" => Err(Error::data("on purpose")),
        _ => Ok(()),
    };
    assert!(all.write(&path, every).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"before");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    for bytes in [&b"short"[..], &[255; 40], &[0; 8], b"\x02\0\0\0\0\0\0\0{}"] {
        std::fs::write(&path, bytes).unwrap();
        let error = LazyCheckpoint::open(&path).unwrap_err().to_string();
        assert!(error.contains("a.safetensors"), "{error}");
    }
}

#[test]
fn values_that_are_not_finite_are_found_in_both_types() {
    let of = |name: &str, dtype, bytes: &[u8]| {
        let mut all = sample();
        let tensor = HostTensor {
            shape: vec![2],
            dtype,
            bytes: bytes.to_vec(),
        };
        all.tensors.insert(name.into(), LazyTensor::of(tensor));
        all.first_not_finite().unwrap().map(str::to_owned)
    };
    let infinite = [0, 0, 0x80, 0x7f];
    assert_eq!(of("a", Dtype::BF16, &infinite).as_deref(), Some("a"));
    assert_eq!(of("adam.v.a", Dtype::BF16, &infinite), None);
    assert_eq!(of("a", Dtype::BF16, &[1, 2, 3, 4]), None);
    let nan = [0, 0, 0, 0, 1, 0, 0x80, 0x7f];
    assert_eq!(
        of("adam.v.a", Dtype::F32, &nan).as_deref(),
        Some("adam.v.a")
    );
}

/// Tensors that another process sends one at a time arrive as they were.
#[test]
fn a_checkpoint_arrives_a_tensor_at_a_time() {
    let all = sample();
    let mut arriving = Arriving::new(&all.outline().unwrap()).unwrap();
    all.each(|elements| arriving.add(elements)).unwrap();
    let arrived = arriving.whole().unwrap();
    assert_eq!(arrived.in_memory().unwrap(), all.in_memory().unwrap());
    // Cut short, of other elements, or one too many.
    let begun = || Arriving::new(&all.outline().unwrap()).unwrap();
    assert!(begun().whole().is_err());
    assert!(begun().add(vec![0; 3]).is_err());
    let mut arriving = begun();
    all.each(|elements| arriving.add(elements)).unwrap();
    assert!(arriving.add(Vec::new()).is_err());
    for outline in [&b""[..], b"{}", b"[1]"] {
        assert!(Arriving::new(outline).is_err());
    }
}

/// A tensor that cannot be read as the type that it names is refused by name before it is read.
#[test]
fn tensors_that_are_not_what_their_shapes_say_are_refused() {
    let values = HostTensor::f32(&[2, 3, 1, 1], &[1.0; 6]);
    let change = |change: &dyn Fn(&mut HostTensor)| {
        let mut tensor = values.clone();
        change(&mut tensor);
        let mut all = LazyCheckpoint::default();
        all.tensors.insert("q.w".into(), LazyTensor::of(tensor));
        all
    };
    assert!(change(&|_| ()).source("q.", &["q."]).check("w").is_ok());
    for wrong in [
        change(&|t| t.bytes.truncate(20)),
        change(&|t| t.bytes.push(0)),
        change(&|t| t.dtype = Dtype::F16),
        change(&|t| t.dtype = Dtype::I32),
        change(&|t| t.shape = vec![usize::MAX, 2, 3, 4]),
        change(&|t| t.shape = vec![7]),
    ] {
        let error = wrong.source("q.", &["q."]).check("weights").unwrap_err();
        let part = wrong.part("q.").unwrap_err();
        for error in [error, part] {
            assert!(error.to_string().contains("`q.w`") || error.to_string().contains("`w`"));
        }
    }
}
