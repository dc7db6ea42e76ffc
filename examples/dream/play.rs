//! Play: the game, or the dream of it, in the same texture. A dreamt frame is drawn over
//! several of the host's frames, each for its budget.

use super::court::Court;
use super::game::{Game, Key};
use super::host::Host;
use super::world::World;
use std::time::Duration;
use wgvq::gpu::Gpu;
use wgvq::inference::PendingSamples;
use wgvq::{Result, wgpu};

/// A dream under way.
struct Dream {
    /// Codes of the last frame.
    codes: Vec<u32>,
    step: u64,
    /// The next frame, where its codes are being drawn.
    pending: Option<PendingSamples>,
}

/// The game and the dream of a player.
pub struct Play {
    court: Court,
    game: Game,
    texture: wgpu::Texture,
    dream: Option<Dream>,
}

impl Play {
    /// Begins to play a game from this state on.
    pub fn new(host: &Host, game: Game) -> Play {
        let play = Play {
            court: Court::new(host, 1),
            game,
            texture: Court::texture(host),
            dream: None,
        };
        play.draw(host);
        play
    }

    /// The texture with the last frame.
    pub fn picture(&self) -> &wgpu::Texture {
        &self.texture
    }

    /// Whether the dream is played.
    #[cfg_attr(
        not(feature = "window"),
        allow(dead_code, reason = "a window needs it")
    )]
    pub fn dreams(&self) -> bool {
        self.dream.is_some()
    }

    fn draw(&self, host: &Host) {
        let mut encoder = host.device.create_command_encoder(&Default::default());
        let frame = [(&self.game, &self.texture)];
        self.court.draw(host, &mut encoder, frame.into_iter());
        host.queue.submit([encoder.finish()]);
    }

    /// Goes on with the game by a frame.
    #[cfg_attr(
        not(feature = "window"),
        allow(dead_code, reason = "a window needs it")
    )]
    pub fn play(&mut self, host: &Host, key: Key) {
        self.game.step(key);
        self.draw(host);
    }

    /// Lets the dream begin with the frame that the texture holds. It is encoded from there: its
    /// codes alone leave the device.
    pub fn fall_asleep(&mut self, host: &Host, gpu: &Gpu, world: &World) -> Result<()> {
        let view = self.texture.create_view(&Default::default());
        let mut encoder = host.device.create_command_encoder(&Default::default());
        let codes = world.tokenizer.encode_from(&mut encoder, &view)?;
        let codes = gpu.record_into(&mut encoder, || codes.read_async())?;
        host.queue.submit([encoder.finish()]);
        self.dream = Some(Dream {
            codes: codes.wait::<u32>()?,
            step: 0,
            pending: None,
        });
        Ok(())
    }

    /// Ends the dream: the game goes on where it was.
    #[cfg_attr(
        not(feature = "window"),
        allow(dead_code, reason = "a window needs it")
    )]
    pub fn wake_up(&mut self, host: &Host) {
        self.dream = None;
        self.draw(host);
    }

    /// Goes on with the dream for the budget; `key` counts where a dreamt frame begins. Returns
    /// whether one was finished, and stands in the texture now.
    pub fn dream(
        &mut self,
        host: &Host,
        gpu: &Gpu,
        world: &World,
        key: Key,
        budget: Duration,
    ) -> Result<bool> {
        let Some(dream) = &mut self.dream else {
            return Ok(false);
        };
        gpu.run_for_budget(budget, || {
            let begins = dream.pending.is_none();
            if begins {
                dream.pending = Some(world.record(&dream.codes, key, dream.step)?);
            }
            Ok(begins)
        })?;
        let Some(pending) = dream.pending.take_if(|pending| pending.ready()) else {
            return Ok(false);
        };
        (dream.codes, dream.step) = (pending.wait()?.codes, dream.step + 1);
        let view = self.texture.create_view(&Default::default());
        let mut encoder = host.device.create_command_encoder(&Default::default());
        world
            .tokenizer
            .decode_into(&mut encoder, &dream.codes, &view)?;
        host.queue.submit([encoder.finish()]);
        Ok(true)
    }
}
