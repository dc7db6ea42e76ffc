//! The standard training step, forward, backward, Adam and EMA: `cargo bench --bench train_step`.
//! Run beside a peer's for a ratio.

mod common;

use criterion::{criterion_group, criterion_main};
use wgvq::bench::Workload;

fn train_step(c: &mut criterion::Criterion) {
    common::time(c, "train_step", vec![Workload::train_step(32)]);
}

criterion_group!(benches, train_step);
criterion_main!(benches);
