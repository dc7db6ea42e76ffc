//! The workloads of `wgvq bench` under criterion: its statistics, its plots and its comparison with
//! the run before. They are those of `wgvq::bench` and no others.
//!
//!     # One family of the registry's operations:
//!     cargo bench --bench workloads -- kernels/vq_search
//!     # Those that other libraries are measured by too:
//!     cargo bench --bench workloads -- standard/
//!     # The standard training step, for a peer beside it:
//!     cargo bench --bench workloads -- train_step/

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use wgvq::bench::{self, Workload};
use wgvq::gpu::{Gpu, Options};

/// Times each workload, waiting for the device every time. Throughput is in operations (or in
/// bytes, where nothing is computed): criterion's Gelem/s are GFLOP/s. Right results are the tests'
/// concern, and `wgvq bench`'s.
fn time(c: &mut Criterion, gpu: &Gpu, group: &str, workloads: Vec<Workload>) {
    let mut group = c.benchmark_group(group);
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    for workload in workloads {
        if let Some(work) = workload.op().map(|op| op.work(&workload.case())) {
            group.throughput(if work.flops > 0.0 {
                Throughput::Elements(work.flops as u64)
            } else {
                Throughput::Bytes(work.bytes as u64)
            });
        }
        let mut prepared = None;
        group.bench_function(workload.name(), |b| {
            // Made when the workload is selected, and once.
            let prepared =
                prepared.get_or_insert_with(|| workload.prepare(gpu, 1).expect("inputs"));
            b.iter(|| {
                (prepared.call)().expect("a call");
                gpu.finish().expect("the device");
            });
        });
    }
    group.finish();
}

fn workloads(c: &mut Criterion) {
    let adapter = std::env::var("WGVQ_ADAPTER").ok();
    let gpu = Gpu::new(Options {
        adapter,
        ..Default::default()
    })
    .expect("an adapter");
    let kernels = bench::kernels().expect("bench shapes are cases of their operations");
    time(c, &gpu, "kernels", kernels);
    time(
        c,
        &gpu,
        "standard",
        bench::standard().expect("the standard workloads"),
    );
    time(c, &gpu, "train_step", vec![Workload::train_step(32)]);
}

criterion_group!(benches, workloads);
criterion_main!(benches);
