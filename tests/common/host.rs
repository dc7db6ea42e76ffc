//! A host application in small: its own device, textures, buffers and render passes, made without our help.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::{Arc, OnceLock};
use wgvq::data::{ImageSet, Item, Pixels};
use wgvq::gpu::Gpu;
use wgvq::train::config::RunConfig;
use wgvq::train::{Trainer, Training, checkpoint};
use wgvq::{Wanted, required_features, required_limits, wgpu};

pub struct Host {
    pub info: wgpu::AdapterInfo,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
}

const SHADER: &str = "
@group(0) @binding(0) var picture: texture_2d<f32>;
@group(0) @binding(1) var nearest: sampler;
struct Corner { @builtin(position) place: vec4<f32>, @location(0) uv: vec2<f32> }
@vertex fn corner(@builtin(vertex_index) i: u32) -> Corner {
    let uv = vec2<f32>(f32(i & 1u), f32(i >> 1u));
    return Corner(vec4<f32>(uv.x * 2.0 - 1.0, 1.0 - uv.y * 2.0, 0.0, 1.0), uv);
}
@fragment fn colour(in: Corner) -> @location(0) vec4<f32> { return textureSample(picture, nearest, in.uv); }
";

impl Host {
    /// A device as a host asks for one, with WebGPU's default limits where nothing is wanted.
    pub fn new(wanted: Wanted) -> Host {
        pollster::block_on(async {
            let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
            let adapter = instance.request_adapter(&Default::default()).await.expect("an adapter");
            let required_limits =
                if wanted == Wanted::NOTHING { wgpu::Limits::default() } else { required_limits(&adapter, wanted) };
            let descriptor = wgpu::DeviceDescriptor {
                required_features: required_features(&adapter, wanted),
                required_limits,
                ..Default::default()
            };
            let (device, queue) = adapter.request_device(&descriptor).await.expect("a device");
            Host { info: adapter.get_info(), device, queue }
        })
    }

    pub fn gpu(&self) -> Gpu {
        Gpu::from_wgpu(self.info.clone(), self.device.clone(), self.queue.clone())
    }

    pub fn texture(&self, [width, height]: [u32; 2], format: wgpu::TextureFormat) -> wgpu::Texture {
        use wgpu::TextureUsages as Usage;
        let usage = Usage::RENDER_ATTACHMENT | Usage::TEXTURE_BINDING | Usage::COPY_SRC | Usage::COPY_DST;
        self.device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage,
            view_formats: &[],
        })
    }

    pub fn buffer(&self, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    }

    /// A pass of the host's that clears a texture.
    pub fn clear(&self, encoder: &mut wgpu::CommandEncoder, to: &wgpu::Texture, colour: wgpu::Color) {
        drop(self.pass(encoder, &to.create_view(&Default::default()), wgpu::LoadOp::Clear(colour)));
    }

    fn pass<'a>(
        &self,
        encoder: &'a mut wgpu::CommandEncoder,
        view: &wgpu::TextureView,
        load: wgpu::LoadOp<wgpu::Color>,
    ) -> wgpu::RenderPass<'a> {
        encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations { load, store: wgpu::StoreOp::Store },
            })],
            ..Default::default()
        })
    }

    /// A pass of the host's that draws one texture into a rectangle of another: x, y, width, height in pixels.
    pub fn draw(&self, encoder: &mut wgpu::CommandEncoder, from: &wgpu::Texture, to: &wgpu::Texture, at: [f32; 4]) {
        let source = wgpu::ShaderSource::Wgsl(SHADER.into());
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        let pipeline = self.device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: None,
            layout: None,
            vertex: wgpu::VertexState {
                module: &module,
                entry_point: Some("corner"),
                compilation_options: Default::default(),
                buffers: &[],
            },
            fragment: Some(wgpu::FragmentState {
                module: &module,
                entry_point: Some("colour"),
                compilation_options: Default::default(),
                targets: &[Some(to.format().into())],
            }),
            primitive: wgpu::PrimitiveState { topology: wgpu::PrimitiveTopology::TriangleStrip, ..Default::default() },
            depth_stencil: None,
            multisample: Default::default(),
            multiview_mask: None,
            cache: None,
        });
        let view = from.create_view(&Default::default());
        let sampler = self.device.create_sampler(&Default::default());
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::TextureView(&view) },
                wgpu::BindGroupEntry { binding: 1, resource: wgpu::BindingResource::Sampler(&sampler) },
            ],
        });
        let mut pass = self.pass(encoder, &to.create_view(&Default::default()), wgpu::LoadOp::Load);
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        let [x, y, w, h] = at;
        pass.set_viewport(x, y, w, h, 0.0, 1.0);
        pass.draw(0..4, 0..1);
    }

    /// Writes RGBA bytes, as floats where the format has them, to the top left corner.
    pub fn write(&self, texture: &wgpu::Texture, [width, height]: [u32; 2], rgba: &[u8]) {
        let texel = texture.format().block_copy_size(None).expect("a plain format");
        let floats = |byte: &u8| half::f16::from_f32(f32::from(*byte) / 255.0).to_le_bytes();
        let bytes: Vec<u8> = if texel == 8 { rgba.iter().flat_map(floats).collect() } else { rgba.to_vec() };
        let layout =
            wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(width * texel), rows_per_image: None };
        let size = wgpu::Extent3d { width, height, depth_or_array_layers: 1 };
        self.queue.write_texture(texture.as_image_copy(), &bytes, layout, size);
    }

    /// The bytes of a texture, row by row.
    pub fn read(&self, texture: &wgpu::Texture) -> Vec<u8> {
        let row = texture.width() * texture.format().block_copy_size(None).expect("a plain format");
        let pitch = row.next_multiple_of(256);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let buffer = self.buffer(u64::from(pitch * texture.height()), usage);
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(pitch), rows_per_image: None };
        let target = wgpu::TexelCopyBufferInfo { buffer: &buffer, layout };
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_texture_to_buffer(texture.as_image_copy(), target, texture.size());
        self.queue.submit([encoder.finish()]);
        buffer.map_async(wgpu::MapMode::Read, .., |result| result.expect("a readable buffer"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device answers");
        let mapped = buffer.get_mapped_range(..).expect("mapped");
        mapped.chunks(pitch as usize).flat_map(|r| r[..row as usize].to_vec()).collect()
    }
}

