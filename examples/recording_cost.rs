//! The cost of recording a dispatch to the processor: the engine beside wgpu alone, by turns, in a
//! chain of one operation and in a training step, with all that its tape, its layers and its
//! optimiser do.
//!
//!     cargo run --release --example recording_cost

use std::time::{Duration, Instant};
use wgvq::Result;
use wgvq::bench::{self, Prepared};
use wgvq::gpu::{Gpu, Options, Tensor};
use wgvq::ops::elementwise::scale::scale;

/// Dispatches of one command buffer. The engine submits this many at most.
const DISPATCHES: u32 = 100;
const TURNS: usize = 200;
/// Turns that come first, compile and fill caches.
const FIRST: usize = 10;
/// A training step of one image: recorded as a step of many is, and computed sooner.
const STEP: &str = "vqvae_train_step_b1";
/// Buffers that a bare chain takes by turns, as a chain of operations does.
const BUFFERS: usize = 4;
/// Buffers that a kernel of a training step reads: one to five.
const MOST_READ: usize = 5;

/// Pipelines and bind groups that go with them, without the engine.
struct Bare {
    /// In the order of their dispatches, over and over.
    dispatches: Vec<(wgpu::ComputePipeline, wgpu::BindGroup)>,
}

/// A kernel that adds up `inputs` buffers.
fn kernel(inputs: usize) -> String {
    let bindings: String = (0..inputs)
        .map(|i| format!("@group(0) @binding({i}) var<storage, read> x{i}: array<f32>;\n"))
        .collect();
    let sum: Vec<String> = (0..inputs).map(|i| format!("x{i}[id.x]")).collect();
    let sum = sum.join(" + ");
    format!(
        "struct Params {{ n: u32, factor: f32, offset: f32 }}
        var<immediate> params: Params;
        {bindings}
        @group(0) @binding({inputs}) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
            if id.x < params.n {{ y[id.x] = params.factor * ({sum}) + params.offset; }}
        }}"
    )
}

fn pipeline(device: &wgpu::Device, inputs: usize) -> wgpu::ComputePipeline {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(kernel(inputs).into()),
    });
    let entry = |i: usize| wgpu::BindGroupLayoutEntry {
        binding: i as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage {
                read_only: i < inputs,
            },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    };
    let entries: Vec<_> = (0..=inputs).map(entry).collect();
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: None,
        entries: &entries,
    });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 12,
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    })
}

impl Bare {
    /// Creates `count` dispatches, whose kernels read so many buffers by `inputs`: pipelines are
    /// shared by those that read as many, and each reads what those before it wrote.
    fn new(device: &wgpu::Device, count: usize, inputs: impl Fn(usize) -> usize) -> Bare {
        let buffers: Vec<wgpu::Buffer> = (0..count + MOST_READ)
            .map(|_| {
                device.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: 256,
                    usage: wgpu::BufferUsages::STORAGE,
                    mapped_at_creation: false,
                })
            })
            .collect();
        let pipelines: Vec<_> = (1..=MOST_READ).map(|n| pipeline(device, n)).collect();
        let dispatch = |i: usize| {
            let inputs = inputs(i);
            let pipeline = pipelines[inputs - 1].clone();
            let bound = (0..=inputs).map(|b| &buffers[(i + b) % buffers.len()]);
            let entries: Vec<_> = bound
                .enumerate()
                .map(|(binding, buffer)| wgpu::BindGroupEntry {
                    binding: binding as u32,
                    resource: buffer.as_entire_binding(),
                })
                .collect();
            let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.get_bind_group_layout(0),
                entries: &entries,
            });
            (pipeline, bind_group)
        };
        Bare {
            dispatches: (0..count).map(dispatch).collect(),
        }
    }

    /// Records, and returns the time that it took; what was recorded is submitted afterwards.
    fn record(&self, gpu: &Gpu) -> Duration {
        let start = Instant::now();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for (i, (pipeline, bind_group)) in (0..DISPATCHES).zip(self.dispatches.iter().cycle()) {
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, bind_group, &[]);
            pass.set_immediates(0, bytemuck::bytes_of(&[64u32, i, i]));
            pass.dispatch_workgroups(1, 1, 1);
        }
        drop(pass);
        let commands = encoder.finish();
        let time = start.elapsed();
        gpu.queue().submit([commands]);
        time
    }
}

/// Records a chain of operations, each with a result of its own, and returns the time that it took
/// without that of the driver, which computes in it where the device is the processor.
fn engine(gpu: &Gpu, x: &Tensor) -> Result<Duration> {
    let before = gpu.counters();
    let start = Instant::now();
    let mut y = scale(x, 1.0, 0.0)?;
    for _ in 1..DISPATCHES {
        y = scale(&y, 1.0, 0.5)?;
    }
    gpu.flush()?;
    let time = start.elapsed();
    let after = gpu.counters();
    assert_eq!(after.dispatches - before.dispatches, u64::from(DISPATCHES));
    Ok(time.saturating_sub(after.submitting - before.submitting))
}

/// Records a training step, and returns the time that each of its dispatches took, without that of
/// the driver.
fn step(gpu: &Gpu, prepared: &mut Prepared) -> Result<f64> {
    let before = gpu.counters();
    let start = Instant::now();
    (prepared.call)()?;
    gpu.flush()?;
    let time = start.elapsed();
    let after = gpu.counters();
    let time = time.saturating_sub(after.submitting - before.submitting);
    Ok(micros(time) / (after.dispatches - before.dispatches) as f64)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The median of some turns, and what a tenth of them took at most: on a machine that others use
/// too, what was not interrupted.
fn summary(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let (median, tenth) = (times[times.len() / 2], times[times.len() / 10]);
    format!("{median:5.2} us a dispatch, {tenth:5.2} in the fastest tenth")
}

fn main() -> Result<()> {
    let gpu = Gpu::new(Options::default())?;
    let bare_chain = Bare::new(gpu.device(), BUFFERS, |_| 1);
    // As a step: another pipeline and another bind group each time, of one to five inputs.
    let bare_step = Bare::new(gpu.device(), DISPATCHES as usize, |i| 1 + i % MOST_READ);
    let x = Tensor::from_slice(&gpu, &[64], &[1.0f32; 64])?;
    let mut prepared = bench::find(STEP)?.prepare(&gpu, 1)?;
    // In microseconds for each dispatch.
    let mut rows = [const { Vec::new() }; 4];
    for turn in 0..TURNS + FIRST {
        let each = |time: Duration| micros(time) / f64::from(DISPATCHES);
        let mut times = [0.0; 4];
        times[0] = each(bare_chain.record(&gpu));
        times[1] = each(engine(&gpu, &x)?);
        gpu.finish()?;
        times[2] = each(bare_step.record(&gpu));
        times[3] = step(&gpu, &mut prepared)?;
        gpu.finish()?;
        if turn >= FIRST {
            for (row, time) in rows.iter_mut().zip(times) {
                row.push(time);
            }
        }
    }
    println!("{}, {TURNS} turns", gpu.info().name);
    let names = [
        "wgpu alone, one pipeline",
        "wgvq, one operation",
        "wgpu alone, pipelines by turns",
        "wgvq, a training step",
    ];
    for (name, row) in names.into_iter().zip(rows) {
        println!("{name:<32}{}", summary(row));
    }
    Ok(())
}
