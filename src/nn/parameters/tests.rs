use super::*;
use crate::gpu::Options;

fn gpu() -> Gpu {
    Gpu::new(Options {
        poison: true,
        ..Default::default()
    })
    .unwrap()
}

#[test]
fn views_are_aligned_initialised_and_padded_with_zeros() {
    let gpu = gpu();
    let mut b = Parameters::builder();
    let bias = b.declare("bias", &[3], Init::Constant(0.5));
    let weight = b.declare("weight", &[5, 13], Init::Uniform(0.25));
    let gain = b.declare("gain", &[64], Init::Ones);
    let table = b.declare("table", &[2, 2], Init::Normal(2.0));
    b.without_decay(table);
    let p = b.build(&gpu, 9).unwrap();
    assert_eq!(
        p.names().collect::<Vec<_>>(),
        ["bias", "weight", "gain", "table"]
    );
    assert_eq!(
        (p.count(), p.parts()[0].len(), p.decay_len()),
        (3 + 65 + 64 + 4, 5 * 64, 128)
    );
    assert_eq!(p.get(bias).unwrap().read::<f32>().unwrap(), [0.5; 3]);
    assert_eq!(p.get(gain).unwrap().read::<f32>().unwrap(), [1.0; 64]);
    let values: Vec<f32> = p.get(weight).unwrap().read().unwrap();
    assert!(
        values.iter().all(|x| (-0.25..0.25).contains(x)) && values.iter().any(|x| x.abs() > 0.2)
    );
    assert!(
        p.get(table)
            .unwrap()
            .read::<f32>()
            .unwrap()
            .iter()
            .all(|x| *x != 0.0 && x.abs() < 12.0)
    );
    let arena: Vec<f32> = p.parts()[0].read().unwrap();
    // The weight decays and comes first, its padding after it; then bias, gain and table.
    assert!(
        arena[65..128]
            .iter()
            .chain(&arena[131..192])
            .chain(&arena[260..])
            .all(|x| x.to_bits() == 0)
    );
    assert_eq!(
        (p.find("gain"), p.find("gone"), p.name(table)),
        (Some(gain), None, "table")
    );
}

#[test]
fn a_parameter_depends_on_seed_and_name_alone() {
    let gpu = gpu();
    let build = |seed, names: &[&str]| {
        let mut b = Parameters::builder();
        for name in names {
            b.declare(*name, &[7, 3], Init::Normal(1.0));
        }
        b.build(&gpu, seed).unwrap().to_host().unwrap()
    };
    let (one, two, other) = (
        build(1, &["a"]),
        build(1, &["z", "a", "b"]),
        build(2, &["a"]),
    );
    assert_eq!(one["a"], two["a"]);
    assert_ne!(two["a"], two["b"]);
    assert_ne!(one["a"], other["a"]);
}

#[test]
fn loading_checks_all_before_it_changes_any() {
    let gpu = gpu();
    let mut b = Parameters::builder();
    b.declare("a.weight", &[2, 3], Init::Normal(1.0));
    let bias = b.declare("a.bias", &[2], Init::Zeros);
    let p = b.build(&gpu, 1).unwrap();
    let saved = p.to_host().unwrap();
    let refuse = |change: &dyn Fn(&mut HostTensors), word: &str| {
        let mut tensors = saved.clone();
        tensors.get_mut("a.weight").unwrap().1[0] = 99.0;
        change(&mut tensors);
        let message = p.load_host(&tensors).unwrap_err().to_string();
        assert!(message.contains(word) && message.contains('`'), "{message}");
        assert_eq!(p.to_host().unwrap(), saved);
    };
    refuse(&|t| drop(t.remove("a.bias")), "missing");
    refuse(
        &|t| drop(t.insert("b".into(), (vec![1], vec![0.0]))),
        "unexpected",
    );
    refuse(&|t| t.get_mut("a.bias").unwrap().0 = vec![1, 2], "shape");
    refuse(&|t| t.get_mut("a.bias").unwrap().1 = vec![1.0], "shape");
    let mut tensors = saved.clone();
    tensors.get_mut("a.bias").unwrap().1 = vec![3.0, -4.0];
    p.load_host(&tensors).unwrap();
    assert_eq!(p.to_host().unwrap(), tensors);
    assert_eq!(p.get(bias).unwrap().read::<f32>().unwrap(), [3.0, -4.0]);
}

