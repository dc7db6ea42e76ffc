//! Rate and distortion: what runs keep of images for how many bits, beside common codecs.

use super::avif::Avif;
use super::codecs::{At, Kept, Lossy, at_psnr, at_rate};
use crate::storage::table;
use std::fmt::Write;

/// The results of a run on the pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Coded {
    /// Its name.
    pub name: String,
    /// Mean squared error, pixels in [0, 1].
    pub mse: f64,
    /// `-10 log10(mse)`, in dB.
    pub psnr: f64,
    /// Structural similarity, 1 for equal images; `None` of images smaller than its window.
    pub ssim: Option<f64>,
    /// Its levels of codes, the coarsest first.
    pub levels: Vec<LevelRate>,
    /// Bits per pixel of packed files, one of each picture, headers and all.
    pub packed: f64,
}

/// Rate of one level of codes.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelRate {
    /// Its name; empty where there is one.
    pub name: String,
    /// Bits per pixel at the entropy of the codes, each by its frequency in the pictures: what an
    /// ideal entropy coder that knows the frequencies would write.
    pub entropy: f64,
    /// Bits per pixel at log2 K for each code.
    pub nominal: f64,
}

impl Coded {
    /// Bits per pixel at the codes' entropy, all levels.
    pub fn entropy(&self) -> f64 {
        self.levels.iter().map(|l| l.entropy).sum()
    }

    /// Bits per pixel at log2 K for each code, all levels.
    pub fn nominal(&self) -> f64 {
        self.levels.iter().map(|l| l.nominal).sum()
    }
}

/// A run's figures beside the codecs' with loss; `None` outside of a codec's curve.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Beside {
    /// Bits per pixel of JPEG at the run's PSNR.
    pub jpeg: Option<f64>,
    /// Bits per pixel of AVIF there.
    pub avif: Option<f64>,
    /// Quality of JPEG in the bytes of the run's packed files.
    pub jpeg_in_packed: Option<Kept>,
    /// Quality of AVIF in them.
    pub avif_in_packed: Option<Kept>,
}

impl Beside {
    /// Computes the figures of a run.
    pub fn of(run: &Coded, codecs: &Codecs) -> Beside {
        let avif = codecs.avif.as_ref().map_or(&[][..], |avif| &avif.curve);
        let rate = |curve: &[Lossy]| match at_psnr(curve, run.psnr) {
            Some(At::Rate(rate)) => Some(rate),
            _ => None,
        };
        Beside {
            jpeg: rate(&codecs.jpeg),
            avif: rate(avif),
            jpeg_in_packed: at_rate(&codecs.jpeg, run.packed),
            avif_in_packed: at_rate(avif, run.packed),
        }
    }
}

/// Rates of common codecs for the same pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Codecs {
    /// JPEG, quality by quality.
    pub jpeg: Vec<Lossy>,
    /// Bits per pixel of JPEG's headers.
    pub jpeg_headers: f64,
    /// Bits per pixel of PNG.
    pub png: f64,
    /// Bits per pixel of WebP without loss.
    pub webp: f64,
    /// AVIF, where it was measured.
    pub avif: Option<Avif>,
}

impl Codecs {
    /// Returns the codecs with loss, by name, and bits per pixel of what each file begins with.
    pub(super) fn lossy(&self) -> Vec<(&'static str, &[Lossy], f64)> {
        let mut all = vec![("JPEG", &self.jpeg[..], self.jpeg_headers)];
        all.extend(self.avif.iter().map(|a| ("AVIF", &a.curve[..], a.headers)));
        all
    }
}

/// The rate of a codec at a PSNR, in words.
fn rate_at(curve: &[Lossy], psnr: f64) -> String {
    match at_psnr(curve, psnr) {
        None => "-".into(),
        Some(At::Rate(rate)) => format!("{rate:.3}"),
        Some(At::Below(l)) => format!(
            "below {:.3}, which reaches {:.2} dB",
            l.bits_per_pixel, l.psnr
        ),
        Some(At::Above(l)) => format!(
            "above {:.3}, which reaches {:.2} dB",
            l.bits_per_pixel, l.psnr
        ),
    }
}

