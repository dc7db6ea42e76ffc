//! A measurement on the test split. Of several levels of codes, the metrics without a name speak of
//! all: perplexities are means over the codebooks, entropies means over the codes of an image,
//! errors means over levels, and codes used are summed.

use crate::metrics::{columns, mean};
use crate::storage::metrics_log::Record;

/// A column of a log: its name, and the value as it stands there.
type Column<T> = (&'static str, fn(&T) -> String);

/// The columns of a measurement.
const COLUMNS: &[Column<Evaluation>] = &[
    ("mse", |e| format!("{:.6e}", e.mse)),
    ("psnr", |e| format!("{:.3}", e.psnr)),
    ("ssim", |e| format!("{:.5}", e.ssim)),
    ("sharpness", |e| format!("{:.4}", e.sharpness)),
    ("edge_sharpness", |e| format!("{:.4}", e.edge_sharpness)),
    ("lpips", |e| format!("{:.5}", e.lpips)),
    ("quantization_error", |e| {
        format!("{:.6e}", e.quantization_error)
    }),
    ("perplexity", |e| format!("{:.2}", e.perplexity)),
    ("entropy_bits", |e| format!("{:.4}", e.entropy_bits)),
    ("bits_per_pixel", |e| format!("{:.5}", e.bits_per_pixel)),
    ("used", |e| e.used.to_string()),
];

/// Columns of one level of codes.
const LEVEL_COLUMNS: &[Column<LevelUse>] = &[
    ("quantization_error", |l| {
        format!("{:.6e}", l.quantization_error)
    }),
    ("perplexity", |l| format!("{:.2}", l.perplexity)),
    ("entropy_bits", |l| format!("{:.4}", l.entropy_bits)),
    ("bits_per_pixel", |l| format!("{:.5}", l.bits_per_pixel)),
    ("used", |l| l.used.to_string()),
];

/// A measurement on the test split.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// Mean squared error, pixels in [0, 1], reconstructions clamped to it.
    pub mse: f64,
    /// `-10 log10(mse)`, in dB.
    pub psnr: f64,
    /// Mean structural similarity; NaN for images smaller than its window of 11 x 11.
    pub ssim: f64,
    /// Energy of reconstructions in high frequencies over that of the originals: sums of squared
    /// Laplacians. Below 1 they are blurred.
    pub sharpness: f64,
    /// Sharpness over the tenth of each original's pixels where it has most: its edges, without
    /// what is grain on smooth ground.
    pub edge_sharpness: f64,
    /// LPIPS (Zhang et al. 2018) to the originals; NaN where the run has no weights of it.
    pub lpips: f64,
    /// Mean squared distance of latents to what they became, per channel.
    pub quantization_error: f64,
    /// Perplexity of all codes of the split; of several codebooks the mean.
    pub perplexity: f64,
    /// Their entropy, in bits per code.
    pub entropy_bits: f64,
    /// Bits per pixel of an image's codes at that entropy.
    pub bits_per_pixel: f64,
    /// Codes that it used, of all codebooks.
    pub used: usize,
    /// Number of uses of each code, level by level, codebook by codebook.
    pub counts: Vec<u64>,
    /// Use of each level, the coarsest first.
    pub levels: Vec<LevelUse>,
}

/// Measurements of one level of codes.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelUse {
    /// Its name; empty where there is one level.
    pub name: String,
    /// Codes of an image.
    pub codes: usize,
    /// Codebooks.
    pub codebooks: usize,
    /// See [`Evaluation::quantization_error`].
    pub quantization_error: f64,
    /// See [`Evaluation::perplexity`].
    pub perplexity: f64,
    /// See [`Evaluation::entropy_bits`].
    pub entropy_bits: f64,
    /// See [`Evaluation::bits_per_pixel`].
    pub bits_per_pixel: f64,
    /// See [`Evaluation::used`].
    pub used: usize,
    /// Codes that there are, of all codebooks.
    pub of: usize,
}

/// Counts of one level of codes.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelCounts {
    /// Its name; empty where there is one level.
    pub name: String,
    /// Codes of an image.
    pub codes: usize,
    /// Codebooks.
    pub codebooks: usize,
    /// See [`Evaluation::quantization_error`].
    pub quantization_error: f64,
    /// Number of uses of each code, codebook by codebook.
    pub counts: Vec<u64>,
}

/// Measurements of images and latents, before codes are counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fidelity {
    /// See [`Evaluation::mse`].
    pub mse: f64,
    /// See [`Evaluation::ssim`].
    pub ssim: f64,
    /// See [`Evaluation::sharpness`].
    pub sharpness: f64,
    /// See [`Evaluation::edge_sharpness`].
    pub edge_sharpness: f64,
    /// See [`Evaluation::lpips`].
    pub lpips: f64,
    /// Pixels of an image.
    pub image_pixels: usize,
}

