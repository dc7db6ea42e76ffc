//! AVIF's rates, by libavif's own programs: `avifenc` makes the files, and `avifdec` reads them.
//!
//! An encoder in Rust would be two dozen packages for one curve, and has no decoder beside it
//! (docs/rejected.md).

use super::codecs::Lossy;
use super::grid::Shape;
use crate::{Error, Result};
use image::{ColorType, ImageFormat};
use rayon::prelude::*;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Levels of quantization at which AVIF is measured, libaom's `cq-level`: 0 is the finest.
pub const LEVELS: [u8; 10] = [63, 60, 56, 50, 44, 38, 30, 22, 14, 6];

/// The programs, as they are on this machine.
#[derive(Debug, Clone)]
pub struct Programs {
    encoder: PathBuf,
    decoder: PathBuf,
    version: String,
}

/// AVIF's rates and errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Avif {
    /// The program that made the files, as `avifenc 1.2.1`.
    pub by: String,
    /// Its curve, level by level; the quality of a point is its level.
    pub curve: Vec<Lossy>,
    /// Bits per pixel of the file of an even grey image: headers, and next to nothing else.
    pub headers: f64,
}

impl Programs {
    /// Finds `avifenc` and `avifdec` on the path of programs.
    ///
    /// # Errors
    /// If one is not there, with what to install.
    pub fn find() -> Result<Programs> {
        Programs::at("avifenc".into(), "avifdec".into())
    }

    fn at(encoder: PathBuf, decoder: PathBuf) -> Result<Programs> {
        let version = |program: &Path| {
            call(program, ["--version"]).map_err(|e| {
                let what = format!(
                    "AVIF is measured by libavif's programs avifenc and avifdec: {e}. Install \
                     them (`apt-get install libavif-bin`, `brew install libavif`), or leave \
                     --avif out"
                );
                Error::invalid("report", what)
            })
        };
        version(&decoder)?;
        // "Version: 1.2.1 (dav1d [dec]:1.5.1, aom [enc/dec]:3.12.0)"
        let said = version(&encoder)?;
        let number = said.split_whitespace().nth(1).unwrap_or_default();
        Ok(Programs {
            version: format!("avifenc {number}").trim_end().to_owned(),
            encoder,
            decoder,
        })
    }

    /// Returns what the programs are called, with their version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Measures AVIF on images: at full colour resolution, as JPEG is, and at the encoder's own
    /// speed.
    ///
    /// # Errors
    /// If the bytes are not whole images of 1 or 3 channels, a program fails, or the folder for
    /// temporary files has no room.
    pub fn measure(&self, pixels: &[u8], shape: Shape) -> Result<Avif> {
        let grey = vec![128; shape.width * shape.height * shape.channels];
        let curve = LEVELS
            .iter()
            .map(|level| self.at_level(pixels, shape, *level));
        Ok(Avif {
            by: self.version.clone(),
            curve: curve.collect::<Result<_>>()?,
            headers: self.at_level(&grey, shape, 50)?.bits_per_pixel,
        })
    }

    fn at_level(&self, pixels: &[u8], shape: Shape, level: u8) -> Result<Lossy> {
        shape.count(pixels)?;
        let folder = tempfile::tempdir()
            .map_err(|e| Error::data(format!("no folder for temporary files: {e}")))?;
        let coded = pixels
            .par_chunks(shape.width * shape.height * shape.channels)
            .enumerate()
            .map(|(i, image)| {
                let name = |kind: &str| folder.path().join(format!("{i}{kind}"));
                self.code(
                    image,
                    shape,
                    level,
                    [".png", ".avif", "-again.png"].map(name),
                )
            });
        let (bytes, again): (Vec<u64>, Vec<Vec<u8>>) =
            coded.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        Lossy::of(level, bytes.into_iter(), pixels, &again.concat(), shape)
    }

