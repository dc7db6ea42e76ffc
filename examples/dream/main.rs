//! A dream that is played: within the running application, wgvq learns a small game from its
//! frames, and the player then plays what the model predicts.
//!
//!     cargo run --release --example dream -- --headless [--seed N] [--keys lr-] [--budget MS] ..
//!     cargo run --release --example dream --features window
//!
//! The host draws the game by passes of its own (`court.rs`), on a device that the engine shares. A
//! tokenizer, a small VQ-VAE, learns its frames, and then a prior learns the codes of each frame,
//! given those of the frame before and the key (`world.rs`, `learning.rs`): the idea of IRIS
//! (Micheli, Alonso and Fleuret 2023). Both are trained between the frames of the game, each for a
//! budget of time. docs/dream.md has what comes of it.

mod court;
mod film;
mod frames;
pub(crate) mod game;
#[path = "../host/mod.rs"]
mod host;
mod learning;
pub(crate) mod measure;
pub(crate) mod options;
mod play;
#[cfg(feature = "window")]
#[path = "../host/screen.rs"]
mod screen;
#[cfg(feature = "window")]
mod window;
pub(crate) mod world;

use host::Host;
use learning::Learning;
use measure::{Comparison, Start, compare, psnr};
use options::Options;
use play::Play;
use std::path::Path;
use std::time::{Duration, Instant};
use wgvq::{Error, FeatureRequest, Result};
use world::World;

/// The results of a headless run.
pub struct Dreamt {
    /// The application, after it has learned.
    pub learning: Learning,
    /// The model that it has learned.
    pub world: World,
    /// Dreams, held against the game.
    pub comparison: Comparison,
}

/// Learns the game and dreams of it, without a window.
pub fn headless(options: &Options) -> Result<Dreamt> {
    let host = Host::new(FeatureRequest::default());
    let mut learning = Learning::new(host, options.settings.clone(), options.budget)?;
    let mut printed = 0;
    let world = loop {
        let world = learning.frame(None)?;
        for line in &learning.log[printed..] {
            println!("{line}");
        }
        printed = learning.log.len();
        if let Some(world) = world {
            break world;
        }
    };
    let seed = options.settings.seed.wrapping_add(1 << 40);
    let starts: Vec<Start> = (0..options.starts as u64)
        .map(|i| {
            let keys = options.keys.as_deref().filter(|_| i == 0);
            Start::new(seed + i, options.steps, keys)
        })
        .collect();
    let comparison = compare(&learning.host, &learning.frames, &world, &starts)?;
    Ok(Dreamt {
        learning,
        world,
        comparison,
    })
}

/// Plays the dream of one start as a player does: in a texture of the host's, a part of a frame's
/// codes in each of the host's frames. Returns the frames, u8 [steps + 1, H, W, 3], and the times
/// of the host's frames that the dream took.
pub fn play(dreamt: &Dreamt, start: &Start, options: &Options) -> Result<(Vec<u8>, Vec<Duration>)> {
    let Dreamt {
        learning, world, ..
    } = dreamt;
    let (host, gpu) = (&learning.host, &learning.gpu);
    let mut play = Play::new(host, start.games[0].clone());
    let rgb = |play: &Play| -> Vec<u8> {
        let rgba = host.read(play.picture());
        rgba.chunks(4)
            .flat_map(|pixel| pixel[..3].to_vec())
            .collect()
    };
    let (mut film, mut times) = (rgb(&play), Vec::new());
    play.fall_asleep(host, gpu, world)?;
    for key in &start.keys {
        loop {
            let began = Instant::now();
            let is_done = play.dream(host, gpu, world, *key, options.budget)?;
            times.push(began.elapsed());
            if is_done {
                break;
            }
        }
        film.extend(rgb(&play));
    }
    Ok((film, times))
}

/// Writes the strip and the animation of the first start into a folder.
pub fn write_films(folder: &Path, comparison: &Comparison) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
    let (real, dreamt) = (&comparison.real[0], &comparison.dreamt[0]);
    film::strip(&folder.join("dream.png"), real, dreamt, 2, 3)?;
    film::animation(&folder.join("dream.gif"), real, dreamt, 6)
}

/// Prints what a run has come to, and returns whether the dream is nearer to the game than its
/// first frame is.
fn report(dreamt: &Dreamt, options: &Options) -> bool {
    let Dreamt {
        learning,
        world,
        comparison,
    } = dreamt;
    let (within, most) = learning.pacing();
    println!(
        "{} of the host's frames trained; {:.1} % of them within {:?}, 95 % within {most:.1?}",
        learning.trained.len(),
        100.0 * within,
        options.budget
    );
    println!("the prior has {} numbers", world.prior_parameters());
    println!(
        "{} dreams of {} steps, against the game:",
        comparison.real.len(),
        comparison.steps.len()
    );
    println!("  step   dreamt  held still  decoded   ball within a cell   paddle in its place");
    let row = |name: &str, e: &measure::Errors| {
        println!(
            "  {name:>4}  {:6.2} dB  {:6.2} dB  {:6.2} dB  {:>12.0} %  {:>18.0} %",
            psnr(e.dreamt),
            psnr(e.still),
            psnr(e.decoded),
            100.0 * e.ball,
            100.0 * e.paddle
        );
    };
    let steps = comparison.steps.len();
    for (i, errors) in comparison.steps.iter().enumerate() {
        if [1, 2, 5, 10, 15].contains(&(i + 1)) || i + 1 == steps {
            row(&(i + 1).to_string(), errors);
        }
    }
    row("all", &comparison.all);
    comparison.all.dreamt < comparison.all.still
}

#[allow(dead_code, reason = "a test includes this file for what it shows")]
fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    #[cfg(feature = "window")]
    if !options.headless {
        return window::run(options);
    }
    if !options.headless {
        println!("built without `--features window`: headless");
    }
    let began = Instant::now();
    let dreamt = headless(&options)?;
    let is_nearer = report(&dreamt, &options);
    write_films(&options.out, &dreamt.comparison)?;
    let start = Start::new(
        options.settings.seed.wrapping_add(1 << 40),
        options.steps,
        options.keys.as_deref(),
    );
    let (film, times) = play(&dreamt, &start, &options)?;
    let seconds = times.iter().map(Duration::as_secs_f64).sum::<f64>();
    println!(
        "played, a dreamt frame takes {:.0} ms, in {:.1} of the host's frames",
        1e3 * seconds / options.steps as f64,
        times.len() as f64 / options.steps as f64
    );
    println!(
        "{} and dream.gif written; {:.0} s in all",
        options.out.join("dream.png").display(),
        began.elapsed().as_secs_f64()
    );
    // What is played is what was measured.
    let frame = film.len() / (options.steps + 1);
    if film[frame..] != dreamt.comparison.dreamt[0][frame..] {
        return Err(Error::data(
            "the dream that was played is not the one measured",
        ));
    }
    if is_nearer {
        Ok(())
    } else {
        let what = "the dream is no nearer to the game than its first frame held still: train it \
                    for longer (--tokenizer-steps, --prior-steps)";
        Err(Error::data(what))
    }
}