/// In parts that hold a parameter or two, initial values, names and what is saved are those of one.
#[test]
fn parts_hold_the_parameters_of_one() {
    let build = |parameter_part| {
        let gpu = Gpu::new(Options {
            poison: true,
            parameter_part,
            ..Default::default()
        })
        .unwrap();
        let mut b = Parameters::builder();
        for (name, shape) in [
            ("a", &[5usize, 13] as &[usize]),
            ("b", &[3]),
            ("c", &[70, 9]),
        ] {
            b.declare(name, shape, Init::Normal(1.0));
        }
        b.build(&gpu, 4).unwrap()
    };
    let (whole, cut) = (build(None), build(Some(640)));
    assert_eq!((whole.parts().len(), cut.parts().len()), (1, 3));
    assert_eq!(cut.decay_len(), whole.decay_len());
    // What is larger than a part has one of its own.
    let lengths: Vec<usize> = cut.parts().iter().map(Tensor::len).collect();
    assert_eq!(lengths, [128, 640, 64]);
    let all = cut
        .parts()
        .iter()
        .flat_map(|part| part.read::<f32>().unwrap());
    let whole_arena: Vec<f32> = whole.parts()[0].read().unwrap();
    assert_eq!(all.collect::<Vec<_>>(), whole_arena);
    let host = whole.to_host().unwrap();
    assert_eq!(cut.to_host().unwrap(), host);
    let copy = cut.duplicate().unwrap();
    let mut other = host.clone();
    other.values_mut().for_each(|(_, values)| values.fill(2.0));
    cut.load_host(&other).unwrap();
    assert_eq!(
        (cut.to_host().unwrap(), copy.to_host().unwrap()),
        (other, host)
    );
}

#[test]
fn a_part_of_a_model_holds_no_more_than_it_uses() {
    let gpu = gpu();
    let mut b = Parameters::builder();
    let gone = b.declare("encoder.weight", &[100, 100], Init::Normal(1.0));
    let kept = b.declare("decoder.bias", &[5], Init::Constant(2.0));
    b.retain(|name| name.starts_with("decoder"));
    let p = b.build(&gpu, 3).unwrap();
    assert_eq!((p.count(), p.parts()[0].len(), p.decay_len()), (5, 64, 0));
    assert_eq!(p.names().collect::<Vec<_>>(), ["decoder.bias"]);
    assert_eq!(p.get(kept).unwrap().read::<f32>().unwrap(), [2.0; 5]);
    assert!(
        p.get(gone)
            .unwrap_err()
            .to_string()
            .contains("`encoder.weight` was left out")
    );
    let saved = p.to_host().unwrap();
    assert_eq!(saved.keys().collect::<Vec<_>>(), ["decoder.bias"]);
    p.load_host(&saved).unwrap();
    let mut b = Parameters::builder();
    b.declare("a", &[1], Init::Ones);
    b.retain(|_| false);
    assert!(b.build(&gpu, 0).is_err());
}

