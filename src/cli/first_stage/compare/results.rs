//! Results of runs, as tables: of this comparison, and of a reference.

use super::Entry;
use crate::cli::common::images::png;
use std::path::Path;
use wgvq::data::ImageSet;
use wgvq::report::comparison::RunResult;
use wgvq::storage::table::{measured, rows};
use wgvq::storage::{metrics_log, table};
use wgvq::{Error, Result, files};

/// Reads the results of a finished run.
pub(super) fn read(entry: &Entry, pace: &Path) -> Result<RunResult> {
    let path = entry.folder.join("test.csv");
    let columns = metrics_log::columns(&path)?;
    let column = |name: &str| -> Result<&Vec<f64>> {
        let found = columns.iter().find(|(n, _)| n == name).map(|(_, v)| v);
        found.ok_or_else(|| Error::file(&path, format!("has no column `{name}`")))
    };
    let last = |name: &str| -> Result<f64> {
        column(name)?
            .last()
            .copied()
            .ok_or_else(|| Error::file(&path, "holds no measurement"))
    };
    let about = files::read(pace, files::TEXT)?;
    let about: serde_json::Value = serde_json::from_slice(&about)
        .map_err(|e| Error::file(pace, format!("is damaged: {e}")))?;
    let curve = |name: &str| -> Result<Vec<(f64, f64)>> {
        Ok(column("step")?
            .iter()
            .copied()
            .zip(column(name)?.iter().copied())
            .collect())
    };
    Ok(RunResult {
        name: entry.name.clone(),
        codes: about["codes"].as_u64().unwrap_or(0) as usize,
        mse: last("mse")?,
        psnr: last("psnr")?,
        ssim: last("ssim")?,
        perplexity: last("perplexity")?,
        used: last("used")?,
        bits_per_pixel: last("bits_per_pixel")?,
        ms_per_step: about["ms_per_step"].as_f64().unwrap_or(f64::NAN),
        mse_curve: curve("mse")?,
        perplexity_curve: curve("perplexity")?,
    })
}

/// The columns of a file of curves, one row to a measurement.
const CURVES: &str = "quantizer,seed,step,mse,psnr,perplexity,used,codes";

/// The runs' curves in the columns that `--reference` reads, so that they can be held against later
/// ones.
pub(super) fn curves(entries: &[Entry]) -> Result<String> {
    let mut rows: Vec<Vec<String>> = vec![names(CURVES)];
    for entry in entries {
        let columns = metrics_log::columns(&entry.folder.join("test.csv"))?;
        let codes = read(entry, &entry.folder.join("pace.json"))?.codes;
        let at = |name: &str, i: usize| {
            let column = columns.iter().find(|(n, _)| n == name).map(|(_, v)| v);
            column.and_then(|v| v.get(i)).copied().unwrap_or(f64::NAN)
        };
        for i in 0..columns.first().map_or(0, |(_, v)| v.len()) {
            rows.push(vec![
                entry.name.clone(),
                entry.config.train.seed.to_string(),
                at("step", i).to_string(),
                format!("{:.6e}", at("mse", i)),
                format!("{:.3}", at("psnr", i)),
                format!("{:.2}", at("perplexity", i)),
                at("used", i).to_string(),
                codes.to_string(),
            ]);
        }
    }
    Ok(table::csv(rows))
}

/// The names of columns.
fn names(header: &str) -> Vec<String> {
    header.split(',').map(str::to_owned).collect()
}

/// Reads another program's curves: rows of [`CURVES`].
pub(super) fn read_beside(path: &Path) -> Result<Vec<RunResult>> {
    let text = files::read_text(path, files::LIST)?;
    let header = CURVES;
    let mut rows = rows(&text).into_iter().map(|(line, row)| {
        let fields = row.iter().map(|field| field.trim().to_owned());
        (line, fields.collect::<Vec<_>>())
    });
    if rows.next().map(|(_, row)| row) != Some(names(header)) {
        return Err(Error::file(
            path,
            format!("does not begin with the columns {header}"),
        ));
    }
    let mut all: Vec<(String, RunResult)> = Vec::new();
    for (line, fields) in rows.filter(|(_, row)| row.iter().any(|field| !field.is_empty())) {
        let values: Vec<f64> = fields
            .iter()
            .skip(1)
            .filter_map(|v| v.parse().ok())
            .collect();
        let ([name, seed, ..], [_, step, mse, psnr, perplexity, used, codes]) =
            (&fields[..], &values[..])
        else {
            return Err(Error::file(
                path,
                format!("line {line} does not have the columns {header}"),
            ));
        };
        let run = format!("{name} {seed}");
        if all.iter().all(|(r, _)| *r != run) {
            let none = f64::NAN;
            let empty = RunResult {
                name: name.to_string(),
                codes: *codes as usize,
                mse: none,
                psnr: none,
                ssim: none,
                perplexity: none,
                used: none,
                bits_per_pixel: none,
                ms_per_step: none,
                mse_curve: Vec::new(),
                perplexity_curve: Vec::new(),
            };
            all.push((run.clone(), empty));
        }
        if let Some((_, r)) = all.iter_mut().find(|(r, _)| *r == run) {
            (r.mse, r.psnr, r.perplexity, r.used) = (*mse, *psnr, *perplexity, *used);
            r.mse_curve.push((*step, *mse));
            r.perplexity_curve.push((*step, *perplexity));
        }
    }
    Ok(all.into_iter().map(|(_, r)| r).collect())
}

pub(super) fn csv(reached: &[RunResult]) -> String {
    let header = "quantizer,codes,mse,psnr,ssim,perplexity,used,bits_per_pixel,ms_per_step";
    let row = |r: &RunResult| {
        let numbers = [
            format!("{:.6e}", r.mse),
            format!("{:.3}", r.psnr),
            format!("{:.4}", r.ssim),
            format!("{:.2}", r.perplexity),
            r.used.to_string(),
            format!("{:.5}", r.bits_per_pixel),
            format!("{:.2}", r.ms_per_step),
        ];
        let mut row = vec![r.name.clone(), r.codes.to_string()];
        row.extend(numbers.map(measured));
        row
    };
    table::csv(std::iter::once(names(header)).chain(reached.iter().map(row)))
}

/// Bits per pixel of the first thousand test images as PNG.
pub(super) fn png_bits(data: &ImageSet) -> Result<f64> {
    let (mut bytes, mut pixels) = (0, 0);
    for i in data.test.iter().take(1000) {
        bytes += png(
            &data.image(*i as usize)?,
            data.width,
            data.height,
            data.channels,
        )?
        .len();
        pixels += data.width * data.height;
    }
    Ok(8.0 * bytes as f64 / pixels.max(1) as f64)
}