/// Returns what a codec keeps in so many bits per pixel, in words.
fn kept_in(curve: &[Lossy], bits_per_pixel: f64) -> String {
    match at_rate(curve, bits_per_pixel) {
        Some(Kept { psnr, ssim: None }) => format!("{psnr:.2} dB"),
        Some(Kept {
            psnr,
            ssim: Some(ssim),
        }) => format!("{psnr:.2} dB, SSIM {ssim:.3}"),
        None if curve.iter().any(|l| l.bits_per_pixel > bits_per_pixel) => {
            "no file so small".into()
        }
        None => "no file so large".into(),
    }
}

/// Returns a rate, and in brackets those of the levels it sums.
fn summed(run: &Coded, of: fn(&LevelRate) -> f64) -> String {
    let sum: f64 = run.levels.iter().map(of).sum();
    match &run.levels[..] {
        [_] => format!("{sum:.3}"),
        levels => {
            let each: Vec<String> = levels
                .iter()
                .map(|l| format!("{} {:.3}", l.name, of(l)))
                .collect();
            format!("{sum:.3} ({})", each.join(", "))
        }
    }
}

/// Returns an SSIM in words, or a dash.
fn similarity(ssim: Option<f64>) -> String {
    ssim.map_or_else(|| "-".into(), |ssim| format!("{ssim:.3}"))
}

/// The tables in Markdown: the runs, and the codecs.
pub fn table(runs: &[Coded], codecs: &Codecs) -> String {
    let lossy = codecs.lossy();
    let mut text = String::from(
        "| run | PSNR, dB | SSIM | MSE | bits per pixel, packed files | entropy of the codes \
         | log2 K |",
    );
    for (name, ..) in &lossy {
        let _ = write!(text, " {name}'s at that PSNR |");
    }
    for (name, ..) in &lossy {
        let _ = write!(text, " {name} in the packed bytes |");
    }
    let _ = writeln!(text, "\n|{}", " --- |".repeat(7 + 2 * lossy.len()));
    for run in runs {
        let (entropy, nominal) = (summed(run, |l| l.entropy), summed(run, |l| l.nominal));
        let _ = write!(
            text,
            "| {} | {:.2} | {} | {:.5} | {:.3} | {entropy} | {nominal} |",
            run.name,
            run.psnr,
            similarity(run.ssim),
            run.mse,
            run.packed
        );
        for (_, curve, _) in &lossy {
            let _ = write!(text, " {} |", rate_at(curve, run.psnr));
        }
        for (_, curve, _) in &lossy {
            let _ = write!(text, " {} |", kept_in(curve, run.packed));
        }
        text.push('\n');
    }
    text.push_str("\n| codec | PSNR, dB | SSIM | MSE | bits per pixel |\n");
    text.push_str("| --- | --- | --- | --- | --- |\n");
    for (name, curve, headers) in lossy {
        for l in curve {
            let _ = writeln!(
                text,
                "| {name} {} | {:.2} | {} | {:.5} | {:.3} |",
                l.quality,
                l.psnr,
                similarity(l.ssim),
                l.mse,
                l.bits_per_pixel
            );
        }
        let _ = writeln!(
            text,
            "| {name}'s headers, in each of these | | | | {headers:.3} |"
        );
    }
    for (name, rate) in [("PNG", codecs.png), ("WebP, lossless", codecs.webp)] {
        let _ = writeln!(text, "| {name} | without loss | 1 | 0 | {rate:.3} |");
    }
    text
}

