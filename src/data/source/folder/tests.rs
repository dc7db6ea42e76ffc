use image::ImageFormat;

use crate::data::decode::picture::tests::{encoded, gradient, png_header};
use crate::data::source::folder::*;

/// Returns a folder with an image of `size` for each name; the images differ in their tint.
fn folder(files: &[(&str, (u32, u32))]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (i, (name, (width, height))) in files.iter().enumerate() {
        put(
            &dir,
            name,
            &encoded(&gradient(*width, *height, 10 * i as u8), ImageFormat::Png),
        );
    }
    dir
}

fn put(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) {
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn opened(dir: &tempfile::TempDir) -> Result<ImageSet> {
    crate::data::open(dir.path().to_str().unwrap(), &Options::default())
}

fn names(set: &ImageSet) -> Vec<&str> {
    set.items.iter().map(|item| item.name.as_str()).collect()
}

#[test]
fn files_come_in_order_with_classes_and_captions() {
    let s = (8, 6);
    let dir = folder(&[
        ("dog/b.png", s),
        ("dog/a.PNG", s),
        ("cat/deep/er/z.png", s),
        ("root.png", s),
        (".x.png", s),
    ]);
    put(&dir, "dog/b.txt", b"  a dog\n in snow ");
    put(&dir, "dog/a.txt", b"\n");
    put(&dir, "read.me", b"-");
    let set = opened(&dir).unwrap();
    assert_eq!(
        names(&set),
        ["cat/deep/er/z.png", "dog/a.PNG", "dog/b.png", "root.png"]
    );
    assert_eq!(set.classes, ["cat", "dog"]);
    assert_eq!(
        set.items.iter().map(|item| item.class).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(1), None]
    );
    let captions: Vec<Option<&str>> = set
        .items
        .iter()
        .map(|item| item.caption.as_deref())
        .collect();
    assert_eq!(captions, [None, None, Some("a dog in snow"), None]);
    assert_eq!((set.width, set.height, set.channels), (8, 6, 3));
    assert_eq!(*set.image(2).unwrap(), *gradient(8, 6, 0).as_bytes());
    assert_eq!(*set.image(0).unwrap(), *gradient(8, 6, 20).as_bytes());
    assert_eq!(opened(&dir).unwrap().sha256(), set.sha256());
}

#[test]
fn the_split_stays_when_pictures_are_added() {
    let sides = |dir: &tempfile::TempDir| {
        let set = opened(dir).unwrap();
        let held_out: BTreeSet<String> = set
            .test
            .iter()
            .map(|&i| set.items[i as usize].name.clone())
            .collect();
        assert_eq!(set.train.len() + set.test.len(), set.len());
        held_out
    };
    let dir = tempfile::tempdir().unwrap();
    let strip = gradient(123, 3, 0);
    for i in 0..120 {
        put(
            &dir,
            &format!("{i:03}.png"),
            &encoded(&strip.crop_imm(i, 0, 3, 3), ImageFormat::Png),
        );
    }
    let before = sides(&dir);
    assert!((4..30).contains(&before.len()), "{before:?}");
    put(
        &dir,
        "000a.png",
        &encoded(&gradient(3, 3, 77), ImageFormat::Png),
    );
    let mut after = sides(&dir);
    after.remove("000a.png");
    assert_eq!(before, after);
}

#[test]
fn variants_and_copies_share_a_group() {
    let s = (4, 4);
    let dir = folder(&[
        ("boat.png", s),
        ("boat@2x.png", s),
        ("boat@dark.png", s),
        ("car.png", s),
        ("sub/boat.png", s),
    ]);
    let copy = fs::read(dir.path().join("car.png")).unwrap();
    put(&dir, "other.png", &copy);
    let set = opened(&dir).unwrap();
    let group = |name: &str| {
        set.items
            .iter()
            .find(|item| item.name == name)
            .unwrap()
            .group
    };
    assert_eq!(
        [group("boat@2x.png"), group("boat@dark.png")],
        [group("boat.png"); 2]
    );
    assert_eq!(group("other.png"), group("car.png"));
    assert_ne!(group("boat.png"), group("sub/boat.png"));
    assert_ne!(group("boat.png"), group("car.png"));
    assert_eq!(
        [
            stem("a.b/c"),
            stem("a/@x.png"),
            stem("@.png"),
            stem("a@1/b@2@3.jpg")
        ],
        ["a.b/c", "a/@x", "@", "a@1/b"]
    );
}

#[test]
fn train_and_test_folders_are_the_split() {
    let s = (4, 4);
    let dir = folder(&[
        ("train/a/1.png", s),
        ("train/b/2.png", s),
        ("Test/b/3.png", s),
        ("val/c/4.png", s),
    ]);
    let set = opened(&dir).unwrap();
    assert_eq!(
        names(&set),
        [
            "Test/b/3.png",
            "train/a/1.png",
            "train/b/2.png",
            "val/c/4.png"
        ]
    );
    assert_eq!((&set.train[..], &set.test[..]), (&[1, 2][..], &[0, 3][..]));
    assert_eq!(set.classes, ["a", "b", "c"]);
    // With any other folder beside them they are classes as any.
    put(
        &dir,
        "more/5.png",
        &encoded(&gradient(4, 4, 200), ImageFormat::Png),
    );
    assert_eq!(
        opened(&dir).unwrap().classes,
        ["Test", "more", "train", "val"]
    );
}

