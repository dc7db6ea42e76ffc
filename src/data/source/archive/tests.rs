use crate::data;
use crate::data::source::archive::*;
use std::fs::File;

fn png(shade: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_pixel(4, 4, image::Rgb([shade, 0, 0]));
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

fn write(path: &Path, files: &[(&str, Vec<u8>)]) {
    let mut builder = tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        // As an archive may have it that means harm: the builder's own way refuses such names.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, &bytes[..]).unwrap();
    }
    builder.finish().unwrap();
}

fn opened(dir: &Path, source: &str, keep: data::Residency) -> Result<ImageSet> {
    let options = Options {
        cache_dir: Some(dir.join("cache")),
        keep,
        ..Default::default()
    };
    data::open(dir.join(source).to_str().unwrap(), &options)
}

fn captions(set: &ImageSet) -> Vec<(&str, Option<&str>)> {
    set.items
        .iter()
        .map(|i| (i.name.as_str(), i.caption.as_deref()))
        .collect()
}

#[test]
fn samples_have_their_texts_and_nothing_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("./a/000.png", png(1)),
        ("./a/000.txt", b"a red\n square".to_vec()),
        ("./a/001.json", br#"{"caption": "dark", "x": 1}"#.to_vec()),
        ("./a/001.png", png(2)),
        ("../outside.png", png(3)),
        ("/outside.png", png(4)),
    ];
    write(&dir.path().join("set.tar"), &files);
    let stale = dir.path().join("cache/archives/.unpackingX");
    fs::create_dir_all(&stale).unwrap();
    for keep in [
        data::Residency::Memory,
        data::Residency::Disk,
        data::Residency::Disk,
    ] {
        let set = opened(dir.path(), "set.tar", keep).unwrap();
        assert_eq!(
            captions(&set),
            [
                ("a/000.png", Some("a red square")),
                ("a/001.png", Some("dark"))
            ]
        );
        assert_eq!((set.image(0).unwrap()[0], set.image(1).unwrap()[0]), (1, 2));
        assert_eq!(set.classes, ["a"]);
    }
    assert!(
        !dir.path().join("outside.png").exists() && !dir.path().join("cache/archives").exists()
    );
}

#[test]
fn names_are_matched_up_to_the_first_dot_in_any_case() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("0001.JPG.png", png(9)),
        ("0001.txt", b"one".to_vec()),
        ("0002.seg.png", png(2)),
        ("0002.PNG", png(3)),
        ("0002.TXT", b"two".to_vec()),
        ("0003.a.png", png(4)),
        ("0003.a.txt", b"three a".to_vec()),
        ("0003.b.png", png(5)),
        ("0003.Txt", b"three".to_vec()),
        ("0004.png", png(6)),
    ];
    write(&dir.path().join("set.tar"), &files);
    let set = opened(dir.path(), "set.tar", data::Residency::Auto).unwrap();
    let expected = [
        ("0001.JPG.png", Some("one")),
        ("0002.PNG", Some("two")),
        ("0003.a.png", Some("three a")),
        ("0003.b.png", Some("three")),
        ("0004.png", None),
    ];
    assert_eq!(captions(&set), expected);
    assert!(
        set.notes
            .iter()
            .any(|n| n.contains("1 images were passed over") && n.contains("0002.seg.png"))
    );
}

#[test]
fn texts_that_are_none_are_named_and_condemn_no_set() {
    let dir = tempfile::tempdir().unwrap();
    let long = [
        br#"{"caption": ""#.to_vec(),
        "\u{e9}".repeat(1 << 19).into_bytes(),
        br#""}"#.to_vec(),
    ]
    .concat();
    let utf16: Vec<u8> = "\u{feff}\u{5fc3}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let files = [
        ("0001.png", png(1)),
        ("._0001.json", b"\0\x05\x16\x07\xFF\xFE".to_vec()),
        ("._0001.png", b"\0\x05\x16\x07\xFF\xFE".to_vec()),
        ("__MACOSX/x/._0001.txt", b"\0\x05\x16\x07\xFF".to_vec()),
        ("__MACOSX/0001.png", b"\0\x05\x16\x07\xFF".to_vec()),
        ("0001.json", br#"{"text": "one"}"#.to_vec()),
        ("0002.png", png(2)),
        ("0002.json", b"{\"caption\": \"caf\xE9\"}".to_vec()),
        ("0003.png", png(3)),
        ("0003.json", long),
        ("0004.png", png(4)),
        ("0004.txt", b"caf\xE9".to_vec()),
        ("0005.png", png(5)),
        ("0005.txt", utf16),
        ("0006.png", png(6)),
        ("0006.json", b"{".to_vec()),
    ];
    write(&dir.path().join("set.tar"), &files);
    let set = opened(dir.path(), "set.tar", data::Residency::Auto).unwrap();
    let own: Vec<Option<&str>> = captions(&set)
        .into_iter()
        .map(|(_, caption)| caption)
        .collect();
    assert_eq!(own, [Some("one"), None, None, None, Some("\u{5fc3}"), None]);
    let notes = set.notes.join("\n");
    for words in [
        "4 texts",
        "0002.json (is not UTF-8",
        "0003.json (is longer",
        "0004.txt (is not UTF-8",
        "0006.json (",
    ] {
        assert!(notes.contains(words), "{words}: {notes}");
    }
}