/// Returns the figures as CSV: a row to each run, each of its levels, and each setting of a codec.
/// Without loss, PSNR is infinite.
pub fn csv(runs: &[Coded], codecs: &Codecs) -> String {
    let header = "kind,name,level,quality,psnr,mse,bits_per_pixel,nominal_bits_per_pixel,\
                  jpeg_bits_per_pixel,packed_bits_per_pixel,avif_bits_per_pixel,\
                  jpeg_psnr_in_packed,avif_psnr_in_packed,ssim,jpeg_ssim_in_packed,\
                  avif_ssim_in_packed";
    let header: Vec<String> = header.split(',').map(str::to_owned).collect();
    let columns = header.len();
    let mut rows = vec![header];
    // What a row of this kind does not have stays empty.
    let mut row = |cells: &[(&str, String)]| {
        let mut row = vec![String::new(); columns];
        for (name, cell) in cells {
            if let Some(at) = rows[0].iter().position(|column| column == name) {
                row[at].clone_from(cell);
            }
        }
        rows.push(row);
    };
    let said = |value: Option<f64>, digits: usize| {
        value.map_or_else(String::new, |value| format!("{value:.digits$}"))
    };
    let six = |value: f64| said(Some(value), 6);
    for run in runs {
        let beside = Beside::of(run, codecs);
        let psnr = |kept: Option<Kept>| said(kept.map(|k| k.psnr), 4);
        let ssim = |kept: Option<Kept>| said(kept.and_then(|k| k.ssim), 6);
        row(&[
            ("kind", "run".into()),
            ("name", run.name.clone()),
            ("psnr", format!("{:.4}", run.psnr)),
            ("mse", format!("{:.8}", run.mse)),
            ("ssim", said(run.ssim, 6)),
            ("bits_per_pixel", six(run.entropy())),
            ("nominal_bits_per_pixel", six(run.nominal())),
            ("packed_bits_per_pixel", six(run.packed)),
            ("jpeg_bits_per_pixel", said(beside.jpeg, 6)),
            ("avif_bits_per_pixel", said(beside.avif, 6)),
            ("jpeg_psnr_in_packed", psnr(beside.jpeg_in_packed)),
            ("avif_psnr_in_packed", psnr(beside.avif_in_packed)),
            ("jpeg_ssim_in_packed", ssim(beside.jpeg_in_packed)),
            ("avif_ssim_in_packed", ssim(beside.avif_in_packed)),
        ]);
        for l in run.levels.iter().filter(|l| !l.name.is_empty()) {
            row(&[
                ("kind", "level".into()),
                ("name", run.name.clone()),
                ("level", l.name.clone()),
                ("bits_per_pixel", six(l.entropy)),
                ("nominal_bits_per_pixel", six(l.nominal)),
            ]);
        }
    }
    for (name, curve, headers) in codecs.lossy() {
        for l in curve {
            row(&[
                ("kind", "codec".into()),
                ("name", name.into()),
                ("quality", l.quality.to_string()),
                ("psnr", format!("{:.4}", l.psnr)),
                ("mse", format!("{:.8}", l.mse)),
                ("ssim", said(l.ssim, 6)),
                ("bits_per_pixel", six(l.bits_per_pixel)),
            ]);
        }
        row(&[
            ("kind", "codec".into()),
            ("name", format!("{name} headers")),
            ("bits_per_pixel", six(headers)),
        ]);
    }
    for (name, rate) in [("PNG", codecs.png), ("WebP lossless", codecs.webp)] {
        row(&[
            ("kind", "codec".into()),
            ("name", name.into()),
            ("psnr", "inf".into()),
            ("mse", "0".into()),
            ("ssim", "1".into()),
            ("bits_per_pixel", six(rate)),
        ]);
    }
    table::csv(rows)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::report) fn codecs() -> Codecs {
        let point = |quality, bits_per_pixel: f64, psnr: f64| Lossy {
            quality,
            bits_per_pixel,
            mse: 10f64.powf(-psnr / 10.0),
            psnr,
            ssim: Some(psnr / 50.0),
        };
        Codecs {
            jpeg: vec![point(5, 1.0, 20.0), point(50, 4.0, 30.0)],
            jpeg_headers: 0.5,
            png: 14.0,
            webp: 11.0,
            avif: None,
        }
    }

    /// The same, and AVIF at half of JPEG's rates.
    pub(in crate::report) fn with_avif() -> Codecs {
        let mut codecs = codecs();
        let half = |l: &Lossy| Lossy {
            bits_per_pixel: l.bits_per_pixel / 2.0,
            ..*l
        };
        codecs.avif = Some(Avif {
            by: "avifenc 9.8.7".into(),
            curve: codecs.jpeg.iter().map(half).collect(),
            headers: 0.25,
        });
        codecs
    }

    pub(in crate::report) fn run(name: &str, psnr: f64, levels: &[(&str, f64, f64)]) -> Coded {
        let level = |(name, entropy, nominal): &(&str, f64, f64)| LevelRate {
            name: (*name).into(),
            entropy: *entropy,
            nominal: *nominal,
        };
        Coded {
            name: name.into(),
            mse: 10f64.powf(-psnr / 10.0),
            psnr,
            ssim: Some(0.75),
            levels: levels.iter().map(level).collect(),
            packed: 0.75,
        }
    }

    #[test]
    fn levels_are_summed_and_said() {
        let runs = [
            run("two", 25.0, &[("top", 0.1, 0.125), ("bottom", 0.4, 0.5)]),
            run("low, one", 18.0, &[("", 0.2, 0.25)]),
        ];
        let text = table(&runs, &codecs());
        assert!(
            text.contains(
                "| two | 25.00 | 0.750 | 0.00316 | 0.750 | 0.500 (top 0.100, bottom 0.400) \
                 | 0.625 (top 0.125, bottom 0.500) | 2.000 | no file so small |"
            ),
            "{text}"
        );
        assert!(
            text.contains("| 0.200 | 0.250 | below 1.000, which reaches 20.00 dB |"),
            "{text}"
        );
        let text = csv(&runs, &codecs());
        let rows: Vec<&str> = text.lines().collect();
        assert!(
            rows.iter()
                .all(|r| r.replace("\"low, one\"", "x").matches(',').count() == 15),
            "{text}"
        );
        assert_eq!(
            rows[1],
            "run,two,,,25.0000,0.00316228,0.500000,0.625000,2.000000,0.750000,,,,0.750000,,"
        );
        assert_eq!(rows[2], "level,two,top,,,,0.100000,0.125000,,,,,,,,");
        assert_eq!(rows.len(), 1 + 2 + 2 + 2 + 1 + 2);
    }

    #[test]
    fn avif_stands_beside_jpeg_where_it_was_measured() {
        let runs = [run("one", 25.0, &[("", 0.2, 0.25)])];
        let text = table(&runs, &with_avif());
        // Three quarters of a bit: AVIF's files are between half a bit and two.
        let psnr = 20.0 + 10.0 * 1.5f64.ln() / 4f64.ln();
        let ssim = psnr / 50.0;
        let figures =
            format!("| 2.000 | 1.000 | no file so small | {psnr:.2} dB, SSIM {ssim:.3} |");
        assert!(text.contains(&figures), "{text}");
        assert!(
            text.contains("| AVIF's headers, in each of these | | | | 0.250 |"),
            "{text}"
        );
        let text = csv(&runs, &with_avif());
        let figures = format!("2.000000,0.750000,1.000000,,{psnr:.4},0.750000,,{ssim:.6}\n");
        assert!(text.contains(&figures), "{text}");
        assert_eq!(
            text.lines()
                .filter(|l| l.starts_with("codec,AVIF,"))
                .count(),
            2
        );
    }
    #[test]
    fn images_smaller_than_the_window_of_ssim_have_none() {
        let mut codecs = with_avif();
        codecs.jpeg.iter_mut().for_each(|l| l.ssim = None);
        let curve = &mut codecs.avif.as_mut().unwrap().curve;
        curve.iter_mut().for_each(|l| l.ssim = None);
        let mut runs = [run("one", 25.0, &[("", 0.2, 0.25)])];
        runs[0].ssim = None;
        let text = table(&runs, &codecs);
        assert!(text.contains("| one | 25.00 | - | 0.00316 |"), "{text}");
        assert!(text.contains("| no file so small | 22.92 dB |"), "{text}");
        let text = csv(&runs, &codecs);
        assert!(text.contains(",22.9248,,,\n"), "{text}");
    }
}
