//! The example in C, compiled and run: its codes and pictures are the program's. WGVQ_PROGRAM names
//! the program, as scripts/capi.sh does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The folder of the crate.
const HERE: &str = env!("CARGO_MANIFEST_DIR");

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The folder where cargo puts the library, beside this test's.
fn built() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().unwrap().parent().unwrap().to_owned()
}

fn ok(output: Output) -> Vec<u8> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    output.stdout
}

/// Compiles the example as C and as C++ would see the header, and returns the program.
fn compiled(folder: &Path) -> PathBuf {
    let program = folder.join("pictures");
    let cc = |compiler: &str, more: &[&str]| {
        let mut command = Command::new(compiler);
        command.args(["-Wall", "-Wextra", "-Werror", "-I"]);
        command.arg(Path::new(HERE).join("include")).args(more);
        ok(command
            .output()
            .unwrap_or_else(|e| panic!("{compiler}: {e}")));
    };
    let source = Path::new(HERE).join("examples/pictures.c");
    let library = built();
    let run_path = format!("-Wl,-rpath,{}", library.display());
    let link = [
        "-L",
        text(&library),
        "-lwgvq_c",
        &run_path,
        "-o",
        text(&program),
    ];
    cc("cc", &[&["-std=c99", text(&source)], &link[..]].concat());
    std::fs::write(folder.join("a.cpp"), "#include \"wgvq.h\"\n").unwrap();
    cc("c++", &["-fsyntax-only", text(&folder.join("a.cpp"))]);
    program
}

/// The pixels of a picture in a file, and its size.
fn pixels(path: &Path) -> (usize, usize, Vec<u8>) {
    let image = image::open(path).unwrap();
    let (w, h) = (image.width() as usize, image.height() as usize);
    (w, h, image.into_rgb8().into_raw())
}

fn ppm(bytes: &[u8]) -> (usize, usize, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ppm");
    std::fs::write(&path, bytes).unwrap();
    pixels(&path)
}

#[test]
fn the_example_gives_what_the_program_gives() {
    let program = std::env::var("WGVQ_PROGRAM").expect("WGVQ_PROGRAM: run scripts/capi.sh test");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let example = compiled(folder.path());
    let fixtures = Path::new(HERE).join("../tests/fixtures/runs");
    let run = fixtures.join("ema");
    let picture = fixtures.join("original.png");
    let wgvq = |args: &[&str]| ok(Command::new(&program).args(args).output().unwrap());
    let c = |args: &[&str]| {
        let mut command = Command::new(&example);
        command.args(args).stdin(Stdio::null()).output().unwrap()
    };

    // A picture of the model's size.
    let (w, h, _) = ppm(&ok(c(&[&[text(&run), "decode"], &["0"; 16][..]].concat())));
    let resized = image::open(&picture).unwrap().into_rgb8();
    let resized = image::imageops::crop_imm(&resized, 0, 0, w as u32, h as u32).to_image();
    resized.save(at("a.png")).unwrap();
    resized.save(at("a.ppm")).unwrap();

    // Encoded: the same codes.
    wgvq(&[
        "encode",
        text(&run),
        text(&at("a.png")),
        "-o",
        text(&at("a.safetensors")),
        "--npy",
    ]);
    let array = std::fs::read(at("a.npy")).unwrap();
    let codes: Vec<String> = array[array.len() - 32..]
        .as_chunks::<2>()
        .0
        .iter()
        .map(|b| u16::from_le_bytes(*b).to_string())
        .collect();
    let mut encode = Command::new(&example);
    encode.args([text(&run), "encode"]);
    let input = std::fs::File::open(at("a.ppm")).unwrap();
    let printed = ok(encode.stdin(input).output().unwrap());
    let printed = String::from_utf8(printed).unwrap();
    assert_eq!(printed.lines().collect::<Vec<_>>(), codes);

    // Decoded: the same pixels, by the run and by its decoder's file.
    wgvq(&[
        "decode",
        text(&run),
        text(&at("a.safetensors")),
        "-o",
        text(&at("decoded")),
    ]);
    let expected = pixels(&at("decoded/a.png"));
    let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
    assert_eq!(
        ppm(&ok(c(&[&[text(&run), "decode"], &codes[..]].concat()))),
        expected
    );
    wgvq(&[
        "export",
        text(&run),
        "--decoder",
        "-o",
        text(&at("d.safetensors")),
    ]);
    let decoder = at("d.safetensors");
    let part = [&[text(&decoder), "decoder"], &codes[..]].concat();
    assert_eq!(ppm(&ok(c(&part))), expected);

    // Drawn: the same sample of the same seed.
    let into = at("drawn");
    let drawn = [
        "--n",
        "1",
        "--class",
        "none",
        "--seed",
        "5",
        "--out",
        text(&into),
    ];
    wgvq(&[&["sample", text(&run)], &drawn[..]].concat());
    let files = std::fs::read_dir(at("drawn"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let is_png = |p: &PathBuf| p.extension().is_some_and(|e| e == "png");
    let is_sample = |p: &PathBuf| is_png(p) && !p.ends_with("grid.png");
    let samples: Vec<PathBuf> = files.filter(is_sample).collect();
    assert_eq!(samples.len(), 1, "{samples:?}");
    assert_eq!(
        ppm(&ok(c(&[text(&run), "sample", "none", "5"]))),
        pixels(&samples[0])
    );

    // What cannot be done is said, and nothing crashes.
    for (args, word) in [
        (vec![text(&run), "decode", "1"], "16 codes"),
        (vec!["none/at/all", "decode"], "none/at/all"),
        (vec![text(&run), "sample", "99", "1"], "class"),
    ] {
        let output = c(&args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(1) && said.contains(word),
            "{args:?}: {said}"
        );
    }
    let past = [&[text(&run), "decode"], &["99999"; 16][..]].concat();
    let said = c(&past);
    assert!(String::from_utf8_lossy(&said.stderr).contains("99999"));
}
