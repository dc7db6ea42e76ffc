//! A model in the layout of the Hugging Face Hub, with a card that says what it is.

use std::path::Path;
use wgvq::Result;
use wgvq::config::DottedConfig;
use wgvq::config::run::RunConfig;
use wgvq::data::NO_SOURCE;
use wgvq::files;
use wgvq::inference::FirstStageModel;
use wgvq::inference::bundle::last_part;
use wgvq::storage::checkpoint::{self, Checkpoint};
use wgvq::storage::metrics_log;
use wgvq::storage::run_parts::step_of_picture;

/// Version of config.json.
const FORMAT: u32 = 1;

/// The names of all files that [`hub_files`] may return.
pub const HUB_FILES: [&str; 5] = [
    "config.json",
    "model.safetensors",
    "README.md",
    "originals.png",
    "reconstructions.png",
];

/// The words of a card for each column of a measurement.
const MEASURED: [(&str, &str); 8] = [
    ("mse", "mean squared error, pixels in [0, 1]"),
    ("psnr", "PSNR, dB"),
    ("ssim", "SSIM"),
    ("lpips", "LPIPS"),
    ("edge_sharpness", "sharpness of edges, 1 is the originals'"),
    ("perplexity", "perplexity of the codes"),
    ("used", "codes used"),
    ("bits_per_pixel", "bits per pixel"),
];

/// Returns the files of a model by name. Where its images lay is no one's business, and left out,
/// as are the folders of other files that its training read.
pub fn hub_files(
    model: &FirstStageModel,
    run: &Path,
    name: &str,
) -> Result<Vec<(String, Vec<u8>)>> {
    let [width, height, channels] = model.image();
    let mut config: RunConfig = (**model.config()).clone();
    let data = last_part(&config.data.source);
    config.data.source = NO_SOURCE.into();
    config.data.test_files = last_part(&config.data.test_files);
    if !config.loss.lpips.is_empty() {
        config.loss.lpips = last_part(&config.loss.lpips);
    }
    let state = serde_json::json!({
        "config": config,
        "image": { "width": width, "height": height, "channels": channels },
    });
    let tensors = model.tensors()?;
    let parameters: usize = tensors
        .iter()
        .filter(|(name, _)| !name.starts_with("quantizer."))
        .map(|(_, t)| t.shape.iter().product::<usize>())
        .sum();
    let weights = checkpoint::to_bytes(&Checkpoint { tensors, state })?;
    let level = |level: &wgvq::models::Level| {
        serde_json::json!({
            "name": level.name, "grid": level.grid, "codebook_size": level.codebook_size,
            "codebooks": level.codebooks,
        })
    };
    let levels: Vec<_> = model.levels().iter().map(level).collect();
    let described = serde_json::json!({
        "model_type": format!("wgvq-{}", config.model.kind),
        "format": FORMAT,
        "wgvq_version": env!("CARGO_PKG_VERSION"),
        "image": { "width": width, "height": height, "channels": channels },
        "levels": levels,
        "config": config,
    });
    let mut all = vec![
        (
            "config.json".to_owned(),
            format!("{described:#}\n").into_bytes(),
        ),
        ("model.safetensors".to_owned(), weights),
    ];
    let pictures = pictures(run, config.train.steps)?;
    let card = card(
        model,
        &config,
        run,
        name,
        &data,
        parameters,
        !pictures.is_empty(),
    )?;
    all.push(("README.md".to_owned(), card.into_bytes()));
    all.extend(pictures);
    Ok(all)
}

/// The originals, and the last reconstructions that the run kept of them up to `step`: one that
/// went on and was stopped halfway has later ones, which the model did not make.
fn pictures(run: &Path, step: u64) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = run.join("pictures");
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    let at = |name: String| Some((step_of_picture(&name)?, name));
    let last = names.filter_map(at).filter(|(at, _)| *at <= step).max();
    let (Some((_, last)), true) = (last, folder.join("originals.png").is_file()) else {
        return Ok(Vec::new());
    };
    let read = |from: &str, to: &str| {
        let bytes = files::read(&folder.join(from), files::LIST)?;
        Ok((to.to_owned(), bytes))
    };
    ["originals.png", &last]
        .into_iter()
        .zip(["originals.png", "reconstructions.png"])
        .map(|(from, to)| read(from, to))
        .collect()
}