#[test]
fn wrong_declarations_are_errors() {
    let gpu = gpu();
    let build = |declared: &[(&str, &[usize], Init)]| {
        let mut b = Parameters::builder();
        for (name, shape, init) in declared {
            b.declare(*name, shape, *init);
        }
        b.build(&gpu, 0).map(drop).map_err(|e| e.to_string())
    };
    let ok = ("a", &[2usize][..], Init::Zeros);
    assert!(build(&[ok]).is_ok());
    assert!(build(&[]).unwrap_err().contains("none"));
    assert!(
        build(&[ok, ok])
            .unwrap_err()
            .contains("`a` is declared twice")
    );
    assert!(
        build(&[("b", &[3, 0], Init::Zeros)])
            .unwrap_err()
            .contains("`b`")
    );
    assert!(build(&[("b", &[usize::MAX, 3], Init::Zeros)]).is_err());
    assert!(build(&[("b", &[1], Init::Normal(f32::NAN))]).is_err());
    assert!(build(&[("b", &[1], Init::Uniform(-1.0))]).is_err());
    assert!(build(&[("b", &[4], Init::Uniform(0.0))]).is_ok());
    let mut b = Parameters::builder();
    b.declare("a", &[1], Init::Ones);
    assert!(b.build(&gpu, 0).unwrap().get(Handle(1)).is_err());
}

/// Whatever lies in the host's memory at a time, and in one buffer, the bytes are those that one
/// thread draws, one parameter after another.
#[test]
fn windows_and_threads_change_no_initial_value() {
    let shapes: [(&str, &[usize], Init); 6] = [
        ("bias", &[13], Init::Constant(0.5)),
        ("large", &[300, 700], Init::Normal(0.02)),
        ("one", &[1], Init::Ones),
        ("table", &[1000, 65], Init::Uniform(0.3)),
        ("zeros", &[9, 33], Init::Zeros),
        ("left out", &[5, 5], Init::Normal(1.0)),
    ];
    let builder = || {
        let mut b = Parameters::builder();
        for (name, shape, init) in shapes {
            b.declare(name, shape, init);
        }
        b.retain(|name| name != "left out");
        b
    };
    for parameter_part in [None, Some(1 << 19)] {
        let gpu = Gpu::new(Options {
            poison: true,
            parameter_part,
            ..Default::default()
        })
        .unwrap();
        let whole = builder().build(&gpu, 7).unwrap();
        let layout = whole.layout().clone();
        let mut wanted: Vec<Vec<f32>> = layout.parts.iter().map(|p| vec![0.0; p.len]).collect();
        for (slot, (.., init)) in layout.slots.iter().zip(shapes) {
            if !slot.omitted {
                let values = init.values(7, &slot.name, slot.len());
                wanted[slot.part][slot.start..][..slot.len()].copy_from_slice(&values);
            }
        }
        assert_eq!(wanted.len() > 1, parameter_part.is_some());
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        for window in [WINDOW, 1 << 17, 4160, ALIGN * 1000] {
            let cut = builder().build_by(&gpu, 7, window).unwrap();
            for (part, wanted) in cut.parts().iter().zip(&wanted) {
                let got = bits(part.read::<f32>().unwrap());
                assert!(got == bits(wanted.clone()), "{parameter_part:?} {window}");
            }
        }
    }
}

/// A device with memory of its own takes a window of the host's, however many parameters there are.
#[test]
fn the_host_is_asked_for_what_lies_there() {
    const MIB: u64 = 1 << 20;
    let billion = vec![(128 << 20) / 4; 32];
    assert_eq!(host_bytes(&billion, WINDOW, false), 128 * MIB);
    assert_eq!(host_bytes(&[1 << 30], WINDOW, false), 128 * MIB);
    assert_eq!(host_bytes(&billion, WINDOW, true), (128 + 4096) * MIB);
    // Fewer than a window are there as a whole.
    let few = [6 << 10, 1 << 10];
    assert_eq!(host_bytes(&few, WINDOW, false), (8 * 6) << 10);
    assert_eq!(host_bytes(&few, WINDOW, true), (8 * 6 + 4 * 7) << 10);
    assert_eq!(host_bytes(&few, ALIGN, false), 8 * ALIGN as u64);
    assert_eq!(host_bytes(&[], WINDOW, true), 0);
}