#[test]
fn files_that_cannot_be_read_are_skipped_and_named() {
    let s = (5, 5);
    let dir = folder(&[
        ("a.png", s),
        ("c.png", s),
        ("e.png", s),
        ("g.png", s),
        ("i.png", s),
    ]);
    put(&dir, "b.png", b"");
    put(&dir, "d.png", b"this is text");
    put(&dir, "f.png", &png_header(100_000, 100_000));
    put(
        &dir,
        "h.png",
        &encoded(&gradient(50, 50, 1), ImageFormat::Png)[..90],
    );
    put(&dir, "x.avif", b"\0\0\0\x1cftypavif");
    let set = opened(&dir).unwrap();
    assert_eq!(names(&set), ["a.png", "c.png", "e.png", "g.png", "i.png"]);
    for (i, tint) in [0, 10, 20, 30, 40].into_iter().enumerate() {
        assert_eq!(*set.image(i).unwrap(), *gradient(5, 5, tint).as_bytes());
    }
    let notes = set.notes.join("\n");
    for words in [
        "4 of 9 files skipped",
        "b.png (is empty",
        "d.png (is not a PNG",
        "f.png (its header",
        "h.png (",
        "passed over: 1 .avif; convert them",
    ] {
        assert!(notes.contains(words), "{words}: {notes}");
    }
    // One more, and half are bad.
    put(&dir, "0.png", b"text too");
    let error = opened(&dir).unwrap_err().to_string();
    assert!(
        error.contains("5 of its 10 images") && error.contains("0.png: is not a PNG"),
        "{error}"
    );
}

#[test]
fn a_long_list_of_skipped_files_is_cut_short() {
    let all: Vec<String> = (0..20).map(|i| format!("{i}.png")).collect();
    let dir = folder(
        &all.iter()
            .map(|name| (name.as_str(), (3, 3)))
            .collect::<Vec<_>>(),
    );
    for i in 0..8 {
        put(&dir, &format!("bad{i}.png"), b"?");
    }
    let notes = opened(&dir).unwrap().notes.join("\n");
    assert!(
        notes.contains("bad4.png") && !notes.contains("bad5.png") && notes.contains("and 3 more"),
        "{notes}"
    );
}

#[test]
fn a_folder_without_images_says_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir, "sub/notes.txt", b"x");
    put(&dir, "photo.AVIF", b"x");
    let error = opened(&dir).unwrap_err().to_string();
    assert!(
        error.contains("holds no images (.png")
            && error.contains("1 other files, 1 .avif; convert them"),
        "{error}"
    );
}

#[test]
fn mixed_sizes_become_one_and_it_is_said() {
    let dir = folder(&[
        ("a.png", (40, 30)),
        ("b.png", (20, 50)),
        ("c.png", (300, 200)),
    ]);
    let set = opened(&dir).unwrap();
    assert_eq!((set.width, set.height), (16, 16));
    assert!(
        set.notes[0].contains("3 of 3 images have another size: cropped and scaled to 16x16"),
        "{:?}",
        set.notes
    );
    let options = Options {
        size: Some((32, 24)),
        channels: Some(1),
        ..Default::default()
    };
    let set = open(dir.path(), &options).unwrap();
    assert_eq!(
        (
            set.width,
            set.height,
            set.channels,
            set.pixels.in_memory().unwrap().len()
        ),
        (32, 24, 1, 3 * 32 * 24)
    );
    assert!(
        set.notes[0].contains("1 of them smaller"),
        "{:?}",
        set.notes
    );
}

#[test]
fn the_size_when_none_is_asked_for() {
    let chosen = |sizes: &[(usize, usize)]| {
        let header = |&(width, height): &(usize, usize)| Header {
            width,
            height,
            grey: false,
            cost: 0,
        };
        choose_size(&sizes.iter().map(header).collect::<Vec<_>>())
    };
    assert_eq!(chosen(&[(640, 480), (640, 480)]), (640, 480), "all agree");
    assert_eq!(
        chosen(&[(100, 50), (100, 50), (7, 7), (8, 8)]),
        (100, 50),
        "half agree"
    );
    assert_eq!(
        chosen(&[(640, 480), (640, 480), (7, 7)]),
        (64, 64),
        "half agree on something large"
    );
    assert_eq!(
        chosen(&[(5000, 3000), (4000, 3000), (3000, 4000)]),
        (64, 64),
        "photographs"
    );
    assert_eq!(
        chosen(&[(9, 9), (8, 8)]),
        (8, 8),
        "a draw goes to the smaller"
    );
    assert_eq!(chosen(&[(1, 1), (2, 1), (3, 1)]), (1, 1));
}

#[test]
fn grey_pictures_stay_grey() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..3u8 {
        let grey = image::GrayImage::from_fn(4, 4, |x, _| image::Luma([x as u8 * 9 + i]));
        put(
            &dir,
            &format!("{i}.png"),
            &encoded(&grey.into(), ImageFormat::Png),
        );
    }
    assert_eq!(opened(&dir).unwrap().channels, 1);
    put(
        &dir,
        "colour.png",
        &encoded(&gradient(4, 4, 9), ImageFormat::Png),
    );
    assert_eq!(opened(&dir).unwrap().channels, 3);
}

#[cfg(unix)]
#[test]
fn links_to_folders_are_followed_once_and_pipes_are_not_read() {
    let dir = folder(&[
        ("a/1.png", (4, 4)),
        ("a/2.png", (4, 4)),
        ("a/3.png", (4, 4)),
    ]);
    std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
    std::os::unix::fs::symlink("/nowhere", dir.path().join("broken.png")).unwrap();
    let set = opened(&dir).unwrap();
    assert_eq!(names(&set), ["a/1.png", "a/2.png", "a/3.png"]);
    assert!(
        set.notes.join("\n").contains("broken.png (cannot be read"),
        "{:?}",
        set.notes
    );
    // A pipe would keep a reader waiting for ever.
    let pipe = dir.path().join("pipe.png");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let error = picture::load_image(&pipe, 4, 4, 3).unwrap_err().to_string();
    assert!(error.contains("is not a file"), "{error}");
}
