//! Learning between the frames of the running game: it is recorded, a tokenizer learns its frames,
//! and a prior learns which frame follows on which. No frame of the host trains for longer than its
//! budget.

use super::court::{Court, PIXELS};
use super::frames::{Frames, TOGETHER};
use super::game::{Game, Key, Player};
use super::host::Host;
use super::world::{Settings, World, description};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wgvq::codes::tokens::Tokens;
use wgvq::data::ImageSet;
use wgvq::gpu::Gpu;
use wgvq::inference::FirstStageModel;
use wgvq::inference::tokenize::{CodeRows, write_tokens};
use wgvq::quantize::Registry;
use wgvq::spec::Rng;
use wgvq::storage::checkpoint;
use wgvq::train::prior::PriorTrainer;
use wgvq::train::{Task, Trainer};
use wgvq::{Error, Result, wgpu};

/// Frames that are recorded from one start.
const EPISODE: usize = 32;
/// The number of starts of which one is held out.
const HELD_OUT: usize = 10;

/// Codes of frames, those of the frame before first, and keys as classes.
type Split = (Vec<u32>, Vec<u32>);

fn code_rows((codes, classes): &Split) -> CodeRows<'_> {
    CodeRows { codes, classes }
}

/// The work between the host's frames.
enum Phase {
    Record,
    Tokenizer(Box<Trainer>),
    Encode(Box<FirstStageModel>, Vec<u32>),
    Prior(Box<FirstStageModel>, Box<PriorTrainer>),
}

/// The game, recorded and learned.
pub struct Learning {
    pub host: Host,
    pub gpu: Gpu,
    pub frames: Frames,
    settings: Settings,
    budget: Duration,
    phase: Option<Phase>,
    /// States in episodes of [`EPISODE`], and the key that was held after each.
    games: Vec<Game>,
    keys: Vec<Key>,
    pixels: Vec<u8>,
    /// Where the frames' codes lie while the prior learns.
    folder: Option<tempfile::TempDir>,
    player: Player,
    rng: Rng,
    /// The game on screen while models learn, and who plays it.
    shown: (Game, Player),
    court: Court,
    texture: wgpu::Texture,
    began: Instant,
    /// Time of each of the host's frames that went into training.
    pub trained: Vec<Duration>,
    /// Lines to print: what training says of itself, and how long each phase took.
    pub log: Vec<String>,
}

impl Learning {
    pub fn new(host: Host, settings: Settings, budget: Duration) -> Result<Learning> {
        let gpu = host.gpu();
        gpu.set_memory_budget(Some(512 << 20));
        if settings.frames < EPISODE * HELD_OUT {
            let what = format!(
                "{} are too few: a tenth is held out, in episodes of {EPISODE}; ask for {} at \
                 least",
                settings.frames,
                EPISODE * HELD_OUT
            );
            return Err(Error::config("--frames", what));
        }
        Ok(Learning {
            court: Court::new(&host, 1),
            texture: Court::texture(&host),
            frames: Frames::new(&host, &gpu),
            phase: Some(Phase::Record),
            games: Vec::new(),
            keys: Vec::new(),
            pixels: Vec::new(),
            folder: None,
            player: Player::new(settings.seed),
            rng: Rng::new(settings.seed ^ 0x6761_6d65),
            shown: (Game::new(), Player::new(settings.seed)),
            began: Instant::now(),
            trained: Vec::new(),
            log: Vec::new(),
            host,
            gpu,
            settings,
            budget,
        })
    }