    /// Codes an image, and returns the bytes of its file and what that decodes to.
    fn code(
        &self,
        image: &[u8],
        shape: Shape,
        level: u8,
        [plain, coded, again]: [PathBuf; 3],
    ) -> Result<(u64, Vec<u8>)> {
        let at = |path: &Path, e: &dyn std::fmt::Display| Error::file(path, e);
        let (kind, yuv) = match shape.channels {
            1 => (ColorType::L8, "400"),
            3 => (ColorType::Rgb8, "444"),
            other => {
                let what = format!("images of {other} channels: codecs are given 1 or 3");
                return Err(Error::invalid("report", what));
            }
        };
        let (width, height) = (shape.width as u32, shape.height as u32);
        image::save_buffer_with_format(&plain, image, width, height, kind, ImageFormat::Png)
            .map_err(|e| at(&plain, &e))?;
        let options = format!(
            "-c aom -j 1 -d 8 -y {yuv} --min 0 --max 63 -a end-usage=q -a cq-level={level}"
        );
        // Paths go as they are: a temporary folder may have a name that is not UTF-8, or a space.
        let encode = options.split(' ').map(OsStr::new);
        let decode = ["-j", "1"].into_iter().map(OsStr::new);
        let failed = |e: String| Error::data(format!("an image cannot be coded as AVIF: {e}"));
        let files = [plain.as_os_str(), coded.as_os_str()];
        call(&self.encoder, encode.chain(files)).map_err(failed)?;
        let files = [coded.as_os_str(), again.as_os_str()];
        call(&self.decoder, decode.chain(files)).map_err(failed)?;
        let bytes = std::fs::metadata(&coded).map_err(|e| at(&coded, &e))?.len();
        let read = image::open(&again).map_err(|e| at(&again, &e))?;
        if (read.width(), read.height()) != (width, height) {
            let what = format!(
                "{} made an image of {} x {} of one of {width} x {height}",
                self.decoder.display(),
                read.width(),
                read.height()
            );
            return Err(failed(what));
        }
        let pixels = match kind {
            ColorType::L8 => read.into_luma8().into_raw(),
            _ => read.into_rgb8().into_raw(),
        };
        for path in [&plain, &coded, &again] {
            std::fs::remove_file(path).map_err(|e| at(path, &e))?;
        }
        Ok((bytes, pixels))
    }
}

