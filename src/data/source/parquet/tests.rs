use super::*;

#[test]
fn patterns_fit_as_a_shell_has_them() {
    for (pattern, name, want) in [
        ("*.parquet", "a.parquet", true),
        ("train-*.parquet", "train-0-of-2.parquet", true),
        ("train-*.parquet", "test-0-of-2.parquet", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("*a*b*", "xxaxxbxx", true),
        ("*a*b", "abab", true),
        ("*a*b", "aba", false),
        ("", "", true),
        ("**", "", true),
        ("a", "", false),
    ] {
        assert_eq!(
            fits(pattern.as_bytes(), name.as_bytes()),
            want,
            "{pattern} {name}"
        );
    }
    assert!(is_pattern("data/*.parquet") && is_pattern("x?.PARQUET"));
    assert!(!is_pattern("data/x.parquet") && !is_pattern("data/*.png"));
}

#[test]
fn shards_say_which_side_they_are() {
    for (name, want) in [
        ("train-00000-of-00002.parquet", Some(true)),
        ("data/test-00000-of-00001.parquet", Some(false)),
        ("default/validation/0000.parquet", Some(false)),
        ("Train.parquet", Some(true)),
        ("training_set.parquet", Some(true)),
        ("trainer.parquet", None),
        ("0000.parquet", None),
    ] {
        assert_eq!(is_train(name), want, "{name}");
    }
}

#[cfg(not(feature = "parquet"))]
#[test]
fn a_build_without_the_reader_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    std::fs::write(&path, b"PAR1").unwrap();
    let error = samples(&alone(&path), &mut Vec::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("--features parquet"), "{error}");
}

#[cfg(feature = "parquet")]
mod read {
    use super::*;
    use crate::data::decode::picture::tests::{encoded, gradient};
    use crate::data::{self, ImageSet, Options, Residency};
    use ::parquet::basic::Compression;
    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::metadata::KeyValue;
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    use std::sync::Arc;

