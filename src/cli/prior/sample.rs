//! `wgvq sample` and `wgvq complete`: new images, and the rest of images of which a part is given.

use crate::cli::common::apart::{apart, model_of};
use crate::cli::common::images::png;
use crate::cli::common::made::{SAMPLES, made_before};
use crate::cli::common::output;
use crate::cli::common::output::Bar;
use crate::cli::common::place::Place;
use crate::cli::common::signals::stop_flag;
use crate::cli::{Ended, Global};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use wgvq::codes::tokens::About;
use wgvq::gpu::Gpu;
use wgvq::inference::{Asked, Draw, Drawing, Given, Priors, Trained};
use wgvq::models::Level;
use wgvq::ops::sampling::sample::Sampling;
use wgvq::report::grid::{Layout, Shape, images};
use wgvq::storage::atomic;
use wgvq::{Error, Result, data, memory};

/// How codes are drawn.
#[derive(Args)]
pub struct How {
    /// Logits are divided by it: below 1 likelier, above 1 more various; 0 takes the likeliest
    /// code
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    temperature: f32,
    /// Draw from this many of the likeliest codes
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw from the fewest likeliest codes whose probabilities sum to this, in (0, 1]
    #[arg(
        long,
        value_name = "P",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    top_p: f32,
    /// Draw from codes of at least this share of the likeliest one's probability
    #[arg(
        long,
        value_name = "P",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    min_p: f32,
    /// Penalty on codes that an image has already: 1 is none, `inf` lets none come twice; with
    /// --temperature 0 it keeps the likeliest code from being drawn over and over
    #[arg(
        long,
        value_name = "THETA",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    repetition_penalty: f32,
    /// Classifier-free guidance: above 1 more of the class, and less various
    #[arg(long, value_name = "G", allow_negative_numbers = true)]
    guidance: Option<f32>,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Images drawn at a time; changes memory and time, and no image
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Compute everything again for each code, as a check or for comparison
    #[arg(long)]
    no_cache: bool,
}

impl How {
    pub fn draw(&self) -> Result<Draw> {
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            // A guidance of 1 is the conditional distribution itself, at half the cost.
            guidance: self.guidance.filter(|g| *g != 1.0),
        };
        let draw = Draw {
            sampling,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            batch: self.batch,
            cache: !self.no_cache,
        };
        match draw.fault() {
            Some((field, what)) => Err(Error::config(
                format!("--{}", field.replace('_', "-")),
                what,
            )),
            None => Ok(draw),
        }
    }
}

#[derive(Args)]
#[command(
    after_long_help = "Examples:\n  wgvq sample runs/fashion --n 64\n  wgvq sample runs/fashion \
                       --class boot --n 64 --temperature 0.9 --top-k 100 --top-p 0.95 --guidance \
                       2 --seed 7 --out boots"
)]
pub struct Sample {
    /// The run, with a prior
    run: PathBuf,
    /// A class, by its name or a part of it; several take turns; all, where none is named. `none`
    /// draws without a class, and so does `unconditional` where a class is called none
    #[arg(long)]
    class: Vec<String>,
    /// Images
    #[arg(long, default_value_t = 64)]
    n: usize,
    #[command(flatten)]
    how: How,
    /// The folder: grid.png, and a PNG for each image
    #[arg(long, default_value = "samples")]
    out: PathBuf,
    /// Replace the samples that the folder holds
    #[arg(long)]
    overwrite: bool,
}

#[derive(Args)]
#[command(
    after_long_help = "Examples:\n  wgvq complete runs/fashion boot.png --keep top-half\n  wgvq \
                       complete runs/fashion boot.png --keep left-half --class boot --n 15 \
                       --temperature 0.8 -o boots.png"
)]
pub struct Complete {
    /// The run, with a prior
    run: PathBuf,
    /// The image
    image: PathBuf,
    /// What is kept: top, bottom, left or right, and how much of it: half, third, quarter or a
    /// number from 0 to 1, as in top-half or left-0.3; of each level of codes, that share, rounded
    /// to whole rows or columns. Codes are drawn row by row, each from those before it, so that a
    /// part other than the top is kept but not looked ahead to
    #[arg(long, default_value = "top-half", value_name = "SIDE-SHARE")]
    keep: String,
    /// The image's class, by its name or a part of it
    #[arg(long)]
    class: Option<String>,
    /// Completions
    #[arg(long, default_value_t = 7)]
    n: usize,
    #[command(flatten)]
    how: How,
    /// The picture: the image, what is kept of it, and its completions
    #[arg(long, short, value_name = "PNG", default_value = "completions.png")]
    output: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
}