/// Runs a program to its end, and returns what it printed.
fn call<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> std::result::Result<String, String> {
    let name = program.display();
    let done = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|e| format!("{name} does not start ({e})"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    // Errors go to stderr; some of older versions to stdout, behind what was done until then.
    let said = [&done.stderr, &done.stdout].map(|said| String::from_utf8_lossy(said));
    let said = said.iter().flat_map(|said| said.lines());
    let said = said.map(str::trim).find(|line| !line.is_empty());
    Err(format!(
        "{name} ended with {}: {}",
        done.status,
        said.unwrap_or("no word")
    ))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program that says its version, and otherwise does what `script` does.
    fn program(folder: &Path, name: &str, script: &str) -> PathBuf {
        let path = folder.join(name);
        let version = "if [ \"$1\" = --version ]; then echo 'Version: 9.8.7 (aom)'; exit; fi";
        std::fs::write(&path, format!("#!/bin/sh\n{version}\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The last two arguments are files: copies one to the other.
    const COPY: &str = "for a; do from=$to; to=$a; done; cat \"$from\" >\"$to\"";

    #[test]
    fn rates_are_those_of_the_files_and_errors_those_of_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let longer = format!("{COPY}; head -c 1000 /dev/zero >>\"$to\"; echo \"$@\" >>\"$0.log\"");
        let encoder = program(folder.path(), "avifenc", &longer);
        let decoder = program(folder.path(), "avifdec", COPY);
        let programs = Programs::at(encoder, decoder).unwrap();
        assert_eq!(programs.version(), "avifenc 9.8.7");
        for channels in [1, 3] {
            let (width, height) = (24, 16);
            let shape = Shape {
                width,
                height,
                channels,
            };
            let pixels: Vec<u8> = (0..2 * 24 * 16 * channels)
                .map(|i| (i * 7 % 251) as u8)
                .collect();
            let one = programs.at_level(&pixels, shape, 30).unwrap();
            assert_eq!((one.quality, one.mse), (30, 0.0));
            let kind = match channels {
                1 => ColorType::L8,
                _ => ColorType::Rgb8,
            };
            let bytes = pixels.chunks(24 * 16 * channels).map(|image| {
                let file = folder.path().join("one.png");
                image::save_buffer_with_format(&file, image, 24, 16, kind, ImageFormat::Png)
                    .unwrap();
                1000 + std::fs::metadata(file).unwrap().len()
            });
            let bits = 8.0 * bytes.sum::<u64>() as f64;
            assert_eq!(one.bits_per_pixel, bits / (2.0 * 24.0 * 16.0));
            assert_eq!((one.psnr, one.ssim), (f64::INFINITY, Some(1.0)));
            let all = programs.measure(&pixels, shape).unwrap();
            assert_eq!(all.curve.len(), LEVELS.len());
            assert!(all.headers < one.bits_per_pixel);
        }
        let log = std::fs::read_to_string(folder.path().join("avifenc.log")).unwrap();
        for words in ["-y 400", "-y 444", "cq-level=6 ", "cq-level=63 "] {
            assert!(log.contains(words), "{words}");
        }
        let shape = Shape {
            width: 8,
            height: 8,
            channels: 4,
        };
        let error = programs.at_level(&[0; 8 * 8 * 4], shape, 30).unwrap_err();
        assert!(error.to_string().contains("4 channels"), "{error}");
    }

    #[test]
    fn programs_that_fail_or_are_not_there_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let there = program(folder.path(), "avifdec", COPY);
        let error = Programs::at(folder.path().join("none"), there.clone()).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("libavif-bin") && error.contains("none"),
            "{error}"
        );
        let error = Programs::at(there.clone(), folder.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }

    /// Returns the error of an image of 8 x 8, and checks that its temporary files are gone.
    fn error_of(encoder: &str, decoder: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let log = "for a; do echo \"$a\" >>\"$0.log\"; done";
        let encoder = program(folder.path(), "avifenc", &format!("{log}; {encoder}"));
        let decoder = program(folder.path(), "avifdec", decoder);
        let programs = Programs::at(encoder, decoder).unwrap();
        let shape = Shape {
            width: 8,
            height: 8,
            channels: 1,
        };
        let error = programs.at_level(&[0; 64], shape, 30).unwrap_err();
        let log = std::fs::read_to_string(folder.path().join("avifenc.log")).unwrap();
        let file = log.lines().find(|line| line.ends_with(".png")).unwrap();
        assert!(!Path::new(file).parent().unwrap().exists(), "{file}");
        error.to_string()
    }

    #[test]
    fn programs_that_fail_say_why_and_leave_nothing() {
        for (encoder, decoder, word) in [
            ("echo 'no codec' >&2; exit 3", COPY, "no codec"),
            ("echo; echo 'no memory'; exit 1", COPY, "no memory"),
            ("kill -9 $$", COPY, "signal: 9"),
            (COPY, "echo 'no picture' >&2; exit 1", "no picture"),
            // These end well, and have not done what was asked.
            ("true", COPY, "0.avif"),
            (COPY, "true", "again.png"),
            (
                COPY,
                "for a; do to=$a; done; echo text >\"$to\"",
                "again.png",
            ),
        ] {
            let error = error_of(encoder, decoder);
            assert!(error.contains(word), "{encoder}, {decoder}: {error}");
        }
        // An image of another size.
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("it's other.png");
        image::GrayImage::new(5, 7).save(&other).unwrap();
        let decoder = format!(
            "for a; do to=$a; done; cat \"{}\" >\"$to\"",
            other.display()
        );
        let error = error_of(COPY, &decoder);
        assert!(error.contains("5 x 7 of one of 8 x 8"), "{error}");
    }
}