/// A texture of bytes with one usage alone.
pub fn solid(host: &Host, [width, height]: [u32; 2], usage: wgpu::TextureUsages) -> wgpu::Texture {
    host.device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8Unorm,
        usage,
        view_formats: &[],
    })
}

/// An RGB picture of coloured waves.
pub fn picture(side: usize, seed: usize) -> Vec<u8> {
    let wave = |x: usize, y: usize, c: usize| {
        let phase = (x * (seed % 5 + 1) + y * (seed % 3 + c + 1)) as f32 / side as f32 * 6.0 + (seed + 2 * c) as f32;
        (127.5 + 127.0 * phase.sin()) as u8
    };
    (0..side * side * 3).map(|i| wave(i / 3 % side, i / 3 / side, i % 3)).collect()
}

/// Such pictures, as data to train on.
pub fn pictures(side: usize, count: usize) -> ImageSet {
    let items = (0..count).map(|i| Item { name: i.to_string(), group: i as u64, class: None, caption: None }).collect();
    let all: Vec<u32> = (0..count as u32).collect();
    ImageSet {
        name: "waves".into(),
        width: side,
        height: side,
        channels: 3,
        pixels: Pixels::Memory((0..count).flat_map(|i| picture(side, i)).collect()),
        items,
        classes: Vec::new(),
        notes: Vec::new(),
        train: all[..count - 2].to_vec(),
        test: all[count - 2..].to_vec(),
    }
}

/// A small model's configuration.
pub fn small_config() -> RunConfig {
    let mut config = RunConfig::default();
    (config.model.hidden, config.model.residual_layers, config.model.residual_hidden) = (16, 1, 8);
    (config.quantizer.codebook_size, config.quantizer.codebook_dim, config.quantizer.kmeans_iters) = (32, 8, 3);
    config.train.batch_size = 4;
    config
}

/// The bytes of a small model for images of this side, after some steps of training.
pub fn model_bytes(side: usize) -> Vec<u8> {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    let make = || {
        let gpu = Gpu::new(Default::default()).expect("an adapter");
        let mut trainer = Trainer::new(&gpu, &small_config(), Arc::new(pictures(side, 12))).expect("a trainer");
        (0..8).for_each(|_| trainer.step().expect("a step"));
        checkpoint::to_bytes(&trainer.trained().expect("a model")).expect("its bytes")
    };
    assert_eq!(side, 64, "one size serves all tests");
    MADE.get_or_init(make).clone()
}
