//! A host application in small, with all that a program that embeds the engine has already: a
//! device, textures, and a pass that draws one texture into another.
#![allow(dead_code, reason = "each example and test uses a part")]

use wgvq::gpu::Gpu;
use wgvq::{FeatureRequest, required_features, required_limits, wgpu};

/// A device and its queue, made without the engine's help.
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
@fragment fn colour(in: Corner) -> @location(0) vec4<f32> { return textureSample(picture, nearest, \
                      in.uv); }
";

impl Host {
    /// A device as a host asks for one, with WebGPU's default limits where nothing is wanted.
    pub fn new(wanted: FeatureRequest) -> Host {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        Host::on(&instance, None, wanted)
    }

    /// Creates the host on an adapter that can show what it draws on `surface`.
    pub fn on(
        instance: &wgpu::Instance,
        surface: Option<&wgpu::Surface>,
        wanted: FeatureRequest,
    ) -> Host {
        pollster::block_on(async {
            let options = wgpu::RequestAdapterOptions {
                compatible_surface: surface,
                ..Default::default()
            };
            let adapter = instance
                .request_adapter(&options)
                .await
                .expect("an adapter");
            let required_limits = if wanted == FeatureRequest::NOTHING {
                wgpu::Limits::default()
            } else {
                required_limits(&adapter, wanted)
            };
            let descriptor = wgpu::DeviceDescriptor {
                required_features: required_features(&adapter, wanted),
                required_limits,
                ..Default::default()
            };
            let (device, queue) = adapter.request_device(&descriptor).await.expect("a device");
            Host {
                info: adapter.get_info(),
                device,
                queue,
            }
        })
    }

    pub fn gpu(&self) -> Gpu {
        Gpu::from_wgpu(self.info.clone(), self.device.clone(), self.queue.clone())
    }

    pub fn texture(&self, [width, height]: [u32; 2], format: wgpu::TextureFormat) -> wgpu::Texture {
        use wgpu::TextureUsages as Usage;
        let usage =
            Usage::RENDER_ATTACHMENT | Usage::TEXTURE_BINDING | Usage::COPY_SRC | Usage::COPY_DST;
        self.device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d {
                width,
                height,
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage,
            view_formats: &[],
        })
    }

    pub fn buffer(&self, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    /// A pass of the host's that clears a texture.
    pub fn clear(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        to: &wgpu::Texture,
        colour: wgpu::Color,
    ) {
        drop(self.pass(
            encoder,
            &to.create_view(&Default::default()),
            wgpu::LoadOp::Clear(colour),
        ));
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
                ops: wgpu::Operations {
                    load,
                    store: wgpu::StoreOp::Store,
                },
            })],
            ..Default::default()
        })
    }

    /// A pipeline that draws a texture to a target of this format.
    pub fn quad(&self, format: wgpu::TextureFormat) -> wgpu::RenderPipeline {
        let source = wgpu::ShaderSource::Wgsl(SHADER.into());
        let module = self
            .device
            .create_shader_module(wgpu::ShaderModuleDescriptor {
                label: None,
                source,
            });
        self.device
            .create_render_pipeline(&wgpu::RenderPipelineDescriptor {
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
                    targets: &[Some(format.into())],
                }),
                primitive: wgpu::PrimitiveState {
                    topology: wgpu::PrimitiveTopology::TriangleStrip,
                    ..Default::default()
                },
                depth_stencil: None,
                multisample: Default::default(),
                multiview_mask: None,
                cache: None,
            })
    }

    /// A pass of the host's that draws one texture into a rectangle of another: x, y, width, height
    /// in pixels.
    pub fn draw(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        from: &wgpu::Texture,
        to: &wgpu::Texture,
        at: [f32; 4],
    ) {
        self.draw_with(&self.quad(to.format()), encoder, from, to, at);
    }

    /// [`Host::draw`] by a pipeline that is there.
    pub fn draw_with(
        &self,
        pipeline: &wgpu::RenderPipeline,
        encoder: &mut wgpu::CommandEncoder,
        from: &wgpu::Texture,
        to: &wgpu::Texture,
        [x, y, w, h]: [f32; 4],
    ) {
        let view = from.create_view(&Default::default());
        let sampler = self.device.create_sampler(&Default::default());
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::TextureView(&view),
                },
                wgpu::BindGroupEntry {
                    binding: 1,
                    resource: wgpu::BindingResource::Sampler(&sampler),
                },
            ],
        });
        let mut pass = self.pass(
            encoder,
            &to.create_view(&Default::default()),
            wgpu::LoadOp::Load,
        );
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.set_viewport(x, y, w, h, 0.0, 1.0);
        pass.draw(0..4, 0..1);
    }

    /// Writes RGBA bytes, as floats where the format has them, to the top left corner.
    pub fn write(&self, texture: &wgpu::Texture, [width, height]: [u32; 2], rgba: &[u8]) {
        let texel = texture
            .format()
            .block_copy_size(None)
            .expect("a plain format");
        let floats = |byte: &u8| half::f16::from_f32(f32::from(*byte) / 255.0).to_le_bytes();
        let bytes: Vec<u8> = if texel == 8 {
            rgba.iter().flat_map(floats).collect()
        } else {
            rgba.to_vec()
        };
        let layout = wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(width * texel),
            rows_per_image: None,
        };
        let size = wgpu::Extent3d {
            width,
            height,
            depth_or_array_layers: 1,
        };
        self.queue
            .write_texture(texture.as_image_copy(), &bytes, layout, size);
    }

    /// The bytes of a texture, row by row.
    pub fn read(&self, texture: &wgpu::Texture) -> Vec<u8> {
        let row = texture.width()
            * texture
                .format()
                .block_copy_size(None)
                .expect("a plain format");
        let pitch = row.next_multiple_of(256);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let buffer = self.buffer(u64::from(pitch * texture.height()), usage);
        let layout = wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(pitch),
            rows_per_image: None,
        };
        let target = wgpu::TexelCopyBufferInfo {
            buffer: &buffer,
            layout,
        };
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_texture_to_buffer(texture.as_image_copy(), target, texture.size());
        self.queue.submit([encoder.finish()]);
        buffer.map_async(wgpu::MapMode::Read, .., |result| {
            result.expect("a readable buffer")
        });
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .expect("the device answers");
        let mapped = buffer.get_mapped_range(..).expect("mapped");
        mapped
            .chunks(pitch as usize)
            .flat_map(|r| r[..row as usize].to_vec())
            .collect()
    }
}
