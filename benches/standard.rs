//! The standard workloads, by which other libraries are measured too: `cargo bench --bench
//! standard`.

mod common;

use criterion::{criterion_group, criterion_main};

fn standard(c: &mut criterion::Criterion) {
    common::time(
        c,
        "standard",
        wgvq::bench::standard().expect("the standard workloads"),
    );
}

criterion_group!(benches, standard);
criterion_main!(benches);
