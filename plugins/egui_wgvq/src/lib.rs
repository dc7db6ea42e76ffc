//! Models of [wgvq](wgvq) in an [egui] application that draws with wgpu: the engine computes on
//! egui's device, and its pictures are textures of egui's renderer, without a copy through the
//! processor.
//!
//! | type | is |
//! | --- | --- |
//! | [`Picture`] | a texture that codes are decoded into, in the frame that shows it |
//! | [`Swatches`] | the look of each code of a codebook |
//! | [`Palette`] | a widget in which a code is chosen |
//! | [`CodeMap`] | the codes of an image, with undo and redo |
//! | [`CodeMapEditor`] | a widget that shows a code map and paints on it |
//! | [`LiveTraining`] | a model that learns a slice in each frame, and a panel that shows it |
//!
//! The engine runs on any device; [`device_descriptor`] asks for one on which it runs at its best:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! let mut setup = egui_wgpu::WgpuSetupCreateNew::without_display_handle();
//! setup.device_descriptor = Arc::new(egui_wgvq::device_descriptor);
//! ```
//!
//! In the application, `eframe::CreationContext::wgpu_render_state` has the [`RenderState`] that
//! everything here is made of:
//!
//! ```no_run
//! use egui_wgvq::{CodeMap, CodeMapEditor, Palette, Picture, Swatches, engine};
//! use wgvq::inference::Decoder;
//!
//! struct App {
//!     decoder: Decoder,
//!     swatches: Swatches,
//!     map: CodeMap,
//!     brush: u32,
//!     picture: Picture,
//! }
//!
//! impl App {
//!     fn new(ctx: &egui::Context, state: &egui_wgpu::RenderState) -> wgvq::Result<App> {
//!         let gpu = engine(state);
//!         let decoder = Decoder::load(&gpu, "runs/emoji".as_ref())?;
//!         let codes = vec![0; decoder.codes_per_image()];
//!         let map = CodeMap::new(decoder.levels(), codes)?;
//!         let [width, height, _] = decoder.image();
//!         let picture = Picture::new(state, [width, height]);
//!         picture.decode(&decoder, map.codes())?;
//!         let swatches = Swatches::new(ctx, &decoder, 0, 0)?;
//!         Ok(App { decoder, swatches, map, brush: 0, picture })
//!     }
//!
//!     fn ui(&mut self, ui: &mut egui::Ui) -> wgvq::Result<()> {
//!         Palette::new(&self.swatches, &mut self.brush).show(ui);
//!         let editor = CodeMapEditor::new(&mut self.map, &self.swatches, &mut self.brush);
//!         if editor.show(ui).changed {
//!             self.picture.decode(&self.decoder, self.map.codes())?;
//!         }
//!         self.picture.show(ui, 4.0);
//!         Ok(())
//!     }
//! }
//! ```

mod chart;
mod code_map;
mod editor;
mod live;
mod palette;
mod picture;
mod swatches;

pub use code_map::CodeMap;
pub use editor::{CodeMapEditor, Edited};
pub use egui_wgpu::RenderState;
pub use live::{LiveOptions, LiveTraining};
pub use palette::Palette;
pub use picture::Picture;
pub use swatches::Swatches;

use egui_wgpu::wgpu;
use wgvq::gpu::Gpu;
use wgvq::{FeatureRequest, required_features, required_limits};

/// Returns an engine on the device that egui draws with.
pub fn engine(state: &RenderState) -> Gpu {
    Gpu::from_wgpu(
        state.adapter.get_info(),
        state.device.clone(),
        state.queue.clone(),
    )
}

/// Returns what to ask an adapter for, so that the engine runs at its best: the field
/// `device_descriptor` of [`egui_wgpu::WgpuSetupCreateNew`].
pub fn device_descriptor(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
    let wanted = FeatureRequest::default();
    let mut limits = required_limits(adapter, wanted);
    // What egui asks for itself: textures as large as windows may be.
    limits.max_texture_dimension_2d = adapter.limits().max_texture_dimension_2d.min(8192);
    wgpu::DeviceDescriptor {
        label: Some("egui and wgvq"),
        required_features: required_features(adapter, wanted),
        required_limits: limits,
        ..Default::default()
    }
}
