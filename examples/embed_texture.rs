//! A renderer that has the engine decode into one of its textures: its own device, its own encoder,
//! one submit per frame.
//!
//!     cargo run --release --example embed_texture [MODEL] [--frames N] [--png FILE]
//!
//! MODEL is a decoder's file (`wgvq export RUN --decoder -o FILE`) or a whole model's; without it,
//! it is the trained model of emoji that is part of the library (feature `pretrained`). Each frame,
//! some codes change, the picture is decoded into a texture and drawn over the frame. The last
//! frame is read back and compared with what the same codes give by way of the processor.

mod host;

use host::Host;
use std::time::{Duration, Instant};
use wgvq::inference::Decoder;
use wgvq::inference::pretrained::Pretrained;
use wgvq::{Error, FeatureRequest, Result, wgpu};

/// Pixels of the frame for one of the picture, each way.
const ZOOM: usize = 4;

/// The model of the library, as the file that it would be in a run's folder.
fn trained_model() -> Result<Vec<u8>> {
    let model = Pretrained::named("emoji32").ok_or_else(|| Error::data("there is no emoji32"))?;
    model.bundle()?.file("final.safetensors")
}

/// The textures that were shown.
pub struct Shown {
    /// Pixels of the last frame that differ from the processor's.
    pub wrong: usize,
    /// Pixels of a frame.
    pub pixels: usize,
    /// The processor's time to record a decode, in the middle of all frames.
    pub recording: Duration,
    /// The last frame, RGBA.
    pub frame: (Vec<u8>, [u32; 2]),
}

/// Draws so many frames.
pub fn run(model: Option<&[u8]>, frames: usize) -> Result<Shown> {
    // What a host asks for, so that the engine runs at its best; it runs on a default device too.
    let host = Host::new(FeatureRequest::default());
    let gpu = host.gpu();
    let decoder = match model {
        Some(bytes) => Decoder::from_bytes(&gpu, bytes)?,
        None => Decoder::from_bytes(&gpu, &trained_model()?)?,
    };
    let [width, height, channels] = decoder.image();
    let size = [width, height].map(|n| (n * ZOOM) as u32);

    let picture = host.texture(
        [width as u32, height as u32],
        wgpu::TextureFormat::Rgba8UnormSrgb,
    );
    let view = picture.create_view(&Default::default());
    // sRGB on both sides: the host samples linear light, and its target encodes again.
    let frame = host.texture(size, wgpu::TextureFormat::Rgba8UnormSrgb);
    let pipeline = host.quad(frame.format());
    let largest = decoder
        .levels()
        .iter()
        .map(|l| l.codebook_size as u32)
        .min()
        .unwrap_or(1);
    let mut codes = vec![0; decoder.codes_per_image()];
    let mut times = Vec::new();
    for i in 0..frames.max(1) {
        for (at, code) in codes.iter_mut().enumerate() {
            *code = ((at * 7 + i * (at % 5)) as u32).wrapping_mul(2_654_435_761) % largest;
        }
        let mut encoder = host.device.create_command_encoder(&Default::default());
        host.clear(&mut encoder, &frame, wgpu::Color::BLACK);
        let start = Instant::now();
        decoder.decode_into(&mut encoder, &codes, &view)?;
        times.push(start.elapsed());
        host.draw_with(
            &pipeline,
            &mut encoder,
            &picture,
            &frame,
            [0.0, 0.0, size[0] as f32, size[1] as f32],
        );
        host.queue.submit([encoder.finish()]);
        // In a window, presenting the frame would do this.
        host.device
            .poll(wgpu::PollType::Poll)
            .map_err(|e| Error::DeviceLost {
                reason: e.to_string(),
            })?;
    }
    times.sort_unstable();

    let pixels = host.read(&frame);
    let bytes = decoder.decode(&codes)?;
    let expected = |x: usize, y: usize| {
        let at = (y / ZOOM * width + x / ZOOM) * channels;
        [0, 1, 2].map(|c| bytes[at + c.min(channels - 1)])
    };
    let row = size[0] as usize;
    let differs = |(i, p): &(usize, &[u8])| expected(i % row, i / row)[..] != p[..3];
    let wrong = pixels.chunks(4).enumerate().filter(differs).count();
    Ok(Shown {
        wrong,
        pixels: pixels.len() / 4,
        recording: times[times.len() / 2],
        frame: (pixels, size),
    })
}

#[allow(dead_code, reason = "a test includes this file for what it shows")]
fn main() -> Result<()> {
    let (mut model, mut frames, mut png) = (None, 60, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--frames" => {
                frames = arguments
                    .next()
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(frames)
            }
            "--png" => png = arguments.next(),
            path => model = Some(std::fs::read(path).map_err(|e| Error::file(path, e))?),
        }
    }
    if model.is_none() {
        println!("no model was named: the trained one of the library, emoji32, is shown");
    }
    let shown = run(model.as_deref(), frames)?;
    println!(
        "{frames} frames, a decode recorded in {:?}",
        shown.recording
    );
    println!(
        "{} of {} pixels of the last frame differ from the processor's",
        shown.wrong, shown.pixels
    );
    if let Some(path) = png {
        let (pixels, [width, height]) = &shown.frame;
        image::save_buffer(&path, pixels, *width, *height, image::ColorType::Rgba8)
            .map_err(|e| Error::file(&path, e))?;
    }
    if shown.wrong > 0 {
        Err(Error::data("the frame is not what it should be"))
    } else {
        Ok(())
    }
}
