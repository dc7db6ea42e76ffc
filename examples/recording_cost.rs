//! What it costs the processor to record a dispatch: the engine beside wgpu alone, by turns.
//!
//!     cargo run --release --example recording_cost

use std::time::{Duration, Instant};
use wgvq::Result;
use wgvq::gpu::{Gpu, Options, Tensor};
use wgvq::ops::elementwise::scale::scale;

/// Dispatches of one command buffer. The engine submits this many at most.
const DISPATCHES: u32 = 100;
const TURNS: usize = 200;
/// Buffers that the bare dispatches take by turns, as a chain of operations does.
const BUFFERS: usize = 4;
const KERNEL: &str = "
struct Params { n: u32, factor: f32, offset: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < params.n { y[id.x] = params.factor * x[id.x] + params.offset; }
}";

/// A pipeline and its bind groups, without the engine.
struct Bare {
    pipeline: wgpu::ComputePipeline,
    bind_groups: Vec<wgpu::BindGroup>,
}

impl Bare {
    fn new(device: &wgpu::Device) -> Bare {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(KERNEL.into()),
        });
        let entry = |binding, read_only| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &[entry(0, true), entry(1, false)],
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 12,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        let buffers = [(); BUFFERS].map(|()| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 256,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        });
        let bind = |i: usize| {
            let entries = [(0, &buffers[i]), (1, &buffers[(i + 1) % BUFFERS])].map(
                |(binding, buffer): (u32, &wgpu::Buffer)| wgpu::BindGroupEntry {
                    binding,
                    resource: buffer.as_entire_binding(),
                },
            );
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &layout,
                entries: &entries,
            })
        };
        Bare {
            bind_groups: (0..BUFFERS).map(bind).collect(),
            pipeline,
        }
    }

    /// Records, and returns the time that it took; what was recorded is submitted afterwards.
    fn record(&self, gpu: &Gpu) -> Duration {
        let start = Instant::now();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for i in 0..DISPATCHES {
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.bind_groups[i as usize % BUFFERS], &[]);
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

/// The median of some turns, in microseconds for each dispatch.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6 / f64::from(DISPATCHES)
}

fn main() -> Result<()> {
    let gpu = Gpu::new(Options::default())?;
    let bare = Bare::new(gpu.device());
    let x = Tensor::from_slice(&gpu, &[64], &[1.0f32; 64])?;
    let (mut ours, mut wgpu_alone) = (Vec::new(), Vec::new());
    for turn in 0..TURNS + 10 {
        let times = (engine(&gpu, &x)?, bare.record(&gpu));
        gpu.finish()?;
        // The first ones compile and fill caches.
        if turn >= 10 {
            ours.push(times.0);
            wgpu_alone.push(times.1);
        }
    }
    let (ours, wgpu_alone) = (median(ours), median(wgpu_alone));
    println!("{}", gpu.info().name);
    println!("wgvq {ours:.2} us a dispatch, wgpu alone {wgpu_alone:.2}, {TURNS} turns");
    Ok(())
}
