//! How criterion times a workload.

use criterion::{Criterion, Throughput};
use std::time::Duration;
use wgvq::bench::Workload;
use wgvq::gpu::{Gpu, Options};

/// Times each workload, waiting for the device every time. Throughput is in operations (or in
/// bytes, where nothing is computed): criterion's Gelem/s are GFLOP/s. Right results are the tests'
/// concern, and `wgvq bench`'s.
pub fn time(c: &mut Criterion, group: &str, workloads: Vec<Workload>) {
    let gpu = Gpu::new(Options {
        adapter: std::env::var("WGVQ_ADAPTER").ok(),
        ..Default::default()
    })
    .expect("an adapter");
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
                prepared.get_or_insert_with(|| workload.prepare(&gpu, 1).expect("inputs"));
            b.iter(|| {
                (prepared.call)().expect("a call");
                gpu.finish().expect("the device");
            });
        });
    }
    group.finish();
}
