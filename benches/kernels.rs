//! Every operation of the registry at its bench shapes, with its gradient where it has one: the
//! table of workloads that `wgvq bench --suite kernels` walks too. `cargo bench --bench kernels --
//! vq_search` times one family.

mod common;

use criterion::{criterion_group, criterion_main};

fn kernels(c: &mut criterion::Criterion) {
    common::time(
        c,
        "kernels",
        wgvq::bench::kernels().expect("bench shapes are cases of their operations"),
    );
}

criterion_group!(benches, kernels);
criterion_main!(benches);
