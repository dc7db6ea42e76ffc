//! The game's own renderer: a pipeline of the host's that draws a state into a texture.

use super::game::{BRICK, BRICK_ROW, Game, PADDLE, PADDLE_ROW, SIDE};
use super::host::Host;
use wgvq::wgpu;

/// Pixels of a frame, each way: two to a cell.
pub const PIXELS: usize = 2 * SIDE as usize;
/// The format of frames: display-encoded colours, as models see them.
pub const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

const GROUND: wgpu::Color = wgpu::Color {
    r: 0.06,
    g: 0.07,
    b: 0.16,
    a: 1.0,
};
const BALL: [f32; 3] = [1.0, 1.0, 1.0];
/// The last place of the ball, and the one before.
const TRAIL: [[f32; 3]; 2] = [[0.62, 0.62, 0.7], [0.32, 0.33, 0.42]];
const PADDLE_COLOUR: [f32; 3] = [0.1, 0.75, 0.9];
const BRICKS: [[f32; 3]; 2] = [[0.9, 0.3, 0.25], [0.95, 0.65, 0.2]];
/// Rectangles of a frame, at most: bricks, paddle, ball, trail.
const MOST: usize = 12;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Rectangle {
    place: [f32; 4],
    colour: [f32; 4],
}

impl Rectangle {
    fn of([x, y, w, h]: [i32; 4], [r, g, b]: [f32; 3]) -> Rectangle {
        Rectangle {
            place: [x, y, w, h].map(|n| n as f32),
            colour: [r, g, b, 1.0],
        }
    }
}

/// Returns the rectangles of a state, those below first.
fn rectangles(game: &Game) -> Vec<Rectangle> {
    let cell = |[x, y]: [i32; 2], colour| Rectangle::of([x, y, 1, 1], colour);
    let mut all = vec![cell(game.trail[1], TRAIL[1]), cell(game.trail[0], TRAIL[0])];
    for (row, (bricks, colour)) in (BRICK_ROW..).zip(game.bricks.iter().zip(BRICKS)) {
        let standing = (0..).zip(bricks).filter(|(_, stands)| **stands);
        all.extend(standing.map(|(i, _)| Rectangle::of([i * BRICK, row, BRICK, 1], colour)));
    }
    all.push(Rectangle::of(
        [game.paddle, PADDLE_ROW, PADDLE, 1],
        PADDLE_COLOUR,
    ));
    all.push(cell(game.ball, BALL));
    all
}

/// The pipeline that draws states, and its buffer of rectangles.
pub struct Court {
    pipeline: wgpu::RenderPipeline,
    rectangles: wgpu::Buffer,
    most: usize,
}

impl Court {
    /// Returns a renderer of at most so many states at a time.
    pub fn new(host: &Host, most: usize) -> Court {
        let device = &host.device;
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("court"),
            source: wgpu::ShaderSource::Wgsl(include_str!("court.wgsl").into()),
        });
        let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("court"),
            layout: None,
            vertex: wgpu::VertexState {
                module: &module,
                entry_point: Some("corner"),
                compilation_options: Default::default(),
                buffers: &[Some(wgpu::VertexBufferLayout {
                    array_stride: size_of::<Rectangle>() as u64,
                    step_mode: wgpu::VertexStepMode::Instance,
                    attributes: &wgpu::vertex_attr_array![0 => Float32x4, 1 => Float32x4],
                })],
            },
            fragment: Some(wgpu::FragmentState {
                module: &module,
                entry_point: Some("fill"),
                compilation_options: Default::default(),
                targets: &[Some(FORMAT.into())],
            }),
            primitive: wgpu::PrimitiveState {
                topology: wgpu::PrimitiveTopology::TriangleStrip,
                ..Default::default()
            },
            depth_stencil: None,
            multisample: Default::default(),
            multiview_mask: None,
            cache: None,
        });
        let usage = wgpu::BufferUsages::VERTEX | wgpu::BufferUsages::COPY_DST;
        let bytes = (most * MOST * size_of::<Rectangle>()) as u64;
        Court {
            pipeline,
            rectangles: host.buffer(bytes, usage),
            most,
        }
    }

    /// Returns a texture for a frame.
    pub fn texture(host: &Host) -> wgpu::Texture {
        host.texture([PIXELS as u32; 2], FORMAT)
    }

    /// Records passes that draw each state into its texture. One call to a submission: the
    /// rectangles are written as the queue's next work begins.
    pub fn draw<'a>(
        &self,
        host: &Host,
        encoder: &mut wgpu::CommandEncoder,
        frames: impl Iterator<Item = (&'a Game, &'a wgpu::Texture)>,
    ) {
        let mut all: Vec<Rectangle> = Vec::new();
        for (game, texture) in frames.take(self.most) {
            let first = all.len() as u32;
            all.extend(rectangles(game));
            let view = texture.create_view(&Default::default());
            let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
                label: Some("court"),
                color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                    view: &view,
                    depth_slice: None,
                    resolve_target: None,
                    ops: wgpu::Operations {
                        load: wgpu::LoadOp::Clear(GROUND),
                        store: wgpu::StoreOp::Store,
                    },
                })],
                ..Default::default()
            });
            pass.set_pipeline(&self.pipeline);
            pass.set_vertex_buffer(0, self.rectangles.slice(..));
            pass.draw(0..4, first..all.len() as u32);
        }
        host.queue
            .write_buffer(&self.rectangles, 0, bytemuck::cast_slice(&all));
    }
}
