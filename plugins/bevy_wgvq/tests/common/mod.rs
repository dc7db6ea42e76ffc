//! Applications without a window, and what their textures hold.

use bevy::app::PluginsState;
use bevy::prelude::*;
use bevy::render::RenderApp;
use bevy::render::pipelined_rendering::PipelinedRenderingPlugin;
use bevy::render::render_asset::RenderAssets;
use bevy::render::renderer::{RenderDevice, RenderQueue};
use bevy::render::texture::GpuImage;
use bevy::window::{ExitCondition, WindowPlugin};
use bevy_wgvq::wgvq::inference::FirstStageModel;
use bevy_wgvq::wgvq::inference::pretrained::Pretrained;
use bevy_wgvq::wgvq::wgpu;
use bevy_wgvq::{Decoder, Engine, WgvqPlugin};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Returns the folder of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns an application that is ready for its first frame. Frames are drawn within
/// [`App::update`], so that a texture can be looked at after it.
pub fn app() -> App {
    let mut app = App::new();
    let plugins = DefaultPlugins
        .set(WindowPlugin {
            primary_window: None,
            exit_condition: ExitCondition::DontExit,
            ..default()
        })
        .set(AssetPlugin {
            file_path: root().to_string_lossy().into_owned(),
            ..default()
        })
        .disable::<bevy::log::LogPlugin>()
        .disable::<PipelinedRenderingPlugin>();
    app.add_plugins((plugins, WgvqPlugin));
    while app.plugins_state() == PluginsState::Adding {
        bevy::tasks::tick_global_task_pools_on_main_thread();
    }
    app.finish();
    app.cleanup();
    app
}

/// Draws frames until something is so.
pub fn until(app: &mut App, mut is: impl FnMut(&App) -> bool) {
    let begun = Instant::now();
    while !is(app) {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "it does not happen"
        );
        app.update();
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Loads a decoder as an asset.
pub fn loaded(app: &mut App, path: &'static str) -> Handle<Decoder> {
    let server = app.world().resource::<AssetServer>().clone();
    let handle = server.load(path);
    until(app, |app| {
        if let bevy::asset::LoadState::Failed(error) = server.load_state(&handle) {
            panic!("{error}");
        }
        app.world().resource::<Assets<Decoder>>().contains(&handle)
    });
    handle
}

/// Returns the codes of emoji, by the trained model of the library on bevy's device.
pub fn emoji(app: &App, numbers: &[u32]) -> Vec<u32> {
    let gpu = app.world().resource::<Engine>().gpu();
    let bundle = Pretrained::named("emoji32").unwrap().bundle().unwrap();
    let model = bundle.file("final.safetensors").unwrap();
    let model = FirstStageModel::from_bytes(&gpu, &model).unwrap();
    let data = bevy_wgvq::wgvq::data::open("emoji", &Default::default()).unwrap();
    model.encode(&data.gather(numbers).unwrap()).unwrap()
}

/// Returns what bevy draws an image with.
pub fn gpu_image<'a>(app: &'a App, image: &Handle<Image>) -> &'a GpuImage {
    let render_app = app.sub_app(RenderApp).world();
    let images = render_app.resource::<RenderAssets<GpuImage>>();
    images.get(image).expect("the image has a texture")
}

/// Reads the texture of an image back.
pub fn texture(app: &App, image: &Handle<Image>) -> Vec<u8> {
    let texture = &gpu_image(app, image).texture;
    let device = app.world().resource::<RenderDevice>().wgpu_device();
    let queue = app.world().resource::<RenderQueue>();
    let [row, rows] = [texture.width() as usize * 4, texture.height() as usize];
    let pitch = RenderDevice::align_copy_bytes_per_row(row);
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: (pitch * rows) as u64,
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_texture_to_buffer(
        texture.as_image_copy(),
        wgpu::TexelCopyBufferInfo {
            buffer: &buffer,
            layout: wgpu::TexelCopyBufferLayout {
                offset: 0,
                bytes_per_row: Some(pitch as u32),
                rows_per_image: None,
            },
        },
        texture.size(),
    );
    queue.submit([encoder.finish()]);
    let slice = buffer.slice(..);
    slice.map_async(wgpu::MapMode::Read, |mapped| mapped.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let bytes = slice.get_mapped_range().unwrap();
    bytes
        .chunks(pitch)
        .flat_map(|bytes| bytes[..row].iter().copied())
        .collect()
}

/// Returns an image's bytes as a texture of four channels has them.
pub fn as_texture(bytes: &[u8], channels: usize) -> Vec<u8> {
    bytes
        .chunks(channels)
        .flat_map(|pixel| {
            let [r, g, b] = [0, 1, 2].map(|c| pixel[c.min(channels - 1)]);
            [r, g, b, 255]
        })
        .collect()
}

/// Keeps square images, side by side, to look at.
pub fn keep(name: &str, side: u32, images: &[Vec<u8>]) {
    const ZOOM: u32 = 4;
    let width = side * images.len() as u32;
    let image = image::RgbaImage::from_fn(width * ZOOM, side * ZOOM, |x, y| {
        let (x, y) = (x / ZOOM, y / ZOOM);
        let at = ((y * side + x % side) * 4) as usize;
        let pixel = &images[(x / side) as usize][at..at + 4];
        image::Rgba([pixel[0], pixel[1], pixel[2], pixel[3]])
    });
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let written = image.save(folder.join(name));
    written.expect("the folder of tests can be written");
}
