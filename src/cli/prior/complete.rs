//! `wgvq complete`: the rest of images of which a part is given.

use crate::cli::common::apart::{apart, model_of};
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::prior::sample::{class, load, tell_of_guidance, tell_of_texts};
use crate::cli::prior::sampling::{SamplingArgs, check_memory, sample};
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::PathBuf;
use wgvq::inference::{KnownCodes, SampleRequest};
use wgvq::models::Level;
use wgvq::report::grid::{Layout, Shape, images};
use wgvq::storage::atomic;
use wgvq::{Error, Result, data};

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq complete runs/fashion boot.png --keep top-half
  wgvq complete runs/fashion boot.png --keep left-half --class boot --n 15 --temperature 0.8 \\
      -o boots.png")]
pub struct Complete {
    /// The run, with a prior
    run: PathBuf,
    /// The image
    image: PathBuf,
    /// The part that is kept: top, bottom, left or right, and how much of it: half, third, quarter
    /// or a number from 0 to 1, as in top-half or left-0.3; of each level of codes, that share,
    /// rounded to whole rows or columns. Codes are drawn row by row, each from those before it, so
    /// that a part other than the top is kept but not looked ahead to
    #[arg(long, default_value = "top-half", value_name = "SIDE-SHARE")]
    keep: String,
    /// The image's class, by its name or a part of it
    #[arg(long)]
    class: Option<String>,
    /// Completions
    #[arg(long, default_value_t = 7)]
    n: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// The picture: the image, what is kept of it, and its completions
    #[arg(long, short, value_name = "PNG", default_value = "completions.png")]
    output: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
}

/// Returns which of the cells of a grid are kept, row by row.
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

/// Returns [`kept`] of each level: at least one must have something to draw. Says of which levels
/// nothing is kept.
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
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let options = self.sampling.options()?;
        if self.n == 0 || self.n > 4096 {
            return Err(Error::config(
                "--n",
                format!("{} completions: from 1 to 4096 can be drawn", self.n),
            ));
        }
        let _place = Place::file(global, &self.output, self.overwrite)?;
        apart([self.image.clone(), model_of(&self.run)], [&self.output])?;
        let gpu = global.gpu()?;
        let (model, priors) = load(&gpu, &self.run)?;
        let (info, [width, height, channels]) = (priors.info(), model.image());
        check_memory(&model, &priors, self.n)?;
        let class = self
            .class
            .as_deref()
            .map_or(Ok(info.vocabulary.no_class()), |name| class(info, name))?;
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
        tell_of_guidance(global, info, &[class], &options);
        tell_of_texts(global, info);
        let classes = vec![class; self.n];
        let request = SampleRequest {
            known: KnownCodes {
                codes: &codes.repeat(self.n),
                places: &places,
            },
            options,
            ..SampleRequest::new(&classes)
        };
        let Some(samples) = sample(global, &priors, &request)? else {
            return Ok(CommandStatus::Abandoned);
        };
        let mut pixels = original.clone();
        pixels.extend(covered(&original, [width, height, channels], &cells, grid));
        pixels.extend(model.decode(&samples.codes)?);
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
            let mean = samples
                .log_likelihood
                .iter()
                .map(|l| f64::from(*l))
                .sum::<f64>()
                / self.n as f64;
            let line = serde_json::json!({
                "picture": output::shown(&self.output), "completions": self.n,
                "log_likelihood": mean,
            });
            output::result(&line.to_string());
        } else {
            let picture = self.output.display();
            output::result(&format!(
                "picture: {picture} (the image, what is kept of it, and {} drawn)",
                self.n
            ));
        }
        Ok(CommandStatus::Done)
    }
}

/// Returns the image with a middle grey where nothing is kept.
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
    fn what_is_not_kept_is_covered() {
        let image: Vec<u8> = (0..4 * 4 * 3).collect();
        let out = covered(&image, [4, 4, 3], &[true, false, false, true], [2, 2]);
        assert_eq!(
            (out[0], out[2 * 3], out[(2 * 4 + 2) * 3 + 1]),
            (0, 128, image[(2 * 4 + 2) * 3 + 1])
        );
    }
}
