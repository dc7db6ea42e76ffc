//! Files of codes of images that each have their own size.

use super::{Codes, indices_of};
use crate::models::Level;
use crate::storage::checkpoint;
use crate::storage::checkpoint::Checkpoint;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The entry of one image in a file.
#[derive(Serialize, Deserialize)]
struct Image {
    name: String,
    /// Width, height and channels.
    image: [usize; 3],
    levels: Vec<Level>,
}

/// Writes the codes of images that each have their own size, one image in each of `codes`: a
/// safetensors file with the tensors of [`Codes::save`] for each image, under its number
/// (`0.indices`, `1.indices`, ..), and the rest as metadata.
///
/// # Errors
/// If there is none, they are not of one image each, or of several models, or cannot be written.
pub fn save_all(path: &Path, codes: &[Codes]) -> Result<()> {
    let wrong = |what: &str| Err(Error::invalid("codes", what));
    let Some(first) = codes.first() else {
        return wrong("none to write");
    };
    for one in codes {
        one.check()?;
        if one.names.len() != 1 {
            return wrong("images of their own size are written one by one");
        }
        if (&one.model, &one.quantizer) != (&first.model, &first.quantizer) {
            return wrong("codes of several models in one file");
        }
    }
    let tensors = codes
        .iter()
        .enumerate()
        .flat_map(|(i, one)| one.tensors(format!("{i}.")))
        .collect();
    let image = |one: &Codes| Image {
        name: one.names[0].clone(),
        image: one.image,
        levels: one.levels.clone(),
    };
    let images: Vec<Image> = codes.iter().map(image).collect();
    let about =
        serde_json::json!({ "model": first.model, "quantizer": first.quantizer, "images": images });
    checkpoint::save_file(
        path,
        &Checkpoint {
            tensors,
            state: serde_json::json!({ "codes": about }),
        },
    )
    .map(drop)
}

/// Reads any file of codes: images of one size come together, those that have their own size one by
/// one.
///
/// # Errors
/// If it is damaged or holds no codes.
pub fn load_all(path: &Path) -> Result<Vec<Codes>> {
    let (file, _) = checkpoint::load_file(path)?;
    let about = &file.state["codes"];
    if about["images"].is_null() {
        return Ok(vec![Codes::of_file(path, &file)?]);
    }
    let bad = |what: String| Error::file(path, format!("holds no codes that can be used: {what}"));
    let text = |key: &str| {
        about[key]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| bad(format!("`{key}` is missing")))
    };
    let (model, quantizer) = (text("model")?, text("quantizer")?);
    let images: Vec<Image> = serde_json::from_value(about["images"].clone())
        .map_err(|e| bad(format!("its images: {e}")))?;
    let of = |(i, image): (usize, Image)| {
        let indices = indices_of(&file, &format!("{i}."), &image.levels, 1).map_err(bad)?;
        let (model, quantizer, levels, names) = (
            model.clone(),
            quantizer.clone(),
            image.levels,
            vec![image.name],
        );
        let codes = Codes {
            model,
            quantizer,
            levels,
            image: image.image,
            names,
            indices,
        };
        codes.check().map_err(|e| bad(e.to_string()))?;
        Ok(codes)
    };
    images.into_iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, width: usize, height: usize) -> Codes {
        let level = |name: &str, f: usize, codebooks| Level {
            name: name.into(),
            grid: [height.div_ceil(f), width.div_ceil(f)],
            codebook_size: 64,
            codebooks,
        };
        let levels = vec![level("top", 8, 1), level("bottom", 4, 2)];
        let n: usize = levels.iter().map(Level::codes).sum();
        Codes {
            model: "abcdef".into(),
            quantizer: "ema".into(),
            image: [width, height, 3],
            names: vec![name.into()],
            indices: (0..n as u32).map(|i| i * 7 % 64).collect(),
            levels,
        }
    }

    #[test]
    fn every_image_keeps_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        let all = [
            image("one", 13, 20),
            image("two", 33, 7),
            image("three", 8, 8),
        ];
        save_all(&path, &all).unwrap();
        assert_eq!(load_all(&path).unwrap(), all);
        assert!(
            Codes::load(&path)
                .unwrap_err()
                .to_string()
                .contains("own size")
        );
        // Images of one size, as before there were others.
        all[1].save(&path).unwrap();
        assert_eq!(load_all(&path).unwrap(), all[1..2]);
        assert!(save_all(&path, &[]).is_err());
        let other = Codes {
            model: "f".into(),
            ..all[0].clone()
        };
        assert!(
            save_all(&path, &[all[0].clone(), other])
                .unwrap_err()
                .to_string()
                .contains("several models")
        );
    }

    #[test]
    fn what_a_file_says_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        let damage = |change: &dyn Fn(&mut Checkpoint), word: &str| {
            save_all(&path, &[image("one", 13, 20)]).unwrap();
            let (mut file, _) = checkpoint::load_file(&path).unwrap();
            change(&mut file);
            checkpoint::save_file(&path, &file).unwrap();
            let message = load_all(&path).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        };
        damage(&|f| drop(f.tensors.remove("0.indices.top")), "missing");
        damage(
            &|f| f.state["codes"]["images"][0]["levels"][0]["grid"] = serde_json::json!([1, 1]),
            "for 1 images",
        );
        damage(
            &|f| f.state["codes"]["images"][0]["levels"][1]["codebook_size"] = 8.into(),
            "there is a code",
        );
        damage(
            &|f| f.state["codes"]["images"][0]["name"] = 3.into(),
            "its images",
        );
        damage(&|f| drop(f.state["codes"]["model"].take()), "`model`");
        let huge = serde_json::json!([usize::MAX, usize::MAX]);
        damage(
            &|f| f.state["codes"]["images"][0]["levels"][0]["grid"] = huge.clone(),
            "more than can be counted",
        );
    }
}
