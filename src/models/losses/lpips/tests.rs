use super::*;
use crate::gpu::Options;
use crate::spec::Rng;

/// A network of random weights, which keep the size of what they read on average.
fn network(gpu: &Gpu, backbone: Backbone) -> Lpips {
    let mut rng = Rng::new(5);
    let mut all = HostTensors::new();
    let mut put = |name: String, shape: &[usize], spread: f64| {
        let values = (0..shape.iter().product::<usize>()).map(|_| (spread * rng.normal()) as f32);
        all.insert(name, (shape.to_vec(), values.collect()));
    };
    for step in backbone.steps() {
        let filters = match step {
            Step::Filter(filter) => vec![filter],
            Step::Expand(both) => both.to_vec(),
            Step::Pool(_) | Step::Tap => continue,
        };
        for f in filters {
            let fan = (f.i * f.kernel * f.kernel) as f64;
            let shape = [f.o, f.i, f.kernel, f.kernel];
            put(format!("{}.weight", f.name), &shape, (2.0 / fan).sqrt());
            put(format!("{}.bias", f.name), &[f.o], 0.05);
        }
    }
    for (tap, c) in backbone.taps().iter().enumerate() {
        let ones = vec![1.0; *c];
        all.insert(
            format!("lin{tap}.model.1.weight"),
            (vec![1, *c, 1, 1], ones),
        );
    }
    Lpips::from_tensors(gpu, &all).unwrap()
}

/// In f16 the distance and its gradient are those of f32 but for the roundings, at sizes that are
/// odd; the weights that f32 reads stay what they were.
#[test]
fn a_distance_in_f16_is_that_in_f32_but_for_roundings() {
    let gpu = Gpu::new(Options {
        poison: true,
        ..Default::default()
    })
    .unwrap();
    if !gpu.shader_f16() {
        return;
    }
    let plain = network(&gpu, Backbone::SqueezeNet);
    for shape in [[1, 21, 35, 3], [2, 19, 18, 1]] {
        let mut rng = Rng::new(9);
        let first: Vec<f64> = (0..shape.iter().product::<usize>())
            .map(|_| rng.normal())
            .collect();
        let near = first.iter().map(|v| v + 0.5 * rng.normal()).collect();
        let [a, b] = [first, near].map(|values: Vec<f64>| {
            let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
            Tensor::from_slice(&gpu, &shape, &values).unwrap()
        });
        let run = |lpips: &Lpips, half: bool| {
            let tape = Tape::new(&gpu);
            let (x, y) = (tape.leaf(&a), tape.constant(&b));
            let distance = match half {
                true => lpips.distance_in_f16(&tape, &x, &y).unwrap(),
                false => lpips.distance(&tape, &x, &y).unwrap(),
            };
            let value = f64::from(distance.tensor().read::<f32>().unwrap()[0]);
            let gradients = tape.backward(&distance).unwrap();
            let gradient: Vec<f32> = gradients.get(&x).unwrap().read().unwrap();
            (value, gradient)
        };
        let halved = network(&gpu, Backbone::SqueezeNet).with_halves().unwrap();
        let (want, slope) = run(&plain, false);
        assert_eq!(run(&halved, false), (want, slope.clone()));
        let (got, rounded) = run(&halved, true);
        // A layer rounds its weights and what it stores, by 2^-11 at most and independently: after
        // 26 layers, features of length 1 are off by some e = sqrt(2 * 26) 2^-11. So is d, the sum
        // of the taps' d_t, by the sum of 2 sqrt(d_t) 2 e at most, which is 4 e sqrt(taps d).
        let e = 52f64.sqrt() / 2048.0;
        let bound = 4.0 * e * (7.0 * want).sqrt();
        let apart = (got - want).abs();
        assert!(apart > 0.0 && apart < bound, "{got} for {want}, {bound}");
        let norm = |v: &mut dyn Iterator<Item = f32>| -> f64 {
            v.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
        };
        let off = norm(&mut slope.iter().zip(&rounded).map(|(a, b)| a - b));
        let share = off / norm(&mut slope.iter().copied());
        // Rectifiers change sides where a feature lies within e of 0: some e of them at each layer,
        // each of which turns its whole gradient on or off.
        let flipped = (26.0 * e).sqrt();
        assert!(share > 0.0 && share < flipped, "{share}, {flipped}");
    }
}
