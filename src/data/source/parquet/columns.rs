//! The columns of a Parquet file that make up a sample: its image, its text and its label.

use std::path::Path;

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::file::metadata::FileMetaData;
use parquet::schema::types::ColumnDescriptor;

use crate::data::source::image_file::TEXT;
use crate::{Error, Result};

/// Names of an image's column, the likeliest first.
const IMAGES: [&str; 10] = [
    "image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "tif", "tiff",
];
/// Names of a label's column, likewise.
const LABELS: [&str; 6] = ["label", "labels", "class", "cls", "fine_label", "target"];

/// The columns of a sample, by their numbers, and their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    pub image: (usize, String),
    pub text: Option<(usize, String)>,
    pub label: Option<(usize, String)>,
    /// Names of the labels, by their values.
    pub classes: Option<Vec<String>>,
}

/// A column, and what is known of it.
struct Known<'a> {
    number: usize,
    /// The name of the column in the table, of which this may be a part.
    name: String,
    /// The rest of its path.
    part: String,
    descriptor: &'a ColumnDescriptor,
}

impl Known<'_> {
    fn is_bytes(&self) -> bool {
        self.descriptor.physical_type() == Type::BYTE_ARRAY && !self.is_list()
    }

    fn is_text(&self) -> bool {
        let is_string = matches!(
            self.descriptor.logical_type_ref(),
            Some(LogicalType::String)
        );
        self.is_bytes() && (is_string || self.descriptor.converted_type() == ConvertedType::UTF8)
    }

    fn is_whole(&self) -> bool {
        matches!(self.descriptor.physical_type(), Type::INT32 | Type::INT64) && !self.is_list()
    }

    fn is_list(&self) -> bool {
        self.descriptor.max_rep_level() > 0
    }

    /// Whether it holds images' bytes: in a structure, or alone.
    fn holds_images(&self) -> bool {
        self.is_bytes() && !self.is_text() && (self.part == "bytes" || self.part.is_empty())
    }
}

impl Columns {
    /// Finds the columns of a file.
    ///
    /// # Errors
    /// If it has no column of images, or several that cannot be told apart; the columns are named.
    pub(super) fn of(path: &Path, about: &FileMetaData) -> Result<Columns> {
        let features = features(about);
        let is_kind = |name: &str, kind: &str| features[name]["_type"].as_str() == Some(kind);
        let columns = about.schema_descr().columns().iter().enumerate();
        let known: Vec<Known> = columns
            .map(|(number, descriptor)| {
                let parts = descriptor.path().parts();
                Known {
                    number,
                    name: parts.first().cloned().unwrap_or_default(),
                    part: parts[1.min(parts.len())..].join("."),
                    descriptor,
                }
            })
            .collect();
        let image = image(path, &known, &|name| is_kind(name, "Image"))?;
        let first = |names: &[&str], suits: &dyn Fn(&Known) -> bool| {
            let named = |name: &&str| known.iter().find(|k| k.name == *name && suits(k));
            names.iter().find_map(named)
        };
        let taken = |k: &Known| Some((k.number, k.name.clone()));
        let text = first(&TEXT, &|k| k.is_text() && k.part.is_empty()).and_then(taken);
        let is_class = |k: &Known| k.is_whole() && is_kind(&k.name, "ClassLabel");
        let is_label = |k: &Known| k.part.is_empty() && (k.is_whole() || k.is_text());
        let label = first(&LABELS, &is_class)
            .or_else(|| known.iter().find(|k| is_class(k)))
            .or_else(|| first(&LABELS, &is_label))
            .and_then(taken);
        let classes = label.as_ref().and_then(|(_, name)| {
            let names = features[name.as_str()]["names"].as_array()?;
            let name = |name: &serde_json::Value| name.as_str().map(str::to_owned);
            names.iter().map(name).collect()
        });
        Ok(Columns {
            image,
            text,
            label,
            classes,
        })
    }
}

/// Returns the column of images; `is_image` says whether `datasets` wrote that one is.
fn image(path: &Path, known: &[Known], is_image: &dyn Fn(&str) -> bool) -> Result<(usize, String)> {
    let images: Vec<&Known> = known.iter().filter(|k| k.holds_images()).collect();
    let certain = |k: &&&Known| is_image(&k.name) || k.part == "bytes";
    let certain: Vec<&Known> = images.iter().filter(certain).copied().collect();
    let images = if certain.is_empty() { images } else { certain };
    let named = IMAGES
        .iter()
        .find_map(|n| images.iter().find(|k| k.name == *n));
    let names = |all: &mut dyn Iterator<Item = &Known>| -> String {
        let mut names: Vec<&str> = all.map(|k| k.name.as_str()).collect();
        names.dedup();
        names.join(", ")
    };
    match (named, &images[..]) {
        (Some(one), _) | (None, [one]) => Ok((one.number, one.name.clone())),
        (None, []) => {
            let lists = known
                .iter()
                .any(|k| k.part.ends_with("bytes") && k.is_list());
            let more = match lists {
                true => "; columns that hold several images to a row are not read",
                false => "",
            };
            let what = format!(
                "has no column of images (bytes, or a structure with `bytes`); it has {}{more}",
                names(&mut known.iter())
            );
            Err(Error::file(path, what))
        }
        (None, several) => {
            let what = format!(
                "has several columns of images ({}): name the one that is meant `image`",
                names(&mut several.iter().copied())
            );
            Err(Error::file(path, what))
        }
    }
}

/// Returns what `datasets` wrote of the columns; null where it did not write the file.
fn features(about: &FileMetaData) -> serde_json::Value {
    let pairs = about.key_value_metadata().into_iter().flatten();
    let text = pairs
        .filter(|pair| pair.key == "huggingface")
        .find_map(|pair| pair.value.as_deref());
    let about = text.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    about.map_or(serde_json::Value::Null, |mut about| {
        about["info"]["features"].take()
    })
}
