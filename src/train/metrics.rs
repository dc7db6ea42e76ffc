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
    /// The quantizer's part of the loss, weighted.
    pub commitment: f64,
    /// Perplexity of the batch's codes.
    pub perplexity: f64,
    /// Their entropy, in bits per code.
    pub entropy_bits: f64,
    /// Codes that the batch used.
    pub used: f64,
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
    /// Perplexity of all codes of the split.
    pub perplexity: f64,
    /// Codes that it used.
    pub used: usize,
    /// How often it used each.
    pub counts: Vec<u64>,
}

impl Evaluation {
    /// From an error and the counts of codes.
    pub fn new(step: u64, mse: f64, counts: Vec<u64>) -> Evaluation {
        let total: f64 = counts.iter().map(|c| *c as f64).sum();
        let used = counts.iter().filter(|c| **c > 0);
        let entropy: f64 = used.clone().map(|c| *c as f64 / total).map(|p| -p * p.ln()).sum();
        let used = used.count();
        let perplexity = if total > 0.0 { entropy.exp() } else { 0.0 };
        Evaluation { step, mse, psnr: -10.0 * mse.log10(), perplexity, used, counts }
    }
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let (mse, psnr, perplexity, used) = (self.mse, self.psnr, self.perplexity, self.used);
        write!(
            f,
            "test MSE {mse:.5}, PSNR {psnr:.2} dB, perplexity {perplexity:.1}, codes used {used} of {}",
            self.counts.len()
        )
    }
}