impl LevelCounts {
    fn measured(&self, image_pixels: usize) -> LevelUse {
        let k = self.counts.len() / self.codebooks.max(1);
        let entropies: Vec<f64> = self.counts.chunks(k.max(1)).map(entropy).collect();
        let mean = |f: fn(f64) -> f64| {
            entropies.iter().map(|h| f(*h)).sum::<f64>() / entropies.len().max(1) as f64
        };
        let entropy_bits = mean(|h| h / std::f64::consts::LN_2);
        LevelUse {
            name: self.name.clone(),
            codes: self.codes,
            codebooks: self.codebooks,
            quantization_error: self.quantization_error,
            perplexity: if self.counts.iter().any(|c| *c > 0) {
                mean(f64::exp)
            } else {
                0.0
            },
            entropy_bits,
            bits_per_pixel: entropy_bits * (self.codes as f64 / image_pixels as f64),
            used: self.counts.iter().filter(|c| **c > 0).count(),
            of: self.counts.len(),
        }
    }
}

impl Evaluation {
    /// Computes it from the measurements, and the counts of the codes of each level.
    pub fn new(step: u64, f: Fidelity, levels: Vec<LevelCounts>) -> Evaluation {
        let of: Vec<LevelUse> = levels.iter().map(|l| l.measured(f.image_pixels)).collect();
        Evaluation {
            step,
            mse: f.mse,
            psnr: -10.0 * f.mse.log10(),
            ssim: f.ssim,
            sharpness: f.sharpness,
            edge_sharpness: f.edge_sharpness,
            lpips: f.lpips,
            quantization_error: mean(&of, |_| 1, |l| l.quantization_error),
            perplexity: mean(&of, |l| l.codebooks, |l| l.perplexity),
            entropy_bits: mean(&of, |l| l.codes, |l| l.entropy_bits),
            bits_per_pixel: of.iter().map(|l| l.bits_per_pixel).sum(),
            used: of.iter().map(|l| l.used).sum(),
            counts: levels.into_iter().flat_map(|l| l.counts).collect(),
            levels: of,
        }
    }
}

/// Entropy in nats.
fn entropy(counts: &[u64]) -> f64 {
    let total: f64 = counts.iter().map(|c| *c as f64).sum();
    let sum: f64 = counts
        .iter()
        .filter(|c| **c > 0)
        .map(|c| *c as f64 / total)
        .map(|p| -p * p.ln())
        .sum();
    // That of a single code in use is 0, not -0.
    sum + 0.0
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let (mse, psnr) = (self.mse, self.psnr);
        write!(f, "test MSE {mse:.5}, PSNR {psnr:.2} dB")?;
        if !self.ssim.is_nan() {
            write!(f, ", SSIM {:.3}", self.ssim)?;
        }
        write!(
            f,
            ", sharpness {:.2} ({:.2} at edges)",
            self.sharpness, self.edge_sharpness
        )?;
        if !self.lpips.is_nan() {
            write!(f, ", LPIPS {:.4}", self.lpips)?;
        }
        for l in &self.levels {
            let name = if l.name.is_empty() {
                String::new()
            } else {
                format!("{}: ", l.name)
            };
            write!(
                f,
                ", {name}perplexity {:.1}, codes used {} of {}",
                l.perplexity, l.used, l.of
            )?;
        }
        Ok(())
    }
}

impl Record for Evaluation {
    fn header() -> String {
        Evaluation::columns(&[])
    }

    fn values(&self) -> String {
        let own = COLUMNS.iter().map(|(_, text)| text(self));
        let levels = self.levels.iter().filter(|l| !l.name.is_empty());
        let levels = levels.flat_map(|l| LEVEL_COLUMNS.iter().map(move |(_, text)| text(l)));
        own.chain(levels)
            .fold(self.step.to_string(), |line, value| line + "," + &value)
    }
}

impl Evaluation {
    /// Returns the names of the columns, with levels of these names.
    pub fn columns(levels: &[&str]) -> String {
        let own = columns(COLUMNS.iter().map(|(name, _)| *name), "");
        let each = levels.iter().filter(|level| !level.is_empty());
        let each = each.map(|level| columns(LEVEL_COLUMNS.iter().map(|(name, _)| *name), level));
        format!("step{own}") + &each.collect::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::entropy;

    #[test]
    fn a_single_code_has_an_entropy_of_0() {
        for counts in [&[0, 7, 0][..], &[0, 0], &[]] {
            assert_eq!(format!("{:.3}", entropy(counts)), "0.000");
        }
        assert!((entropy(&[3, 3]) - std::f64::consts::LN_2).abs() < 1e-12);
    }
}