    const SCHEMA: &str = "message schema { optional group image { optional binary bytes; optional \
                          binary path (STRING); } optional int64 label; optional binary text \
                          (STRING); }";
    const FEATURES: &str = r#"{"info": {"features": {"image": {"_type": "Image"},
        "label": {"names": ["zebra", "ant", "cat"], "_type": "ClassLabel"},
        "text": {"dtype": "string", "_type": "Value"}}}}"#;

    /// A row: its image, label and text.
    type Row = (Option<Vec<u8>>, Option<i64>, Option<&'static str>);

    fn picture(i: usize) -> Vec<u8> {
        encoded(&gradient(8, 8, (i * 7) as u8), image::ImageFormat::Png)
    }

    fn rows(count: usize) -> Vec<Row> {
        (0..count)
            .map(|i| (Some(picture(i)), Some((i % 3) as i64), Some("an  image")))
            .collect()
    }

    /// Writes rows in groups of five, in pages of about two images, as `properties` say.
    fn written(path: &Path, rows: &[Row], compression: Compression, index: bool) {
        let features = KeyValue::new("huggingface".into(), FEATURES.to_string());
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_dictionary_enabled(false)
            .set_write_batch_size(1)
            .set_data_page_size_limit(200)
            .set_offset_index_disabled(!index)
            .set_key_value_metadata(Some(vec![features]))
            .build();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = std::fs::File::create(path).unwrap();
        let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
        for rows in rows.chunks(5) {
            let mut group = writer.next_row_group().unwrap();
            let mut bytes = |values: Vec<Option<Vec<u8>>>, most: i16| {
                let defined: Vec<i16> = values
                    .iter()
                    .map(|v| if v.is_some() { most } else { most - 1 })
                    .collect();
                let there: Vec<ByteArray> = values.into_iter().flatten().map(Into::into).collect();
                let mut column = group.next_column().unwrap().unwrap();
                let typed = column.typed::<ByteArrayType>();
                typed.write_batch(&there, Some(&defined), None).unwrap();
                column.close().unwrap();
            };
            bytes(rows.iter().map(|row| row.0.clone()).collect(), 2);
            bytes(rows.iter().map(|_| None).collect(), 2);
            let mut column = group.next_column().unwrap().unwrap();
            let defined: Vec<i16> = rows.iter().map(|r| i16::from(r.1.is_some())).collect();
            let there: Vec<i64> = rows.iter().filter_map(|row| row.1).collect();
            let typed = column.typed::<Int64Type>();
            typed.write_batch(&there, Some(&defined), None).unwrap();
            column.close().unwrap();
            let text = |row: &Row| row.2.map(|text| text.as_bytes().to_vec());
            let values: Vec<Option<Vec<u8>>> = rows.iter().map(text).collect();
            let defined: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
            let there: Vec<ByteArray> = values.into_iter().flatten().map(Into::into).collect();
            let mut column = group.next_column().unwrap().unwrap();
            let typed = column.typed::<ByteArrayType>();
            typed.write_batch(&there, Some(&defined), None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    fn opened(path: &Path, options: &Options) -> Result<ImageSet> {
        data::open(path.to_str().unwrap(), options)
    }

    fn pixels(i: usize) -> Vec<u8> {
        data::read_image(&picture(i), 8, 8, 3).unwrap()
    }

    #[test]
    fn rows_have_their_images_labels_and_texts() {
        let folder = tempfile::tempdir().unwrap();
        for (compression, index) in [
            (Compression::UNCOMPRESSED, true),
            (Compression::SNAPPY, false),
            (Compression::SNAPPY, true),
            (Compression::ZSTD(Default::default()), false),
            (Compression::LZ4_RAW, false),
        ] {
            let path = folder.path().join("set.parquet");
            let mut all = rows(23);
            (all[3].1, all[4].1, all[5].2) = (Some(-1), None, None);
            written(&path, &all, compression, index);
            let set = opened(&path, &Options::default()).unwrap();
            assert_eq!((set.len(), set.width, set.channels), (23, 8, 3));
            assert_eq!(
                set.classes,
                ["zebra", "ant", "cat"],
                "in the order of their numbers"
            );
            for (i, item) in set.items.iter().enumerate() {
                assert_eq!(set.image(i).unwrap()[..], pixels(i), "{compression:?} {i}");
                assert_eq!(item.name, format!("set/{i:08}"));
                let class = (i != 3 && i != 4).then_some((i % 3) as u32);
                assert_eq!(item.class, class, "{i}");
                assert_eq!(item.caption.as_deref(), (i != 5).then_some("an image"));
            }
            assert!(
                set.notes.iter().any(|n| n.contains("labels from `label`")),
                "{:?}",
                set.notes
            );
        }
    }

    /// A file that `datasets` 5.2.0 wrote.
    #[test]
    fn a_file_of_datasets_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/datasets.parquet");
        let set = opened(&path, &Options::default()).unwrap();
        assert_eq!((set.len(), set.width, set.classes.len()), (5, 8, 2));
        for (i, item) in set.items.iter().enumerate() {
            let i = i as u8;
            assert_eq!(
                set.image(i.into()).unwrap()[..3],
                [40 * i, 90, 200 - 30 * i]
            );
            let class = ["wasp", "ant", "wasp", "ant", "ant"][usize::from(i)];
            assert_eq!(set.class_name(i.into()), Some(class));
            let text = [Some("a"), None, Some("b"), Some("c"), None][usize::from(i)];
            assert_eq!(item.caption.as_deref(), text);
        }
    }

    #[test]
    fn rows_are_read_in_any_order_and_from_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.parquet");
        written(&path, &rows(40), Compression::SNAPPY, false);
        let options = Options {
            keep: Residency::Disk,
            // Room for none: each image is decoded from its page when it is asked for.
            cache_bytes: 0,
            cache_dir: Some(folder.path().join("cache")),
            ..Default::default()
        };
        let set = opened(&path, &options).unwrap();
        assert_eq!(set.len(), 40);
        let order: Vec<u32> = (0..40).map(|i| i * 17 % 40).collect();
        let all = set.gather(&order).unwrap();
        for (i, pixels_of) in order.iter().zip(all.chunks(set.image_bytes())) {
            assert_eq!(pixels_of, pixels(*i as usize), "{i}");
        }
        // Its sum knows a file that changed.
        let sum = set.sha256();
        assert_eq!(opened(&path, &options).unwrap().sha256(), sum);
        let mut others = rows(40);
        others.swap(0, 1);
        written(&path, &others, Compression::SNAPPY, false);
        assert_ne!(opened(&path, &options).unwrap().sha256(), sum);
    }

    #[test]
    fn shards_are_one_set_with_the_split_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let snappy = Compression::SNAPPY;
        for (name, count) in [
            ("train-00000-of-00002", 7),
            ("train-00001-of-00002", 5),
            ("test-00000-of-00001", 4),
        ] {
            written(
                &data.join(name).with_extension("parquet"),
                &rows(count),
                snappy,
                true,
            );
        }
        std::fs::write(folder.path().join("README.md"), "a set").unwrap();
        let set = opened(folder.path(), &Options::default()).unwrap();
        assert_eq!((set.train.len(), set.test.len()), (12, 4));
        assert_eq!(set.items[0].name, "test/data-test-00000-of-00001/00000000");
        let pattern = data.join("train-*.parquet");
        let set = opened(&pattern, &Options::default()).unwrap();
        assert_eq!(set.len(), 12);
        assert_eq!(set.items[7].name, "train-00001-of-00002/00000000");
        let full = pattern.to_str().unwrap();
        assert!(data::is_there(full));
        assert_eq!(data::absolute(full), full);
        let none = data.join("valid-*.parquet");
        let error = opened(&none, &Options::default()).unwrap_err().to_string();
        assert!(error.contains("fits no file"), "{error}");
    }

    #[test]
    fn what_is_wrong_names_the_column_and_the_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.parquet");
        let snappy = Compression::SNAPPY;
        let mut all = rows(12);
        all[7].1 = Some(3);
        written(&path, &all, snappy, false);
        let error = opened(&path, &Options::default()).unwrap_err().to_string();
        assert!(error.contains("column label, row 7"), "{error}");
        // One image without bytes and one that is no image are passed over, and named.
        let mut all = rows(12);
        (all[6].0, all[8].0) = (None, Some(b"no image".to_vec()));
        written(&path, &all, snappy, false);
        let set = opened(&path, &Options::default()).unwrap();
        assert_eq!(set.len(), 10);
        let notes = set.notes.join("\n");
        assert!(
            notes.contains("2 of 12 files skipped") && notes.contains("is null"),
            "{notes}"
        );
        assert!(
            notes.contains("set/00000006") && notes.contains("set/00000008"),
            "{notes}"
        );
        let all: Vec<Row> = rows(3)
            .into_iter()
            .map(|row| (None, row.1, row.2))
            .collect();
        written(&path, &all, snappy, false);
        let error = opened(&path, &Options::default()).unwrap_err().to_string();
        assert!(
            error.contains("column image, row 0") && error.contains("is null"),
            "{error}"
        );
    }

    #[test]
    fn damaged_files_are_errors_and_no_panics() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.parquet");
        written(&path, &rows(12), Compression::SNAPPY, true);
        let whole = std::fs::read(&path).unwrap();
        let options = Options {
            cache_dir: Some(folder.path().join("cache")),
            ..Default::default()
        };
        for cut in [0, 3, 8, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let error = opened(&path, &options).unwrap_err().to_string();
            assert!(error.contains("set.parquet"), "{error}");
        }
        for at in (0..whole.len()).step_by(17) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x5A;
            std::fs::write(&path, &bytes).unwrap();
            // Whatever comes of it: a set, or an error with the file's name.
            if let Err(error) = opened(&path, &options) {
                assert!(error.to_string().contains("set.parquet"), "{at}: {error}");
            }
        }
    }
}
