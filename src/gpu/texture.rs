//! Between a host's textures and tensors of images, on the device: no copy goes through the
//! processor.

use crate::gpu::kernel::source::preprocess;
use crate::gpu::{DType, Gpu, Source, Tensor};
use crate::{Error, Result, shader};
use smallvec::smallvec;
use std::collections::HashMap;
use std::sync::Arc;

/// The encoding of a texture's numbers, as shaders sample them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColorSpace {
    /// Display-encoded (sRGB), as models and image files have them.
    Encoded,
    /// Linear light. A format that ends in `-srgb` is sampled so: it decodes when read and encodes
    /// when written.
    Linear,
}

/// A host's texture as the engine reads or writes it: an image in its top left corner.
///
/// The format may be `Rgba8Unorm`, `Bgra8Unorm`, either with `Srgb`, `Rgba16Float` or
/// `Rgba32Float`. The texture needs the usage `RENDER_ATTACHMENT` to be written, by a draw, which
/// every such format allows, and `TEXTURE_BINDING` to be read.
#[derive(Clone, Copy, Debug)]
pub struct ImageTexture<'a> {
    view: &'a wgpu::TextureView,
    format: wgpu::TextureFormat,
    light: ColorSpace,
}

impl<'a> From<&'a wgpu::TextureView> for ImageTexture<'a> {
    /// Creates a view of the texture's own format, of its first mip level and one layer.
    fn from(view: &'a wgpu::TextureView) -> Self {
        ImageTexture::new(view, view.texture().format())
    }
}

impl<'a> ImageTexture<'a> {
    /// A view that was made with another format than its texture's. Numbers are encoded, but for
    /// those of a format with `Srgb`.
    pub fn new(view: &'a wgpu::TextureView, format: wgpu::TextureFormat) -> Self {
        ImageTexture {
            view,
            format,
            light: if format.is_srgb() {
                ColorSpace::Linear
            } else {
                ColorSpace::Encoded
            },
        }
    }

    /// Sets the color space: linear light in a texture of floats, say. It does not apply to a
    /// format with `Srgb`, whose numbers are linear.
    pub fn with_color_space(self, light: ColorSpace) -> Self {
        ImageTexture {
            light: if self.format.is_srgb() {
                ColorSpace::Linear
            } else {
                light
            },
            ..self
        }
    }

    /// Steps of its numbers, less one; 0 for floats.
    fn levels(&self, op: &'static str) -> Result<u32> {
        use wgpu::TextureFormat::{
            Bgra8Unorm, Bgra8UnormSrgb, Rgba8Unorm, Rgba8UnormSrgb, Rgba16Float, Rgba32Float,
        };
        match self.format {
            Rgba8Unorm | Rgba8UnormSrgb | Bgra8Unorm | Bgra8UnormSrgb => Ok(255),
            Rgba16Float | Rgba32Float => Ok(0),
            other => {
                let what = format!(
                    "{other:?}; it takes Rgba8Unorm, Bgra8Unorm, those with Srgb, Rgba16Float and \
                     Rgba32Float"
                );
                Err(Error::invalid(op, what))
            }
        }
    }

    fn check(
        &self,
        op: &'static str,
        usage: wgpu::TextureUsages,
        [h, w, c]: [usize; 3],
    ) -> Result<Variant> {
        let texture = self.view.texture();
        if !matches!(c, 1 | 3 | 4) {
            return Err(Error::shape(op, "images of 1, 3 or 4 channels", c));
        }
        if !texture.usage().contains(usage) {
            return Err(Error::invalid(
                op,
                format!(
                    "the texture has the usages {:?}; create it with {usage:?} too",
                    texture.usage()
                ),
            ));
        }
        let (width, height) = (texture.width() as usize, texture.height() as usize);
        let flat = texture.dimension() == wgpu::TextureDimension::D2 && texture.sample_count() == 1;
        if !flat || w > width || h > height || w * h == 0 {
            let got = format!(
                "{width} x {height}, {:?}, {} samples",
                texture.dimension(),
                texture.sample_count()
            );
            return Err(Error::shape(
                op,
                format!("a texture of two dimensions and one sample, {w} x {h} or larger"),
                got,
            ));
        }
        let variant = Variant {
            size: [h, w, c],
            levels: self.levels(op)?,
            light: self.light,
            target: None,
        };
        Ok(variant)
    }
}

