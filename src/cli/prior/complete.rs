//! `wgvq complete`: the rest of images of which a part is given.

use crate::cli::common::apart::{apart, model_of};
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::prior::sample::{load, tell_of_guidance, tell_of_texts};
use crate::cli::prior::sampling::{Passes, SamplingArgs, check_memory, sample};
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::PathBuf;
use wgvq::inference::{
    Hierarchy, KnownCodes, PriorModel, SampleRequest, cells_under_mask, kept_cells, places_of_cells,
};
use wgvq::models::Level;
use wgvq::models::prior::{Kind, Order};
use wgvq::report::grid::{Layout, Shape, images};
use wgvq::storage::atomic;
use wgvq::{Error, Result, data};

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq complete runs/fashion boot.png --keep top-half
  wgvq complete runs/fashion boot.png --mask hole.png
  wgvq complete runs/fashion boot.png --keep left-half --class boot --n 15 --temperature 0.8 \\
      -o boots.png")]
pub struct Complete {
    /// The run, with a prior, or a name that `wgvq get` lists
    pub run: PathBuf,
    /// The image
    image: PathBuf,
    /// The part that is kept: top, bottom, left or right, and how much of it: half, third, quarter
    /// or a number from 0 to 1, as in top-half or left-0.3; of each level of codes, that share,
    /// rounded to whole rows or columns. A prior of `prior.order = "any"`, and a masked one, sees
    /// all that is kept; others draw codes row by row, each from those before it, so that a part
    /// other than the top is kept but not looked ahead to
    #[arg(long, default_value = "top-half", value_name = "SIDE-SHARE")]
    keep: String,
    /// An image of what is drawn, in white, and what is kept, in black, in place of --keep; scaled
    /// and cut as the image is. A code is drawn where any of its pixels is white
    #[arg(long, value_name = "FILE", conflicts_with = "keep")]
    mask: Option<PathBuf>,
    /// Class name of the image, or part of it
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

/// Says of which levels nothing is kept, of the cells that `keep` keeps.
fn tell_of_drawn(global: &Global, keep: &str, levels: &[Level], all: &[Vec<bool>]) {
    for (level, _) in levels
        .iter()
        .zip(all)
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
}

/// Says that what is drawn does not see all that is kept, where that is so: the priors draw row by
/// row, and something is kept behind what is drawn.
fn tell_of_order(global: &Global, priors: &Hierarchy, kept: &[Vec<bool>]) {
    let blind = |(prior, kept): (&PriorModel, &Vec<bool>)| {
        let drawn = kept.iter().position(|kept| !kept);
        let behind = drawn.is_some_and(|first| kept[first..].contains(&true));
        let shape = prior.prior().shape();
        behind && shape.order != Order::Any && shape.kind != Kind::Masked
    };
    if priors.levels().iter().zip(kept).any(blind) {
        output::note(
            global,
            "this prior draws row by row and does not see what is kept behind; one trained with \
             `--set prior.order=any` or `--set prior.kind=masked` does",
        );
    }
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
        let read = [self.image.clone(), model_of(&self.run)];
        apart(read.into_iter().chain(self.mask.clone()), [&self.output])?;
        let gpu = global.gpu()?;
        let (model, priors) = load(&gpu, &self.run)?;
        let (info, [width, height, channels]) = (priors.info(), model.image());
        if info.vocabulary.scales.is_some() {
            let what = "a next-scale prior draws whole images, and completes none";
            return Err(Error::config("prior.kind", what));
        }
        check_memory(&model, &priors, self.n)?;
        let class = self
            .class
            .as_deref()
            .map_or(Ok(info.vocabulary.no_class()), |name| {
                info.class_named("--class", name)
            })?;
        let original = data::load_image(&self.image, width, height, channels)?;
        let codes = model.encode(&original)?;
        let levels = model.levels();
        let kept = match &self.mask {
            Some(mask) => {
                let (pixels, size) = data::load_mask(mask, width, height)?;
                cells_under_mask("--mask", &pixels, size, levels)?
            }
            None => kept_cells("--keep", &self.keep, levels)?,
        };
        let shown = match &self.mask {
            Some(mask) => mask.display().to_string(),
            None => self.keep.clone(),
        };
        tell_of_drawn(global, &shown, levels, &kept);
        tell_of_order(global, &priors, &kept);
        let places = places_of_cells(model.levels(), &kept);
        // The finest level's, which are the last, cover the picture.
        let grid = model.levels().last().map_or([1, 1], |level| level.grid);
        let cells = kept.last().cloned().unwrap_or_default();
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
                "log_likelihood": mean, "passes": Passes::of(&samples).json(),
            });
            json::print("complete", &line);
        } else {
            let picture = self.output.display();
            output::result(&format!(
                "picture: {picture} (the image, what is kept of it, and {} drawn)",
                self.n
            ));
            output::note(global, &Passes::of(&samples).to_string());
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
    fn what_is_not_kept_is_covered() {
        let image: Vec<u8> = (0..4 * 4 * 3).collect();
        let out = covered(&image, [4, 4, 3], &[true, false, false, true], [2, 2]);
        assert_eq!(
            (out[0], out[2 * 3], out[(2 * 4 + 2) * 3 + 1]),
            (0, 128, image[(2 * 4 + 2) * 3 + 1])
        );
    }
}
