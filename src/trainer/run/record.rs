//! The records of a run that are looked at: its views in the run's folder and in event files, and
//! the record of its sessions.

use crate::gpu::Gpu;
use crate::storage::event_file::{EventLog, TEST, TRAIN};
use crate::storage::run_folder::RunFolder;
use crate::storage::sessions::{self, SessionRecord};
use crate::storage::{atomic, event_file};
use crate::trainer::task::View;
use crate::{Error, Result};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Event files, where a run has some, and the record of its sessions.
pub(super) struct Record {
    events: Option<EventLog>,
    sessions: Vec<SessionRecord>,
    gpu: Gpu,
}

impl Record {
    /// Opens the record of a run after `step`; see [`EventLog::open`]. Event files are written
    /// where they are `asked` for, and where there are some.
    pub(super) fn open(
        folder: &RunFolder,
        gpu: &Gpu,
        [step, measured]: [u64; 2],
        toml: &str,
        asked: bool,
    ) -> Result<Record> {
        let mut sessions = sessions::load(folder.path());
        if step == 0 {
            sessions.clear();
        }
        let (info, words) = (gpu.info(), std::env::args_os());
        let began = SystemTime::now().duration_since(UNIX_EPOCH);
        sessions.push(SessionRecord {
            command: words.map(|w| w.to_string_lossy().into_owned()).collect(),
            version: env!("CARGO_PKG_VERSION").into(),
            adapter: info.name.clone(),
            backend: info.backend.to_string(),
            driver: format!("{} {}", info.driver, info.driver_info),
            core: gpu.core().name().into(),
            began: began.unwrap_or_default().as_secs(),
            from: step,
            to: step,
            ..Default::default()
        });
        let mut record = Record {
            events: None,
            sessions,
            gpu: gpu.clone(),
        };
        if asked || event_file::are_in(folder.path())? {
            record.events = Some(EventLog::open(folder.path(), step, measured, toml)?);
        }
        sessions::save(folder.path(), &record.sessions)?;
        Ok(record)
    }

    /// Goes on in a folder that was moved, or behind the step that a run went back to.
    pub(super) fn reopen(&mut self, folder: &RunFolder, step: u64, toml: &str) -> Result<()> {
        if self.events.take().is_some() {
            self.events = Some(EventLog::open(folder.path(), step, step, toml)?);
        }
        Ok(())
    }

    /// Appends a row of the log, and the learning rate of its step.
    pub(super) fn row(&mut self, step: u64, row: &[(String, f64)], rate: f64) -> Result<()> {
        let Some(events) = &mut self.events else {
            return Ok(());
        };
        let rate = [("learning_rate".to_owned(), rate)];
        events.scalars(TRAIN, step, &[row, &rate].concat())
    }

    /// Appends a measurement, and what there is to be seen of it.
    pub(super) fn measured(
        &mut self,
        folder: &RunFolder,
        step: u64,
        row: &[(String, f64)],
        views: &[View],
    ) -> Result<()> {
        if let Some(events) = &mut self.events {
            events.scalars(TEST, step, row)?;
        }
        for view in views {
            match view {
                View::Reconstructions {
                    size,
                    originals,
                    reconstructions,
                } => {
                    let place = folder.pictures();
                    let first = place.join("originals.png");
                    let (reconstructions, wide) = strip(reconstructions, *size);
                    let mut before = None;
                    if self.events.is_some() || !first.is_file() {
                        before = Some(strip(originals, *size).0);
                    }
                    if let Some(originals) = before.as_ref().filter(|_| !first.is_file()) {
                        atomic::write(&first, &png_of(originals, wide)?)?;
                    }
                    let png = png_of(&reconstructions, wide)?;
                    atomic::write(&place.join(format!("step-{step:08}.png")), &png)?;
                    if let (Some(events), Some(originals)) = (&mut self.events, before) {
                        let [width, height, channels] = wide;
                        let both = [width, 2 * height, channels];
                        let png = png_of(&[originals, reconstructions].concat(), both)?;
                        events.image("reconstructions", step, both, &png)?;
                    }
                }
                View::CodeUse { name, counts } => {
                    if let Some(events) = &mut self.events {
                        events.histogram(&format!("codes/{name}"), step, counts)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes what was appended to event files outlast a loss of power. A run that goes on from a
    /// checkpoint finds all rows up to it there, so that this comes before the checkpoint.
    pub(super) fn sync(&self) -> Result<()> {
        match &self.events {
            Some(events) => events.sync(),
            None => Ok(()),
        }
    }

    /// Notes that the run was saved at a step.
    pub(super) fn saved(&mut self, folder: &RunFolder, step: u64, spent: Duration) -> Result<()> {
        let peak = self.gpu.memory().peak;
        if let Some(session) = self.sessions.last_mut() {
            session.to = step;
            session.seconds = spent.as_secs_f64();
            session.peak_device_bytes = peak;
        }
        sessions::save(folder.path(), &self.sessions)
    }
}

/// Images of one size beside each other: the pixels, and width, height and channels.
fn strip(images: &[u8], [height, width, channels]: [usize; 3]) -> (Vec<u8>, [usize; 3]) {
    let row = width * channels;
    let images: Vec<&[u8]> = images.chunks_exact(height * row).collect();
    let mut pixels = Vec::with_capacity(images.len() * height * row);
    for y in 0..height {
        for image in &images {
            pixels.extend_from_slice(&image[y * row..][..row]);
        }
    }
    (pixels, [images.len() * width, height, channels])
}

/// Pixels of this width, height and number of channels as a PNG file.
fn png_of(pixels: &[u8], [width, height, channels]: [usize; 3]) -> Result<Vec<u8>> {
    let colour = match channels {
        1 => ExtendedColorType::L8,
        4 => ExtendedColorType::Rgba8,
        _ => ExtendedColorType::Rgb8,
    };
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(pixels, width as u32, height as u32, colour)
        .map_err(|e| Error::data(format!("a picture of reconstructions cannot be made: {e}")))?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_lie_beside_each_other() {
        // Two of 1 x 2 pixels in grey, one above the other.
        let (pixels, size) = strip(&[1, 2, 3, 4], [2, 1, 1]);
        assert_eq!(pixels, [1, 3, 2, 4]);
        let png = png_of(&pixels, size).unwrap();
        let read = image::load_from_memory(&png).unwrap().to_luma8();
        assert_eq!((read.dimensions(), read.into_raw()), ((2, 2), pixels));
    }
}