/// A class's name as part of a file's: `Ankle boot` is `ankle-boot`. Characters of all scripts
/// stay, and pictographs; only what stands between words, what some file system forbids and what
/// cannot be seen does not.
pub fn slug(name: &str) -> String {
    let invisible = |c: char| matches!(c, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let between = |c: char| match c.is_ascii() {
        true => !c.is_ascii_alphanumeric(),
        false => c.is_whitespace() || c.is_control() || invisible(c),
    };
    let words = name.split(between).filter(|w| !w.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

/// Names of no class, beside classes that are called so.
const NO_CLASS: [&str; 2] = ["none", "unconditional"];

/// The class of that name: just it, the whole of it in whatever case, or a part that no other has.
/// A class that is called as no class is goes before it.
fn class(about: &About, name: &str) -> Result<u32> {
    let names = &about.classes;
    if let Some(exact) = names.iter().position(|n| n == name) {
        return Ok(exact as u32);
    }
    let asked = name.to_lowercase();
    if NO_CLASS.contains(&&*asked) && !names.iter().any(|n| n.to_lowercase() == asked) {
        return Ok(about.vocabulary.no_class());
    }
    if names.is_empty() {
        return Err(Error::config(
            "--class",
            format!("`{name}` was asked for, but the pictures had no classes"),
        ));
    }
    let matching = |f: &dyn Fn(&str) -> bool| -> Vec<u32> {
        (0..names.len() as u32)
            .filter(|i| f(&names[*i as usize].to_lowercase()))
            .collect()
    };
    let whole = matching(&|n| n == asked || slug(n) == asked);
    let part = matching(&|n| n.contains(&asked));
    match (&whole[..], &part[..]) {
        ([one], _) | ([], [one]) => Ok(*one),
        ([], []) => Err(Error::config(
            "--class",
            format!("there is no class `{name}`; there are {}", names.join(", ")),
        )),
        (_, several) => {
            let several: Vec<&str> = several
                .iter()
                .map(|i| names[*i as usize].as_str())
                .collect();
            Err(Error::config(
                "--class",
                format!("`{name}` may be {}: say which", several.join(", ")),
            ))
        }
    }
}

/// Both stages of a run.
fn load(gpu: &Gpu, run: &Path) -> Result<(Trained, Priors)> {
    let model = Trained::load(gpu, run)?;
    let priors = Priors::load(gpu, run, &model)?;
    Ok((model, priors))
}

/// Holds what drawing `n` images takes of the host's memory against what there is: their codes,
/// their pixels, and the grid of them.
pub fn room(model: &Trained, priors: &Priors, n: usize) -> Result<()> {
    let [width, height, channels] = model.image();
    let codes = memory::product(&[n, priors.codes_per_image(), 8]);
    let pixels = memory::product(&[n, width, height, channels, 3]);
    let asked = codes.and_then(|codes| codes.checked_add(pixels?));
    memory::hold(
        format!("--n: {n} images of {width} x {height} x {channels}"),
        asked,
    )
}

/// Draws with a progress bar. `None` if the user stopped it.
pub fn draw(
    global: &Global,
    priors: &Priors,
    asked: Asked,
    given: Option<Given>,
    how: &Draw,
) -> Result<Option<Drawing>> {
    let (mut bar, stop) = (Bar::new(global, "codes"), stop_flag());
    let drawing = priors.draw(asked, given, how, &mut |done, all| {
        bar.show(done, all);
        if stop.load(Ordering::Relaxed) {
            Err(Error::data("interrupted"))
        } else {
            Ok(())
        }
    });
    bar.finish();
    if stop.load(Ordering::Relaxed) {
        output::note(global, "stopped: nothing was written");
        return Ok(None);
    }
    drawing.map(Some)
}

impl Sample {
    pub fn run(&self, global: &Global) -> Result<Ended> {
        let how = self.how.draw()?;
        if self.n == 0 || self.n > 1 << 20 {
            return Err(Error::config(
                "--n",
                format!("{} images: from 1 to 2^20 can be drawn", self.n),
            ));
        }
        let place = Place::folder(global, &self.out)?;
        let gpu = global.gpu()?;
        let (mut model, priors) = load(&gpu, &self.run)?;
        let about = priors.about();
        room(&model, &priors, self.n)?;
        let asked: Vec<u32> = match (&self.class[..], about.vocabulary.classes) {
            ([], 0) => vec![about.vocabulary.no_class()],
            ([], classes) => (0..classes as u32).collect(),
            (names, _) => names
                .iter()
                .map(|name| class(about, name))
                .collect::<Result<_>>()?,
        };
        let classes: Vec<u32> = asked.iter().copied().cycle().take(self.n).collect();
        let words = |class: u32| {
            about
                .classes
                .get(class as usize)
                .map(|name| slug(name))
                .unwrap_or_default()
        };
        let names: Vec<String> = (classes.iter().enumerate())
            .map(
                |(i, class)| match words(*class).chars().take(NAMED).collect::<String>() {
                    words if words.is_empty() => format!("{i:04}.png"),
                    words => format!("{i:04}-{words}.png"),
                },
            )
            .collect();
        place.holds_none(
            names.iter().map(String::as_str).chain([GRID, SAMPLES]),
            self.overwrite,
        )?;
        tell_of_guidance(global, about, &classes, &how);
        tell_of_texts(global, about);
        let began = std::time::Instant::now();
        let Some(drawing) = draw(global, &priors, (&classes).into(), None, &how)? else {
            return Ok(Ended::Abandoned);
        };
        let seconds = began.elapsed().as_secs_f64();
        let pixels = model.decode(&drawing.codes)?;
        let [width, height, channels] = model.image();
        let shape = Shape {
            width,
            height,
            channels,
        };
        let staged = place.staged()?;
        // What is listed is what the next sampling may remove.
        let list = serde_json::json!({ "run": output::shown(&self.run), "model": about.model, "seed": how.seed, "images": names });
        let list = serde_json::to_string_pretty(&list).map_err(Error::data)?;
        atomic::write(&staged.path().join(SAMPLES), (list + "\n").as_bytes())?;
        for (image, name) in pixels.chunks(width * height * channels).zip(&names) {
            atomic::write(
                &staged.path().join(name),
                &png(image, width, height, channels)?,
            )?;
        }
        let grid = self.out.join(GRID);
        // A row of the grid has each class once, where there are so many that this is a row.
        let columns = if (5..=16).contains(&asked.len()) {
            asked.len()
        } else {
            0
        };
        let picture = images(
            &pixels,
            shape,
            Layout {
                columns,
                ..Default::default()
            },
        )?
        .png()?;
        atomic::write(&staged.path().join(GRID), &picture)?;
        staged.put(&made_before(&self.out, SAMPLES))?;
        let codes = classes.len() * priors.codes_per_image();
        if global.json {
            let mean = drawing
                .log_likelihood
                .iter()
                .map(|l| f64::from(*l))
                .sum::<f64>()
                / codes as f64;
            let line = serde_json::json!({
                "out": output::shown(&self.out), "images": self.n, "codes": codes, "seconds": seconds, "codes_per_second": codes as f64 / seconds,
                "log_likelihood_per_code": mean, "grid": output::shown(&grid),
            });
            output::result(&line.to_string());
        } else {
            output::result(&format!("{}: {} images", self.out.display(), self.n));
            output::result(&format!("grid: {}", grid.display()));
            output::note(
                global,
                &format!(
                    "{codes} codes in {seconds:.1} s, {:.0} per second",
                    codes as f64 / seconds
                ),
            );
        }
        Ok(Ended::Done)
    }
}

pub const GRID: &str = "grid.png";
/// Characters of a class's name in the names of its images: at most 240 bytes of the 255 that file
/// systems allow.
const NAMED: usize = 60;
/// Guidance away from no class, without a class, goes nowhere.
fn tell_of_guidance(global: &Global, about: &About, classes: &[u32], how: &Draw) {
    let none = about.vocabulary.no_class();
    if how.sampling.guidance.is_some() && classes.iter().all(|class| *class == none) {
        output::note(
            global,
            "--guidance changes nothing where no class is asked for",
        );
    }
}

/// What a prior that reads texts draws without one.
fn tell_of_texts(global: &Global, about: &About) {
    if about.vocabulary.text.is_some() {
        output::note(
            global,
            "this prior reads texts and is told nothing here; `wgvq text2image sample` draws of a \
             text",
        );
    }
}

/// Which of the cells of a grid are kept, row by row.
fn kept(keep: &str, [rows, columns]: [usize; 2]) -> Result<Vec<bool>> {
    let wrong = || {
        let what = "is top, bottom, left or right, and how much: half, third, quarter or a number \
                    from 0 to 1, as in top-half or left-0.3";
        Error::config("--keep", format!("`{keep}` {what}"))
    };
    let (side, share) = keep.split_once('-').ok_or_else(wrong)?;
    let share = match share {
        "half" => 0.5,
        "third" => 1.0 / 3.0,
        "quarter" => 0.25,
        number => number
            .parse::<f64>()
            .ok()
            .filter(|s| (0.0..=1.0).contains(s))
            .ok_or_else(wrong)?,
    };
    // Rounded to whole cells; but a part that is not all of the picture leaves a row or a column to
    // draw, on a coarse grid too.
    let of = |n: usize| match (share * n as f64).round() as usize {
        all if all == n && share < 1.0 => n - 1,
        some => some,
    };
    let cell: Box<dyn Fn(usize, usize) -> bool> = match side {
        "top" => Box::new(|row, _| row < of(rows)),
        "bottom" => Box::new(|row, _| row >= rows - of(rows)),
        "left" => Box::new(|_, column| column < of(columns)),
        "right" => Box::new(|_, column| column >= columns - of(columns)),
        _ => return Err(wrong()),
    };
    Ok((0..rows * columns)
        .map(|i| cell(i / columns, i % columns))
        .collect())
}

/// [`kept`] of each level: at least one must have something to draw. What a level keeps nothing of
/// is told.
fn kept_of_levels(global: &Global, keep: &str, levels: &[Level]) -> Result<Vec<Vec<bool>>> {
    let all = levels
        .iter()
        .map(|level| kept(keep, level.grid))
        .collect::<Result<Vec<_>>>()?;
    if all.iter().flatten().all(|kept| *kept) {
        let what = format!("`{keep}` keeps all codes of the image: nothing is left to complete");
        return Err(Error::config("--keep", what));
    }
    for (level, _) in levels
        .iter()
        .zip(&all)
        .filter(|(_, cells)| cells.iter().all(|kept| !*kept))
    {
        let [rows, columns] = level.grid;
        let which = if level.name.is_empty() {
            String::new()
        } else {
            format!("of level {}, ", level.name)
        };
        let what =
            format!("{which}`{keep}` keeps none of the {rows} x {columns} codes: all are drawn");
        output::note(global, &what);
    }
    Ok(all)
}

impl Complete {
    pub fn run(&self, global: &Global) -> Result<Ended> {
        let how = self.how.draw()?;
        if self.n == 0 || self.n > 4096 {
            return Err(Error::config(
                "--n",
                format!("{} completions: from 1 to 4096 can be drawn", self.n),
            ));
        }
        let _place = Place::file(global, &self.output, self.overwrite)?;
        apart([self.image.clone(), model_of(&self.run)], [&self.output])?;
        let gpu = global.gpu()?;
        let (mut model, priors) = load(&gpu, &self.run)?;
        let (about, [width, height, channels]) = (priors.about(), model.image());
        room(&model, &priors, self.n)?;
        let class = self
            .class
            .as_deref()
            .map_or(Ok(about.vocabulary.no_class()), |name| class(about, name))?;
        let original = data::load_image(&self.image, width, height, channels)?;
        let codes = model.encode(&original)?;
        let mut places = Vec::new();
        // The finest level's, which are the last, cover the picture.
        let (mut cells, mut grid) = (Vec::new(), [1, 1]);
        for (level, own) in
            model
                .levels()
                .iter()
                .zip(kept_of_levels(global, &self.keep, model.levels())?)
        {
            (cells, grid) = (own, level.grid);
            places.extend(
                cells
                    .iter()
                    .flat_map(|kept| std::iter::repeat_n(*kept, level.codebooks)),
            );
        }
        tell_of_guidance(global, about, &[class], &how);
        tell_of_texts(global, priors.about());
        let given = Given {
            codes: &codes.repeat(self.n),
            places: &places,
        };
        let Some(drawing) = draw(
            global,
            &priors,
            (&vec![class; self.n]).into(),
            Some(given),
            &how,
        )?
        else {
            return Ok(Ended::Abandoned);
        };
        let mut pixels = original.clone();
        pixels.extend(covered(&original, [width, height, channels], &cells, grid));
        pixels.extend(model.decode(&drawing.codes)?);
        let shape = Shape {
            width,
            height,
            channels,
        };
        let layout = Layout {
            columns: (self.n + 2).min(8),
            ..Default::default()
        };
        atomic::write(&self.output, &images(&pixels, shape, layout)?.png()?)?;
        if global.json {
            let mean = drawing
                .log_likelihood
                .iter()
                .map(|l| f64::from(*l))
                .sum::<f64>()
                / self.n as f64;
            let line = serde_json::json!({ "picture": output::shown(&self.output), "completions": self.n, "log_likelihood": mean });
            output::result(&line.to_string());
        } else {
            let picture = self.output.display();
            output::result(&format!(
                "picture: {picture} (the image, what is kept of it, and {} drawn)",
                self.n
            ));
        }
        Ok(Ended::Done)
    }
}

/// The image with a middle grey where nothing is kept.
fn covered(
    image: &[u8],
    [width, height, channels]: [usize; 3],
    cells: &[bool],
    [rows, columns]: [usize; 2],
) -> Vec<u8> {
    let kept = |i: usize| {
        let (x, y) = (i / channels % width, i / channels / width);
        cells[y * rows / height * columns + x * columns / width]
    };
    image
        .iter()
        .enumerate()
        .map(|(i, v)| if kept(i) { *v } else { 128 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_kept_by_side_and_share() {
        let count =
            |keep: &str| kept(keep, [7, 6]).map(|cells| cells.iter().filter(|c| **c).count());
        assert_eq!(count("top-half").unwrap(), 4 * 6);
        assert_eq!(count("top-1").unwrap(), 7 * 6);
        assert_eq!(count("left-third").unwrap(), 7 * 2);
        assert_eq!(count("bottom-0.3").unwrap(), 2 * 6);
        assert_eq!(count("right-0").unwrap(), 0);
        assert!(kept("left-half", [2, 4]).unwrap()[..4] == [true, true, false, false]);
        assert!(kept("bottom-half", [2, 2]).unwrap() == [false, false, true, true]);
        for bad in ["top", "middle-half", "top-2", "top-nan", "half-top", ""] {
            assert!(
                count(bad).unwrap_err().to_string().contains("--keep"),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_share_below_all_leaves_something_of_each_grid() {
        let count = |keep: &str, grid| kept(keep, grid).unwrap().iter().filter(|c| **c).count();
        for (keep, fine, coarse) in [
            ("top-0.9", 3 * 4, 2),
            ("left-0.2", 4, 0),
            ("bottom-0.5", 2 * 4, 2),
            ("right-1", 16, 4),
        ] {
            assert_eq!(
                (count(keep, [4, 4]), count(keep, [2, 2])),
                (fine, coarse),
                "{keep}"
            );
        }
        // One row cannot be shared out: it is drawn.
        assert_eq!(
            (count("top-0.9", [1, 4]), count("left-0.9", [1, 4])),
            (0, 3)
        );
    }

    #[test]
    fn names_make_files() {
        assert_eq!(slug("T-shirt/top"), "t-shirt-top");
        assert_eq!(slug("Ankle boot"), "ankle-boot");
        assert_eq!(slug("../x"), "x");
        assert_eq!(slug("Красный  Круг?"), "красный-круг");
        assert_eq!(slug("红色的 心/星"), "红色的-心-星");
        assert_eq!(
            slug("\u{feff}\u{2764}\u{fe0f} \u{202e}हिन्दी"),
            "\u{2764}\u{fe0f}-हिन्दी"
        );
        assert_eq!(slug("?!"), "");
    }

    #[test]
    fn what_is_not_kept_is_covered() {
        let image: Vec<u8> = (0..4 * 4 * 3).collect();
        let out = covered(&image, [4, 4, 3], &[true, false, false, true], [2, 2]);
        assert_eq!(
            (out[0], out[2 * 3], out[(2 * 4 + 2) * 3 + 1]),
            (0, 128, image[(2 * 4 + 2) * 3 + 1])
        );
    }
}