#[test]
fn classes_are_read_from_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<(String, Vec<u8>)> = [10, 2, 7, 2]
        .iter()
        .enumerate()
        .flat_map(|(i, class)| {
            [
                (format!("{i}.png"), png(i as u8)),
                (format!("{i}.cls"), format!("{class}\n").into_bytes()),
            ]
        })
        .collect();
    let files: Vec<(&str, Vec<u8>)> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()))
        .collect();
    write(&dir.path().join("set.tar"), &files);
    let set = opened(dir.path(), "set.tar", data::Residency::Auto).unwrap();
    assert_eq!(set.classes, ["2", "7", "10"]);
    assert_eq!(
        set.items.iter().map(|i| i.class).collect::<Vec<_>>(),
        [Some(2), Some(0), Some(1), Some(0)]
    );
}

#[test]
fn a_folder_of_archives_is_one_set() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("shards/train")).unwrap();
    fs::create_dir_all(dir.path().join("shards/val")).unwrap();
    for (i, shard) in ["train/0.tar", "train/1.tar", "val/0.tar"]
        .into_iter()
        .enumerate()
    {
        let files = [
            ("0.png", png(2 * i as u8)),
            ("0.txt", format!("text {i}").into_bytes()),
            ("1.png", png(2 * i as u8 + 1)),
        ];
        write(&dir.path().join("shards").join(shard), &files);
    }
    let set = opened(dir.path(), "shards", data::Residency::Disk).unwrap();
    assert_eq!(
        (set.len(), &set.train[..], &set.test[..]),
        (6, &[0, 1, 2, 3][..], &[4, 5][..])
    );
    assert_eq!(
        (captions(&set)[2], set.image(5).unwrap()[0]),
        (("train/1.tar/0.png", Some("text 1")), 5)
    );
    assert!(
        set.classes.is_empty(),
        "an archive is no class: {:?}",
        set.classes
    );
    // Beside images, an archive is what they were unpacked from.
    fs::write(dir.path().join("shards/x.png"), png(77)).unwrap();
    let set = opened(dir.path(), "shards", data::Residency::Auto).unwrap();
    assert_eq!(set.len(), 1);
    assert!(
        set.notes.iter().any(|n| n.contains("3 archives")),
        "{:?}",
        set.notes
    );
}

#[test]
fn what_is_no_archive_is_called_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: &[u8]| {
        fs::write(dir.path().join(name), bytes).unwrap();
        let error = opened(dir.path(), name, data::Residency::Auto)
            .unwrap_err()
            .to_string();
        assert!(error.contains(name), "{error}");
        error
    };
    assert!(refused("set.tar", &[7; 3000]).contains("no tar archive"));
    let gz = data::source::idx::tests::gz(&[0; 1024]);
    for name in ["x.tar.gz", "x.tgz", "y.tar", "z.TAR.GZ"] {
        let error = refused(name, &gz);
        assert!(
            error.contains("compressed by gzip") && error.contains("gunzip"),
            "{error}"
        );
    }
    assert!(refused("x.zip", b"PK\x03\x04aaaa").contains("zip archive"));
    write(
        &dir.path().join("whole.tar"),
        &[("a.png", png(1)), ("b.png", png(2))],
    );
    let whole = fs::read(dir.path().join("whole.tar")).unwrap();
    assert!(refused("cut.tar", &whole[..512 + 512 + 512 + 20]).contains("ends within `b.png`"));
    write(&dir.path().join("set.tar"), &[("a.txt", b"x".to_vec())]);
    let error = opened(dir.path(), "set.tar", data::Residency::Auto)
        .unwrap_err()
        .to_string();
    assert!(error.contains("holds no images"), "{error}");
}

#[test]
fn images_in_formats_that_are_not_read_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let avif = b"\0\0\0\x1cftypavif".to_vec();
    let some = [("0.png", png(1)), ("1.avif", avif.clone())];
    write(&dir.path().join("some.tar"), &some);
    let set = opened(dir.path(), "some.tar", data::Residency::Memory).unwrap();
    assert_eq!(set.len(), 1);
    let notes = set.notes.join("\n");
    assert!(notes.contains("passed over: 1 .avif; convert"), "{notes}");
    let none = [
        ("1.avif", avif.clone()),
        ("2.AVIF", avif),
        ("3.jxl", vec![]),
    ];
    write(&dir.path().join("none.tar"), &none);
    let error = opened(dir.path(), "none.tar", data::Residency::Memory);
    let error = error.unwrap_err().to_string();
    for words in ["holds no images (.png", "found 2 .avif, 1 .jxl; convert"] {
        assert!(error.contains(words), "{words}: {error}");
    }
}