/// The key of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Variant {
    size: [usize; 3],
    levels: u32,
    light: ColorSpace,
    /// The format that it draws to; `None` reads.
    target: Option<wgpu::TextureFormat>,
}

impl Variant {
    fn constants(&self) -> [(&'static str, f64); 5] {
        let [h, w, c] = self.size.map(|n| n as f64);
        let linear = f64::from(u8::from(self.light == ColorSpace::Linear));
        [
            ("W", w),
            ("H", h),
            ("C", c),
            ("LEVELS", self.levels.into()),
            ("LINEAR", linear),
        ]
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Made {
    Draw(wgpu::RenderPipeline),
    Read(wgpu::ComputePipeline),
}

/// Pipelines that are kept at most.
const KEPT: usize = 64;

/// Pipelines by what they are for, each with a number for its bind groups.
pub(crate) type Pipelines = HashMap<Variant, Arc<(u64, Made)>>;

/// The shaders of this file, which are no [`Kernel`](crate::gpu::Kernel)s: they bind textures.
pub fn texture_shaders() -> [&'static Source; 2] {
    [
        shader!("image/texture_write"),
        shader!("image/texture_read"),
    ]
}

impl Gpu {
    fn texture_pipeline(&self, variant: &Variant) -> Result<Arc<(u64, Made)>> {
        if let Some(made) = self.inner.textures.lock().get(variant) {
            return Ok(made.clone());
        }
        let device = &self.inner.device;
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let [write, read] = texture_shaders();
        let source = if variant.target.is_some() {
            write
        } else {
            read
        };
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(source.name),
            source: wgpu::ShaderSource::Wgsl(preprocess(source, &[])?.into()),
        });
        let constants = variant.constants();
        let compilation_options = wgpu::PipelineCompilationOptions {
            constants: &constants,
            ..Default::default()
        };
        let made = match variant.target {
            None => Made::Read(
                device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(source.name),
                    layout: None,
                    module: &module,
                    entry_point: Some("main"),
                    compilation_options,
                    cache: None,
                }),
            ),
            Some(format) => Made::Draw(device.create_render_pipeline(
                &wgpu::RenderPipelineDescriptor {
                    label: Some(source.name),
                    layout: None,
                    vertex: wgpu::VertexState {
                        module: &module,
                        entry_point: Some("corner"),
                        compilation_options: Default::default(),
                        buffers: &[],
                    },
                    fragment: Some(wgpu::FragmentState {
                        module: &module,
                        entry_point: Some("texel"),
                        compilation_options,
                        targets: &[Some(format.into())],
                    }),
                    primitive: Default::default(),
                    depth_stencil: None,
                    multisample: Default::default(),
                    multiview_mask: None,
                    cache: None,
                },
            )),
        };
        if let Some(error) = self.caught(scope, source.name) {
            return Err(Error::Gpu {
                op: format!("shader {}", source.name),
                what: error.to_string(),
            });
        }
        let made = Arc::new((self.next_id(), made));
        let mut all = self.inner.textures.lock();
        // One is made for a size: a host whose images follow its window's would keep them all.
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(variant.clone(), made.clone());
        Ok(made)
    }
}

