//! Codes as a Parquet table, which pyarrow, Polars and the library `datasets` read.

mod read;

use std::path::Path;
use std::sync::Arc;

use super::{Codes, Labels, dtype};
use crate::models::Level;
use crate::storage::atomic;
use crate::{Error, Result};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use safetensors::tensor::Dtype;

/// Images of a group of rows.
const ROWS: usize = 10_000;

impl Codes {
    /// Writes a Parquet table with a row to each image: `name`; `codes`, its codes row by row,
    /// those of a latent together (`codes_top` and so on of several levels); `label` and `text`
    /// where images have some. The file's metadata says how codes lie (`wgvq`), and what the
    /// columns are (`huggingface`).
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save_parquet(&self, labels: &Labels, path: &Path) -> Result<()> {
        self.check()?;
        let made = self.table(labels);
        let bytes = made.map_err(|e| Error::file(path, format!("cannot be made: {e}")))?;
        atomic::write(path, &bytes)
    }

    fn table(&self, labels: &Labels) -> parquet::errors::Result<Vec<u8>> {
        let (has_label, has_text) = (labels.class.is_some(), labels.texts.is_some());
        let mut schema = "message schema { required binary name (STRING);".to_owned();
        for level in &self.levels {
            let bits = bits(level);
            schema += &format!(
                "required group {} (LIST) {{ repeated group list {{ required int32 element \
                 (INTEGER({bits},false)); }} }}",
                column(level)
            );
        }
        if has_label {
            schema += "optional int64 label;";
        }
        if has_text {
            schema += "optional binary text (STRING);";
        }
        let schema = Arc::new(parse_message_type(&(schema + "}"))?);
        let pairs = [
            ("huggingface", self.features(labels)),
            ("wgvq", self.layout()),
        ];
        let pairs = pairs.map(|(key, value)| KeyValue::new(key.into(), value.to_string()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(format!("wgvq {}", env!("CARGO_PKG_VERSION")))
            .set_key_value_metadata(Some(pairs.into()))
            .build();
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
        let images: Vec<usize> = (0..self.names.len()).collect();
        for rows in images.chunks(ROWS) {
            let mut group = writer.next_row_group()?;
            let names = rows.iter().map(|i| Some(self.names[*i].as_str().into()));
            write::<ByteArrayType>(&mut group, names.collect(), false)?;
            let mut before = 0;
            for level in &self.levels {
                self.write_level(&mut group, rows, level, before)?;
                before += level.codes();
            }
            if has_label {
                let class = rows.iter().map(|i| labels.class_of(*i).map(i64::from));
                write::<Int64Type>(&mut group, class.collect(), true)?;
            }
            if has_text {
                let text = rows.iter().map(|i| labels.text_of(*i).map(ByteArray::from));
                write::<ByteArrayType>(&mut group, text.collect(), true)?;
            }
            group.close()?;
        }
        writer.into_inner()
    }

    /// Writes the codes of a level, which lie behind so many of each image.
    fn write_level(
        &self,
        group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
        rows: &[usize],
        level: &Level,
        before: usize,
    ) -> parquet::errors::Result<()> {
        let mut values = Vec::with_capacity(rows.len() * level.codes());
        let mut repeated = Vec::with_capacity(values.capacity());
        for image in rows {
            let at = image * self.per_image() + before;
            let own = &self.indices[at..at + level.codes()];
            // Unsigned numbers are stored in the signed type of their bits.
            values.extend(own.iter().map(|code| *code as i32));
            repeated.extend((0..own.len()).map(|i| i16::from(i > 0)));
        }
        let defined = vec![1; values.len()];
        let mut column = next(group)?;
        let typed = column.typed::<Int32Type>();
        typed.write_batch(&values, Some(&defined), Some(&repeated))?;
        column.close()
    }

    /// Returns what `datasets` knows the columns by.
    fn features(&self, labels: &Labels) -> serde_json::Value {
        let value = |dtype: &str| serde_json::json!({ "dtype": dtype, "_type": "Value" });
        let mut features = serde_json::Map::new();
        features.insert("name".into(), value("string"));
        for level in &self.levels {
            let of = value(&format!("uint{}", bits(level)));
            let list = serde_json::json!({ "feature": of, "_type": "List" });
            features.insert(column(level), list);
        }
        if labels.class.is_some() {
            let names = serde_json::json!({ "names": labels.classes, "_type": "ClassLabel" });
            features.insert("label".into(), names);
        }
        if labels.texts.is_some() {
            features.insert("text".into(), value("string"));
        }
        serde_json::json!({ "info": { "features": features } })
    }

    /// Returns what made the codes, and how they lie.
    fn layout(&self) -> serde_json::Value {
        serde_json::json!({
            "model": self.model, "quantizer": self.quantizer, "image": self.image,
            "levels": self.levels,
        })
    }
}

/// The name of a level's column.
fn column(level: &Level) -> String {
    match level.name.as_str() {
        "" => "codes".to_owned(),
        name => format!("codes_{name}"),
    }
}

/// The bits of a level's codes.
fn bits(level: &Level) -> u32 {
    match dtype(level) {
        Dtype::U16 => 16,
        _ => 32,
    }
}

fn next<'a>(
    group: &'a mut SerializedRowGroupWriter<'_, Vec<u8>>,
) -> parquet::errors::Result<parquet::file::writer::SerializedColumnWriter<'a>> {
    let missing = || ParquetError::General("the schema has fewer columns".into());
    group.next_column()?.ok_or_else(missing)
}

/// Writes a column of which values may be missing.
fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: Vec<Option<T::T>>,
    optional: bool,
) -> parquet::errors::Result<()> {
    let defined: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
    let there: Vec<T::T> = values.into_iter().flatten().collect();
    let mut column = next(group)?;
    let typed = column.typed::<T>();
    typed.write_batch(&there, optional.then_some(&defined[..]), None)?;
    column.close()
}
