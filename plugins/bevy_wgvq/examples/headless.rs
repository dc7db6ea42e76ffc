//! An application without a window: a decoder is loaded as an asset, emoji become codes, and the
//! codes of two of them become images of bevy's, of which each shows a part of the one and of the
//! other. bevy reads the images back, and they are written as one PNG file.
//!
//!     cargo run --example headless [PNG]

use bevy::app::ScheduleRunnerPlugin;
use bevy::prelude::*;
use bevy::render::gpu_readback::{ReadbackComplete, ReadbackOnce};
use bevy::render::renderer::RenderDevice;
use bevy::window::{ExitCondition, WindowPlugin};
use bevy_wgvq::wgvq::inference::FirstStageModel;
use bevy_wgvq::wgvq::inference::pretrained::Pretrained;
use bevy_wgvq::wgvq::{self, Error};
use bevy_wgvq::{CodeImage, DecodeFailed, Decoder, Engine, WgvqPlugin};
use std::collections::BTreeMap;
use std::time::Duration;

/// The model, below the folder of the repository.
const MODEL: &str = "assets/models/emoji32.bundle";
/// Images from the first emoji to the second.
const IMAGES: usize = 9;
/// Pixels of the file for one of an image, each way.
const ZOOM: u32 = 4;

/// The images that were read back, by their number.
#[derive(Resource, Default)]
struct Seen(BTreeMap<usize, Vec<u8>>);

/// The place of an image in the row.
#[derive(Component)]
struct Number(usize);

fn main() -> AppExit {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    App::new()
        .add_plugins((
            DefaultPlugins
                .set(WindowPlugin {
                    primary_window: None,
                    exit_condition: ExitCondition::DontExit,
                    ..default()
                })
                .set(AssetPlugin {
                    file_path: root.to_owned(),
                    ..default()
                }),
            ScheduleRunnerPlugin::run_loop(Duration::from_millis(16)),
            WgvqPlugin,
        ))
        .init_resource::<Seen>()
        .add_systems(Startup, spawn)
        .add_systems(Update, (look, write, fail))
        .run()
}

/// Spawns the images. Their decoder is loaded meanwhile.
fn spawn(
    mut commands: Commands,
    engine: Res<Engine>,
    server: Res<AssetServer>,
    images: Res<Assets<Image>>,
) -> Result {
    let decoder = server.load(MODEL);
    let [first, second] = codes(&engine)?;
    for number in 0..IMAGES {
        let part = first.len() * number / (IMAGES - 1);
        let codes = [&second[..part], &first[part..]].concat();
        let picture = CodeImage::new(decoder.clone(), codes, &images);
        commands.spawn((picture, Number(number)));
    }
    Ok(())
}

/// Returns the codes of two emoji, by the same model on bevy's device.
fn codes(engine: &Engine) -> wgvq::Result<[Vec<u32>; 2]> {
    let bundle = Pretrained::named("emoji32").ok_or_else(|| Error::data("there is no emoji32"))?;
    let model = bundle.bundle()?.file("final.safetensors")?;
    let model = FirstStageModel::from_bytes(&engine.gpu(), &model)?;
    let emoji = wgvq::data::open("emoji", &Default::default())?;
    let mut codes = model.encode(&emoji.gather(&[10, 200])?)?;
    let second = codes.split_off(model.codes_per_image());
    Ok([codes, second])
}

/// Asks bevy for the content of the images, in the frame in which their decoder arrives.
fn look(
    mut commands: Commands,
    decoders: Res<Assets<Decoder>>,
    pictures: Query<(&CodeImage, &Number)>,
    mut is_asked: Local<bool>,
) {
    if decoders.is_empty() || *is_asked {
        return;
    }
    *is_asked = true;
    for (picture, number) in &pictures {
        let number = number.0;
        commands
            .spawn(ReadbackOnce::texture(picture.image()))
            .observe(move |read: On<ReadbackComplete>, mut seen: ResMut<Seen>| {
                seen.0.entry(number).or_insert_with(|| read.data.clone());
            });
    }
}

/// Writes the file when all images are there, and ends the application.
fn write(seen: Res<Seen>, mut exit: MessageWriter<AppExit>) -> Result {
    if seen.0.len() < IMAGES {
        return Ok(());
    }
    const SIDE: u32 = 32;
    // bevy gives rows as they are copied: each begins at a multiple of 256 bytes.
    let row = RenderDevice::align_copy_bytes_per_row(SIDE as usize * 4);
    let file = std::env::args().nth(1);
    let file = file.unwrap_or_else(|| "bevy.png".to_owned());
    let image = image::RgbaImage::from_fn(IMAGES as u32 * SIDE * ZOOM, SIDE * ZOOM, |x, y| {
        let (x, y) = (x / ZOOM, y / ZOOM);
        let at = y as usize * row + (x % SIDE) as usize * 4;
        let pixel = &seen.0[&((x / SIDE) as usize)][at..at + 4];
        image::Rgba([pixel[0], pixel[1], pixel[2], pixel[3]])
    });
    image.save(&file)?;
    info!("{file}: {IMAGES} images that were decoded on the GPU");
    exit.write(AppExit::Success);
    Ok(())
}

/// Ends the application if something was not decoded.
fn fail(mut failed: MessageReader<DecodeFailed>, mut exit: MessageWriter<AppExit>) {
    if failed.read().count() > 0 {
        exit.write(AppExit::error());
    }
}
