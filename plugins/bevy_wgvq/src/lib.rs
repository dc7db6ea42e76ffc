#![doc = include_str!("../README.md")]

mod code_image;
mod decoder;
mod draw;
mod engine;
mod training;

pub use code_image::{CodeImage, DecodeFailed};
pub use decoder::{Decoder, DecoderLoader};
pub use engine::Engine;
pub use training::{LiveOptions, LiveTraining};
/// The library itself, of the version that this crate is built with.
pub use wgvq;

use bevy::app::{App, Plugin, PostUpdate};
use bevy::asset::{AssetApp, AssetEventSystems};
use bevy::ecs::schedule::IntoScheduleConfigs;
use bevy::render::render_asset::prepare_assets;
use bevy::render::texture::GpuImage;
use bevy::render::{ExtractSchedule, Render, RenderApp, RenderSystems};

/// The plugin: an [`Engine`] on the device that bevy draws with, the loader of [`Decoder`]s, and
/// the systems that decode each [`CodeImage`] and go on with each [`LiveTraining`].
///
/// It is added after bevy's `RenderPlugin`, which is one of `DefaultPlugins`. Where bevy draws with
/// no device, it logs an error and decodes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct WgvqPlugin;

impl Plugin for WgvqPlugin {
    fn build(&self, app: &mut App) {
        app.init_asset::<Decoder>()
            .preregister_asset_loader::<DecoderLoader>(&decoder::EXTENSIONS)
            .add_message::<DecodeFailed>()
            .init_resource::<code_image::Requests>()
            // Images that are made here are announced in the same frame.
            .add_systems(PostUpdate, code_image::request.before(AssetEventSystems));
        let Some(render_app) = app.get_sub_app_mut(RenderApp) else {
            return;
        };
        render_app
            .init_resource::<draw::Pending>()
            .init_resource::<training::Trainings>()
            .add_systems(ExtractSchedule, (draw::extract, training::extract))
            .add_systems(
                Render,
                (
                    draw::draw
                        .in_set(RenderSystems::PrepareResources)
                        .after(prepare_assets::<GpuImage>),
                    training::train.in_set(RenderSystems::Cleanup),
                ),
            );
    }

    fn finish(&self, app: &mut App) {
        match Engine::of(app.world()) {
            Some(engine) => {
                app.insert_resource(engine.clone());
                app.register_asset_loader(DecoderLoader::new(engine));
            }
            None => tracing::error!(
                "wgvq decodes nothing: bevy has no device. Add WgvqPlugin after DefaultPlugins, \
                 and let RenderPlugin choose a backend"
            ),
        }
    }
}