fn card(
    model: &FirstStageModel,
    config: &RunConfig,
    run: &Path,
    name: &str,
    data: &str,
    parameters: usize,
    pictured: bool,
) -> Result<String> {
    let [width, height, channels] = model.image();
    let (kind, quantizer) = (config.model.kind, &config.quantizer.kind);
    let of_level = |l: &wgvq::models::Level| {
        let [rows, columns] = l.grid;
        let books = match l.codebooks {
            1 => String::new(),
            n => format!(", {n} to a place"),
        };
        let name = match l.name.as_str() {
            "" => String::new(),
            name => format!("{name}: "),
        };
        format!(
            "{name}{rows} x {columns} codes of {}{books}",
            l.codebook_size
        )
    };
    let levels: Vec<String> = model.levels().iter().map(of_level).collect();
    let mut card = format!(
        "---\nlibrary_name: wgvq\ntags:\n- image-tokenizer\n- vq-vae\n- {kind}\n---\n\n# {name}\n\n\
         An image tokenizer that [wgvq](https://crates.io/crates/wgvq) trained: images of \
         {width} x {height} pixels and {channels} channels to {}, and back.\n\n\
         | | |\n| --- | --- |\n| model | {kind}, {parameters} parameters |\n\
         | quantizer | {quantizer} |\n| trained on | {data} |\n| steps | {} |\n",
        levels.join("; "),
        config.train.steps
    );
    let tests = run.join("test.csv");
    let columns = match tests.is_file() {
        true => metrics_log::columns(&tests)?,
        false => Vec::new(),
    };
    // A run that went on and was stopped halfway has measurements of other weights below these.
    let steps = metrics_log::column(&columns, "step");
    let row = steps.iter().rposition(|s| *s == config.train.steps as f64);
    let rows: Vec<String> = MEASURED
        .iter()
        .filter_map(|(column, said)| {
            let values = metrics_log::column(&columns, column);
            let value = values.get(row?).filter(|v| v.is_finite())?;
            Some(format!("| {said} | {value} |\n"))
        })
        .collect();
    if !rows.is_empty() {
        card += "\n## Measured on images held out\n\n| | |\n| --- | --- |\n";
        card += &rows.concat();
    }
    if pictured {
        card += "\nImages held out, and their reconstructions:\n\n\
                 ![images held out](originals.png)\n\n![reconstructions](reconstructions.png)\n";
    }
    card += "\n## Use\n\n```sh\nwgvq encode model.safetensors image.png -o codes.safetensors\n\
             wgvq decode model.safetensors codes.safetensors -o decoded\n```\n\n\
             ```rust\nlet model = wgvq::inference::FirstStageModel::load(&gpu, \
             \"model.safetensors\".as_ref())?;\nlet codes = model.encode(&pixels)?;\n\
             let images = model.decode(&codes)?;\n```\n\n\
             The weights stand under PyTorch's names and layouts, and `config.json` has the \
             configuration:\n\n```toml\n";
    card += config.to_toml()?.trim_end();
    card += "\n```\n";
    Ok(card)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_picture_is_that_of_the_model() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join("pictures");
        std::fs::create_dir(&folder).unwrap();
        for step in ["00000005", "99999999", "100000000", "100000001"] {
            std::fs::write(folder.join(format!("step-{step}.png")), step).unwrap();
        }
        assert!(pictures(run.path(), 7).unwrap().is_empty(), "no originals");
        std::fs::write(folder.join("originals.png"), "originals").unwrap();
        for (steps, want) in [(7, "00000005"), (100_000_000, "100000000")] {
            let files = pictures(run.path(), steps).unwrap();
            assert_eq!(files[0].1, b"originals");
            assert_eq!(files[1].1, want.as_bytes());
        }
    }
}
