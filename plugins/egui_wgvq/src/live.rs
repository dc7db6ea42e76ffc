//! A model that learns while the application runs, and a panel that shows it.

use crate::chart::curve;
use crate::{Picture, engine};
use egui::{Grid, Ui};
use egui_wgpu::RenderState;
use std::sync::Arc;
use std::time::Duration;
use wgvq::config::run::ResolvedConfig;
use wgvq::data::ImageSet;
use wgvq::gpu::{Gpu, Tensor};
use wgvq::metrics::Row;
use wgvq::ops::image::image::normalize;
use wgvq::train::Trainer;
use wgvq::{Error, Result};

/// Rows of the log that are kept; of more, every second goes.
const ROWS: usize = 4096;

/// The pace and the look of a [`LiveTraining`].
#[derive(Clone, Copy, Debug)]
pub struct LiveOptions {
    /// Time of the device in each frame.
    pub budget: Duration,
    /// Images held out that are shown beside their reconstructions.
    pub shown: usize,
    /// Frames from one look at the reconstructions to the next.
    pub look_every: u64,
}

impl Default for LiveOptions {
    fn default() -> Self {
        LiveOptions {
            budget: Duration::from_millis(8),
            shown: 4,
            look_every: 15,
        }
    }
}

/// A first stage in training: [`LiveTraining::update`] trains for a slice of each frame, and
/// [`LiveTraining::show`] draws the panel.
pub struct LiveTraining {
    gpu: Gpu,
    trainer: Trainer,
    options: LiveOptions,
    originals: Tensor,
    pictures: Vec<[Picture; 2]>,
    rows: Vec<Row>,
    frame: u64,
    running: bool,
    /// The error that ended it.
    failed: Option<String>,
}

impl LiveTraining {
    /// Creates a model of a configuration on egui's device, to learn the images of a set.
    ///
    /// # Errors
    /// If the images do not fit the configuration, or the device has too little memory.
    pub fn new(
        state: &RenderState,
        config: &ResolvedConfig,
        data: Arc<ImageSet>,
        options: LiveOptions,
    ) -> Result<LiveTraining> {
        let gpu = engine(state);
        let numbers: Vec<u32> = data.test.iter().copied().take(options.shown).collect();
        if numbers.is_empty() && options.shown > 0 {
            return Err(Error::data(
                "the set has no images that are held out, to be shown",
            ));
        }
        let (width, height, channels) = (data.width, data.height, data.channels);
        let shape = [numbers.len(), height, width, channels];
        let bytes = Tensor::from_slice(&gpu, &shape, &data.gather(&numbers)?)?;
        let order: Vec<u32> = (0..numbers.len() as u32).collect();
        let order = Tensor::from_slice(&gpu, &[numbers.len()], &order)?;
        let originals = normalize(&bytes, &order)?;
        let picture = || Picture::new(state, [width, height]);
        let pictures: Vec<[Picture; 2]> = numbers.iter().map(|_| [picture(), picture()]).collect();
        for (i, [original, _]) in pictures.iter().enumerate() {
            original.draw(&gpu, &originals, i)?;
        }
        let trainer = Trainer::new(&gpu, config, data)?;
        let mut training = LiveTraining {
            gpu,
            trainer,
            options,
            originals,
            pictures,
            rows: Vec::new(),
            frame: 0,
            running: true,
            failed: None,
        };
        training.look()?;
        Ok(training)
    }

    /// Trains for the budget of a frame, unless it is paused, and draws the reconstructions anew
    /// where it is time to. An error ends the training; the panel says it, and the call returns it.
    ///
    /// # Errors
    /// If the training diverges, or the device fails.
    pub fn update(&mut self) -> Result<()> {
        if !self.running {
            return Ok(());
        }
        let result = self.slice();
        if let Err(e) = &result {
            (self.running, self.failed) = (false, Some(e.to_string()));
        }
        result
    }

    fn slice(&mut self) -> Result<()> {
        self.trainer.step_for(self.options.budget)?;
        self.rows.extend(self.trainer.rows(false)?);
        if self.rows.len() > ROWS {
            // The newest stays.
            let mut number = self.rows.len();
            self.rows.retain(|_| {
                number -= 1;
                number.is_multiple_of(2)
            });
        }
        self.frame += 1;
        if self.frame.is_multiple_of(self.options.look_every.max(1)) {
            self.look()?;
        }
        Ok(())
    }

    /// Draws the reconstructions of the model as it is now.
    fn look(&mut self) -> Result<()> {
        if self.pictures.is_empty() {
            return Ok(());
        }
        let mut encoder = self
            .gpu
            .device()
            .create_command_encoder(&Default::default());
        self.gpu.record_into(&mut encoder, || {
            let reconstructions = self.trainer.reconstruction(&self.originals)?;
            for (i, [_, reconstruction]) in self.pictures.iter().enumerate() {
                reconstructions.to_texture(i, reconstruction.view())?;
            }
            Ok(())
        })?;
        self.gpu.queue().submit([encoder.finish()]);
        Ok(())
    }

    /// Shows the panel: pause and budget, the loss and the use of codes, images and their
    /// reconstructions. While it trains, it asks for the next frame.
    pub fn show(&mut self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            let label = if self.running { "Pause" } else { "Train" };
            let may = self.failed.is_none();
            if ui.add_enabled(may, egui::Button::new(label)).clicked() {
                self.running = !self.running;
            }
            let mut millis = self.options.budget.as_secs_f32() * 1e3;
            let slider = egui::Slider::new(&mut millis, 1.0..=100.0)
                .logarithmic(true)
                .suffix(" ms a frame");
            if ui.add(slider).changed() {
                self.options.budget = Duration::from_secs_f32(millis / 1e3);
            }
            ui.label(format!("step {}", self.trainer.step_number()));
        });
        if let Some(what) = &self.failed {
            ui.colored_label(ui.visuals().error_fg_color, what);
        }
        let of = |value: fn(&Row) -> f64| -> Vec<(u64, f64)> {
            self.rows.iter().map(|row| (row.step, value(row))).collect()
        };
        curve(ui, "loss", &of(|row| row.losses.loss), true);
        curve(ui, "perplexity", &of(|row| row.codes.perplexity), false);
        curve(ui, "codes used", &of(|row| row.codes.used), false);
        let zoom = (ui.available_width() / self.pictures.len().max(1) as f32 - 4.0)
            / self.pictures.first().map_or(1, |[p, _]| p.size()[0]) as f32;
        let zoom = zoom.floor().clamp(1.0, 4.0);
        Grid::new("images and reconstructions")
            .spacing([4.0, 4.0])
            .min_col_width(0.0)
            .show(ui, |ui| {
                for side in 0..2 {
                    for pair in &self.pictures {
                        pair[side].show(ui, zoom);
                    }
                    ui.end_row();
                }
            });
        if self.running {
            ui.ctx().request_repaint();
        }
    }

    /// Returns the trainer: steps, memory, and checkpoints of what was learnt.
    pub fn trainer(&mut self) -> &mut Trainer {
        &mut self.trainer
    }

    /// Returns the rows of the log, the newest last.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Returns whether it trains.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Pauses the training, or goes on with it. What ended by an error does not go on.
    pub fn set_running(&mut self, running: bool) {
        self.running = running && self.failed.is_none();
    }
}