    /// The name of what is done now, and the share of it that is done.
    #[cfg_attr(
        not(feature = "window"),
        allow(dead_code, reason = "a window shows it")
    )]
    pub fn progress(&self) -> (&'static str, f64) {
        let s = &self.settings;
        let share = |done: f64, all: f64| done / all.max(1.0);
        match &self.phase {
            Some(Phase::Record) => ("recording", share(self.games.len() as f64, s.frames as f64)),
            Some(Phase::Tokenizer(trainer)) => (
                "tokenizer",
                share(trainer.step_number() as f64, s.tokenizer_steps as f64),
            ),
            Some(Phase::Encode(model, codes)) => {
                let all = self.games.len() * model.codes_per_image();
                ("encoding", share(codes.len() as f64, all as f64))
            }
            Some(Phase::Prior(_, trainer)) => (
                "prior",
                share(trainer.step_number() as f64, s.prior_steps as f64),
            ),
            None => ("learned", 1.0),
        }
    }

    /// The texture with the game as it goes on while models learn.
    #[cfg_attr(
        not(feature = "window"),
        allow(dead_code, reason = "a window shows it")
    )]
    pub fn picture(&self) -> &wgpu::Texture {
        &self.texture
    }

    /// Takes one frame of the host: the game goes on by a frame, drawn by the host, and what is
    /// being learned by as much as the budget allows. Returns the world model once it has learned.
    pub fn frame(&mut self, key: Option<Key>) -> Result<Option<World>> {
        let (game, player) = &mut self.shown;
        let key = key.unwrap_or_else(|| player.key(game));
        game.step(key);
        let mut encoder = self.host.device.create_command_encoder(&Default::default());
        let frame = [(&*game, &self.texture)];
        self.court.draw(&self.host, &mut encoder, frame.into_iter());
        self.host.queue.submit([encoder.finish()]);
        let Some(phase) = self.phase.take() else {
            return Err(Error::invalid("dream", "it has learned already"));
        };
        let (next, world) = match phase {
            Phase::Record => (Some(self.record()?), None),
            Phase::Tokenizer(trainer) => (Some(self.tokenizer(trainer)?), None),
            Phase::Encode(model, codes) => (Some(self.encode(model, codes)?), None),
            Phase::Prior(model, trainer) => self.prior(model, trainer)?,
        };
        self.phase = next;
        Ok(world)
    }

    /// Plays and records some frames.
    fn record(&mut self) -> Result<Phase> {
        let first = self.games.len();
        for i in first..(first + TOGETHER).min(self.settings.frames) {
            let game = match self.games.last() {
                Some(before) if !i.is_multiple_of(EPISODE) => {
                    let mut game = before.clone();
                    game.step(self.keys[i - 1]);
                    game
                }
                _ => Game::at_random(&mut self.rng),
            };
            self.keys.push(self.player.key(&game));
            self.games.push(game);
        }
        let pixels = self.frames.pixels(&self.host, &self.games[first..])?;
        self.pixels.extend(pixels);
        if self.games.len() < self.settings.frames {
            return Ok(Phase::Record);
        }
        let pixels = std::mem::take(&mut self.pixels);
        let data = ImageSet::from_memory(pixels, [PIXELS, PIXELS, 3], &[], Vec::new())?;
        let config = self.settings.tokenizer()?.resolve(&Registry::default())?;
        let trainer = Trainer::new(&self.gpu, &config, Arc::new(data))?;
        self.phase_ended("recorded");
        Ok(Phase::Tokenizer(Box::new(trainer)))
    }

    /// Trains the tokenizer for the budget.
    fn tokenizer(&mut self, mut trainer: Box<Trainer>) -> Result<Phase> {
        if !self.train(&mut trainer, self.settings.tokenizer_steps)? {
            return Ok(Phase::Tokenizer(trainer));
        }
        let bytes = checkpoint::to_bytes(&trainer.trained()?)?;
        let model = FirstStageModel::from_bytes(&self.gpu, &bytes)?;
        self.phase_ended("trained the tokenizer");
        Ok(Phase::Encode(Box::new(model), Vec::new()))
    }

    /// Encodes some of the recorded frames.
    fn encode(&mut self, model: Box<FirstStageModel>, mut codes: Vec<u32>) -> Result<Phase> {
        let done = codes.len() / model.codes_per_image();
        let next = &self.games[done..(done + TOGETHER).min(self.games.len())];
        codes.extend(self.frames.codes(&self.host, &model, next)?);
        if done + next.len() < self.games.len() {
            return Ok(Phase::Encode(model, codes));
        }
        let tokens = self.tokens(&model, &codes)?;
        let config = self.settings.prior()?.resolve()?;
        let trainer = Trainer::prior(&self.gpu, &config, tokens)?;
        self.phase_ended("encoded");
        Ok(Phase::Prior(model, Box::new(trainer)))
    }

    /// Returns the tokens of the prior: each frame's codes, behind those of the frame before it.
    fn tokens(&mut self, model: &FirstStageModel, codes: &[u32]) -> Result<Tokens> {
        let each = model.codes_per_image();
        let mut splits: [Split; 2] = Default::default();
        for i in (1..self.games.len()).filter(|i| !i.is_multiple_of(EPISODE)) {
            let is_held_out = (i / EPISODE).is_multiple_of(HELD_OUT);
            let (rows, classes) = &mut splits[usize::from(is_held_out)];
            rows.extend(&codes[(i - 1) * each..(i + 1) * each]);
            classes.push(self.keys[i - 1].class());
        }
        let [train, test] = &splits;
        let cannot = |e| Error::data(format!("no folder for the frames' codes: {e}"));
        let folder = tempfile::tempdir().map_err(cannot)?;
        let (train, test) = (code_rows(train), code_rows(test));
        let tokens = write_tokens(&description(model)?, train, test, folder.path())?;
        self.folder = Some(folder);
        Ok(tokens)
    }

    /// Trains the prior for the budget.
    fn prior(
        &mut self,
        model: Box<FirstStageModel>,
        mut trainer: Box<PriorTrainer>,
    ) -> Result<(Option<Phase>, Option<World>)> {
        if !self.train(&mut trainer, self.settings.prior_steps)? {
            return Ok((Some(Phase::Prior(model, trainer)), None));
        }
        let bytes = checkpoint::to_bytes(&trainer.trained()?)?;
        let world = World::new(&self.gpu, *model, &bytes, &self.settings)?;
        self.phase_ended("trained the prior");
        Ok((None, Some(world)))
    }

    /// Trains for the budget of a frame, to so many steps in all. Returns whether they are done.
    /// Where a step is cut depends on the machine; what it computes does not.
    fn train<T: Task>(&mut self, trainer: &mut Trainer<T>, steps: u64) -> Result<bool> {
        let gpu = self.gpu.clone();
        let worked = gpu.run_for_budget(self.budget, || {
            let goes_on = trainer.step_number() < steps;
            if goes_on {
                trainer.step()?;
            }
            Ok(goes_on)
        })?;
        self.trained.push(worked.took);
        let is_done = worked.done && trainer.step_number() >= steps;
        for row in trainer.rows(is_done)? {
            self.log
                .push(format!("  step {}: {row}", trainer.step_number()));
        }
        Ok(is_done)
    }

    fn phase_ended(&mut self, what: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        self.log.push(format!("{what} after {seconds:.1} s"));
    }

    /// The share of the training frames that kept to their budget, and the 95th percentile of
    /// their times.
    pub fn pacing(&self) -> (f64, Duration) {
        let mut times = self.trained.clone();
        times.sort_unstable();
        let within = times.iter().filter(|t| **t <= self.budget).count();
        let last = times.len().saturating_sub(1);
        let share = within as f64 / times.len().max(1) as f64;
        (
            share,
            times.get(last * 95 / 100).copied().unwrap_or_default(),
        )
    }
}
