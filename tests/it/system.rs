//! Signals, paths, file systems and limits of the machine.

#[cfg(target_os = "linux")]
mod memory;
#[cfg(unix)]
mod paths;
#[cfg(target_os = "linux")]
mod places;
#[cfg(unix)]
mod signals;

/// A folder of a few small pictures.
#[cfg(unix)]
fn pictures(folder: &std::path::Path) -> std::path::PathBuf {
    let to = folder.join("pictures");
    std::fs::create_dir_all(&to).expect("a temporary folder");
    for i in 0..12u8 {
        let pixel = |x: u32, y: u32| {
            image::Rgb([(x * 11) as u8 ^ i, ((y * 7) as u8).wrapping_mul(i), i * 20])
        };
        image::RgbImage::from_fn(16, 16, pixel)
            .save(to.join(format!("{i}.png")))
            .expect("a temporary file");
    }
    to
}
