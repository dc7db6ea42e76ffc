//! What a run is measured by.

/// A row of the training log: means over the steps since the row before.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Steps done.
    pub step: u64,
    /// Everything that the optimiser minimises.
    pub loss: f64,
    /// Mean squared error of the batch, pixels in [-1, 1].
    pub reconstruction: f64,
    /// The quantizer's losses that draw latents to codes, weighted.
    pub commitment: f64,
    /// Those that draw codes to latents, weighted.
    pub codebook: f64,
    /// Entropies and other terms that keep codes in use, weighted.
    pub regularizer: f64,
    /// Mean squared distance of latents to what they became, per channel.
    pub quantization_error: f64,
    /// Perplexity of the batch's codes; of several codebooks the mean.
    pub perplexity: f64,
    /// Their entropy, in bits per code.
    pub entropy_bits: f64,
    /// Codes that the batch used, of all codebooks.
    pub used: f64,
    /// Dead codes revived.
    pub revived: f64,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "loss {:.4}  perplexity {:.0}", self.loss, self.perplexity)
    }
}

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
    /// How often it used each, codebook by codebook.
    pub counts: Vec<u64>,
}

/// What is measured of images and latents, before codes are counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fidelity {
    /// See [`Evaluation::mse`].
    pub mse: f64,
    /// See [`Evaluation::ssim`].
    pub ssim: f64,
    /// See [`Evaluation::quantization_error`].
    pub quantization_error: f64,
    /// Codes per pixel: those of an image over its width times height.
    pub codes_per_pixel: f64,
}

impl Evaluation {
    /// From what was measured, and the counts of codes of `books` codebooks.
    pub fn new(step: u64, f: Fidelity, books: usize, counts: Vec<u64>) -> Evaluation {
        let k = counts.len() / books.max(1);
        let entropies: Vec<f64> = counts.chunks(k.max(1)).map(entropy).collect();
        let mean = |f: fn(f64) -> f64| entropies.iter().map(|h| f(*h)).sum::<f64>() / entropies.len().max(1) as f64;
        let entropy_bits = mean(|h| h / std::f64::consts::LN_2);
        Evaluation {
            step,
            mse: f.mse,
            psnr: -10.0 * f.mse.log10(),
            ssim: f.ssim,
            quantization_error: f.quantization_error,
            perplexity: if counts.iter().any(|c| *c > 0) { mean(f64::exp) } else { 0.0 },
            entropy_bits,
            bits_per_pixel: entropy_bits * f.codes_per_pixel,
            used: counts.iter().filter(|c| **c > 0).count(),
            counts,
        }
    }
}

/// Entropy in nats.
fn entropy(counts: &[u64]) -> f64 {
    let total: f64 = counts.iter().map(|c| *c as f64).sum();
    counts.iter().filter(|c| **c > 0).map(|c| *c as f64 / total).map(|p| -p * p.ln()).sum()
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let (mse, psnr, perplexity, used) = (self.mse, self.psnr, self.perplexity, self.used);
        write!(
            f,
            "test MSE {mse:.5}, PSNR {psnr:.2} dB, SSIM {:.3}, perplexity {perplexity:.1}, codes used {used} of {}",
            self.ssim,
            self.counts.len()
        )
    }
}