impl Tensor {
    /// Draws one of the images f32 [B, H, W, C] in [-1, 1] into the top left corner of a texture;
    /// what lies beside stays. Bytes are those of [`to_bytes`](crate::ops::image::image::to_bytes),
    /// as a format with `Srgb` stores them too; grey is the same in all colours, and alpha 1
    /// where there are no 4 channels.
    ///
    /// # Errors
    /// If this is no such tensor or image; if the texture is too small, lacks `RENDER_ATTACHMENT`,
    /// or has another format than [`ImageTexture`] names.
    pub fn to_texture<'a>(&self, image: usize, to: impl Into<ImageTexture<'a>>) -> Result<()> {
        const OP: &str = "to_texture";
        let ([n, h, w, c], to) = (self.dims(OP)?, to.into());
        if image >= n || self.dtype() != DType::F32 || u32::try_from(self.len()).is_err() {
            return Err(Error::shape(
                OP,
                format!("f32 [B, H, W, C] with an image {image}, below 2^32 elements"),
                format!("{self:?}"),
            ));
        }
        let variant = to.check(OP, wgpu::TextureUsages::RENDER_ATTACHMENT, [h, w, c])?;
        let gpu = self.gpu();
        gpu.check_binding(OP, self)?;
        let pipeline = gpu.texture_pipeline(&Variant {
            target: Some(to.format),
            ..variant
        })?;
        let (id, Made::Draw(draw)) = &*pipeline else {
            return Ok(());
        };
        let bound = smallvec![(self.storage.id(), self.offset, self.binding_size())];
        let bind_group = gpu.bind_group_for(*id, &bound, || {
            gpu.inner
                .device
                .create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(OP),
                    layout: &draw.get_bind_group_layout(0),
                    entries: &[wgpu::BindGroupEntry {
                        binding: 0,
                        resource: self.binding(),
                    }],
                })
        });
        gpu.with_encoder(&[&self.storage], |encoder| {
            let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
                label: Some(OP),
                color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                    view: to.view,
                    depth_slice: None,
                    resolve_target: None,
                    ops: wgpu::Operations {
                        load: wgpu::LoadOp::Load,
                        store: wgpu::StoreOp::Store,
                    },
                })],
                ..Default::default()
            });
            pass.set_pipeline(draw);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.set_viewport(0.0, 0.0, w as f32, h as f32, 0.0, 1.0);
            pass.draw(0..3, image as u32..image as u32 + 1);
        });
        Ok(())
    }

    /// Reads the top left `[height, width]` of a texture as an image f32 [1, H, W, C] in [-1, 1],
    /// of 1 (luma), 3 or 4 channels. Of bytes it is, to the bit, what
    /// [`normalize`](crate::ops::image::image::normalize) makes of them.
    ///
    /// # Errors
    /// If the texture is smaller, lacks `TEXTURE_BINDING`, or has another format than
    /// [`ImageTexture`] names.
    pub fn from_texture<'a>(
        gpu: &Gpu,
        from: impl Into<ImageTexture<'a>>,
        [h, w, c]: [usize; 3],
    ) -> Result<Tensor> {
        const OP: &str = "from_texture";
        let from = from.into();
        let variant = from.check(OP, wgpu::TextureUsages::TEXTURE_BINDING, [h, w, c])?;
        let y = Tensor::empty(gpu, &[1, h, w, c], DType::F32)?;
        gpu.check_binding(OP, &y)?;
        let pipeline = gpu.texture_pipeline(&variant)?;
        let (_, Made::Read(read)) = &*pipeline else {
            return Ok(y);
        };
        let bind_group = gpu
            .inner
            .device
            .create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(OP),
                layout: &read.get_bind_group_layout(0),
                entries: &[
                    wgpu::BindGroupEntry {
                        binding: 0,
                        resource: wgpu::BindingResource::TextureView(from.view),
                    },
                    wgpu::BindGroupEntry {
                        binding: 1,
                        resource: y.binding(),
                    },
                ],
            });
        gpu.with_encoder(&[&y.storage], |encoder| {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(read);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups((w as u32).div_ceil(8), (h as u32).div_ceil(8), 1);
        });
        Ok(y)
    }

    fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: self.storage.buffer(),
            offset: self.offset,
            size: std::num::NonZeroU64::new(self.binding_size()),
        })
    }
}
