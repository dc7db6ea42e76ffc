//! Frames of recorded states, many at a time: drawn by the host into textures, and read from there
//! on the device, as a tensor of images.

use super::court::{Court, PIXELS};
use super::game::Game;
use super::host::Host;
use wgvq::gpu::{DType, Gpu, Tensor};
use wgvq::inference::FirstStageModel;
use wgvq::ops::image::image::to_bytes;
use wgvq::{Result, wgpu};

/// Frames that are drawn together.
pub const TOGETHER: usize = 32;
/// Numbers of a frame: height, width, and red, green, blue.
const IMAGE: [usize; 3] = [PIXELS, PIXELS, 3];

/// Textures for [`TOGETHER`] frames, and what draws into them.
pub struct Frames {
    gpu: Gpu,
    court: Court,
    textures: Vec<wgpu::Texture>,
}

impl Frames {
    pub fn new(host: &Host, gpu: &Gpu) -> Frames {
        Frames {
            gpu: gpu.clone(),
            court: Court::new(host, TOGETHER),
            textures: (0..TOGETHER).map(|_| Court::texture(host)).collect(),
        }
    }

    /// Draws at most [`TOGETHER`] states and returns their frames, f32 [N, H, W, 3] in [-1, 1]. No
    /// pixel goes by way of the processor.
    fn images(&self, host: &Host, games: &[Game]) -> Result<Tensor> {
        let [height, width, channels] = IMAGE;
        let shape = [games.len(), height, width, channels];
        let mut encoder = host.device.create_command_encoder(&Default::default());
        let frames = games.iter().zip(&self.textures);
        self.court.draw(host, &mut encoder, frames);
        let images = self.gpu.record_into(&mut encoder, || {
            let images = Tensor::empty(&self.gpu, &shape, DType::F32)?;
            for (i, texture) in self.textures[..games.len()].iter().enumerate() {
                let view = texture.create_view(&Default::default());
                let image = Tensor::from_texture(&self.gpu, &view, IMAGE)?;
                images.copy_into(i * image.len(), &image)?;
            }
            Ok(images)
        })?;
        host.queue.submit([encoder.finish()]);
        Ok(images)
    }

    /// Returns the bytes of the frames of states, u8 [N, H, W, 3]: what a data set in memory is
    /// made of.
    pub fn pixels(&self, host: &Host, games: &[Game]) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        for part in games.chunks(TOGETHER) {
            all.extend(to_bytes(&self.images(host, part)?)?.read::<u8>()?);
        }
        Ok(all)
    }

    /// Returns the codes of the frames of states, u32 [N, codes of a frame]. Frames stay on the
    /// device; their codes alone come back.
    pub fn codes(&self, host: &Host, model: &FirstStageModel, games: &[Game]) -> Result<Vec<u32>> {
        let mut all = Vec::new();
        for part in games.chunks(TOGETHER) {
            all.extend(model.codes(&self.images(host, part)?)?.read::<u32>()?);
        }
        Ok(all)
    }
}
