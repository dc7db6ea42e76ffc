//! A window in which a model of emoji is trained while one watches, and its codes are painted on.
//!
//!     cargo run --release --example studio --features window [DECODER OR RUN]
//!
//! Until the model that is trained is taken for it, what is painted with is the decoder that was
//! named, or the trained model of emoji that is part of wgvq.

use egui_wgvq::{CodeMap, CodeMapEditor, LiveOptions, LiveTraining, Palette, Picture, Swatches};
use std::sync::Arc;
use wgvq::config::run::RunConfig;
use wgvq::gpu::Gpu;
use wgvq::inference::Decoder;
use wgvq::inference::pretrained::Pretrained;
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint;

struct Studio {
    state: egui_wgpu::RenderState,
    live: LiveTraining,
    editing: Editing,
    message: String,
}

/// A model whose codes are edited.
struct Editing {
    decoder: Decoder,
    swatches: Swatches,
    map: CodeMap,
    brush: u32,
    picture: Picture,
}

impl Editing {
    fn new(
        ctx: &egui::Context,
        state: &egui_wgpu::RenderState,
        decoder: Decoder,
    ) -> wgvq::Result<Self> {
        let map = CodeMap::new(decoder.levels(), vec![0; decoder.codes_per_image()])?;
        let [width, height, _] = decoder.image();
        let picture = Picture::new(state, [width, height]);
        picture.decode(&decoder, map.codes())?;
        let finest = decoder.levels().len().saturating_sub(1);
        Ok(Editing {
            swatches: Swatches::new(ctx, &decoder, finest, 0)?,
            decoder,
            map,
            brush: 0,
            picture,
        })
    }

    fn show(&mut self, ui: &mut egui::Ui) -> wgvq::Result<()> {
        let used = self.map.codes().to_vec();
        Palette::new(&self.swatches, &mut self.brush)
            .used(&used)
            .show(ui);
        ui.horizontal_top(|ui| {
            let editor = CodeMapEditor::new(&mut self.map, &self.swatches, &mut self.brush);
            let edited = editor.numbers(true).show(ui);
            self.picture.show(ui, 7.0);
            match edited.changed {
                true => self.picture.decode(&self.decoder, self.map.codes()),
                false => Ok(()),
            }
        })
        .inner
    }
}

/// Returns the decoder of the trained model that is part of the library.
fn trained_model(gpu: &Gpu) -> wgvq::Result<Decoder> {
    let model = Pretrained::named("emoji32");
    let model = model.ok_or_else(|| wgvq::Error::data("emoji32 is not there"))?;
    Decoder::from_bytes(gpu, &model.bundle()?.file("final.safetensors")?)
}

impl Studio {
    fn new(ctx: &egui::Context, state: egui_wgpu::RenderState) -> wgvq::Result<Studio> {
        let mut config = RunConfig::default();
        config.model.hidden = 32;
        config.model.residual_hidden = 16;
        config.train.batch_size = 16;
        config.train.log_every = 10;
        let data = Arc::new(wgvq::data::open("emoji", &Default::default())?);
        let config = config.resolve(&Registry::default())?;
        let live = LiveTraining::new(&state, &config, data, LiveOptions::default())?;
        let gpu = egui_wgvq::engine(&state);
        let (decoder, message) = match std::env::args().nth(1) {
            Some(path) => (Decoder::load(&gpu, path.as_ref())?, String::new()),
            None => {
                let message = "The codes are of emoji32, the trained model that comes with wgvq.";
                (trained_model(&gpu)?, message.to_owned())
            }
        };
        Ok(Studio {
            editing: Editing::new(ctx, &state, decoder)?,
            state,
            live,
            message,
        })
    }

    /// Takes the model as it is for the editor.
    fn take(&mut self, ctx: &egui::Context) -> wgvq::Result<()> {
        let bytes = checkpoint::to_bytes(&self.live.trainer().trained()?)?;
        let decoder = Decoder::from_bytes(&egui_wgvq::engine(&self.state), &bytes)?;
        self.editing = Editing::new(ctx, &self.state, decoder)?;
        self.message.clear();
        Ok(())
    }
}

impl eframe::App for Studio {
    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        let done = self.live.update();
        let ctx = ui.ctx().clone();
        let shown = ui
            .horizontal_top(|ui| {
                ui.vertical(|ui| {
                    ui.set_width(330.0);
                    self.live.show(ui);
                    match ui.button("Paint with this model").clicked() {
                        true => self.take(&ctx),
                        false => Ok(()),
                    }
                })
                .inner?;
                ui.vertical(|ui| self.editing.show(ui)).inner
            })
            .inner;
        if let Err(e) = done.and(shown) {
            self.message = e.to_string();
        }
        ui.label(&self.message);
    }
}

fn main() -> eframe::Result {
    let mut setup = egui_wgpu::WgpuSetupCreateNew::without_display_handle();
    setup.device_descriptor = Arc::new(egui_wgvq::device_descriptor);
    let options = eframe::NativeOptions {
        renderer: eframe::Renderer::Wgpu,
        wgpu_options: egui_wgpu::WgpuConfiguration {
            wgpu_setup: egui_wgpu::WgpuSetup::CreateNew(setup),
            ..Default::default()
        },
        ..Default::default()
    };
    eframe::run_native(
        "wgvq studio",
        options,
        Box::new(|creation| {
            let state = creation.wgpu_render_state.clone().ok_or("no wgpu")?;
            Ok(Box::new(Studio::new(&creation.egui_ctx, state)?))
        }),
    )
}
