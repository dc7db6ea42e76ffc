//! A row of the training log. Of several levels of codes, the metrics without a name speak of all:
//! perplexities are means over the codebooks, entropies means over the codes of an image, errors
//! means over levels, and codes used are summed.

use crate::metrics::{columns, mean, metrics};
use crate::storage::metrics_log::Record;

metrics! {
    /// The losses of a step.
    pub struct LossMetrics {
        /// Everything that the optimiser minimises.
        loss: 0, Mean, "{:.6e}";
        /// Mean squared error of the batch, pixels in [-1, 1].
        reconstruction: 1, Mean, "{:.6e}";
        /// The quantizer's losses that draw latents to codes, weighted.
        commitment: 2, Mean, "{:.6e}";
        /// Losses that draw codes to latents, weighted.
        codebook: 3, Mean, "{:.6e}";
        /// Entropies and other terms that keep codes in use, weighted.
        regularizer: 4, Mean, "{:.6e}";
    }
}

metrics! {
    /// Metrics of a step's codes.
    pub struct CodeMetrics {
        /// Mean squared distance of latents to what they became, per channel.
        quantization_error: 0, Mean, "{:.6e}";
        /// Perplexity of the batch's codes; of several codebooks the mean.
        perplexity: 1, Mean, "{:.3}";
        /// Their entropy, in bits per code.
        entropy_bits: 2, Mean, "{:.4}";
        /// Codes that the batch used, of all codebooks.
        used: 3, Mean, "{:.1}";
        /// Dead codes that were placed anew.
        revived: 4, Mean, "{:.1}";
    }
}

metrics! {
    /// GAN metrics of a step. Before the discriminator takes part, they are 0.
    pub struct GanMetrics {
        /// The loss of edges and windows, weighted.
        structure: 0, Mean, "{:.5e}";
        /// The perceptual loss, weighted.
        perceptual: 9, Mean, "{:.5e}";
        /// The generator's adversarial loss, unweighted.
        generator: 1, Mean, "{:.5e}";
        /// The feature matching loss, with `gan.feature_weight`.
        features: 2, Mean, "{:.5e}";
        /// Weight of the generator's losses, including the adaptive factor.
        adversarial_weight: 3, Mean, "{:.5e}";
        /// The discriminator's loss, without its regularizer.
        discriminator: 4, Mean, "{:.5e}";
        /// Mean logit for originals.
        logits_real: 5, Mean, "{:.5e}";
        /// Mean logit for reconstructions.
        logits_fake: 6, Mean, "{:.5e}";
        /// R1 or LeCAM, unweighted; of R1, over the steps that have it.
        penalty: 7, MeanWhereAny, "{:.5e}";
        /// Norm of the model's gradients.
        gradient_norm: 8, Mean, "{:.5e}";
        /// Norm of the discriminator's.
        discriminator_gradient_norm: 10, Mean, "{:.5e}";
    }
}

metrics! {
    /// Metrics of a step in mixed precision, of the report of its gradients.
    pub struct PrecisionMetrics {
        /// The factor of the loss.
        loss_scale: 3, Mean, "{:.6e}";
        /// Steps that moved nothing, because their gradients were not finite.
        skipped_steps: 2, Zeros, "{:.0}";
    }
}

/// A row of the training log: means over the steps since the row before.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Steps done.
    pub step: u64,
    /// The losses.
    pub losses: LossMetrics,
    /// The codes of all levels.
    pub codes: CodeMetrics,
    /// Metrics of each level, the coarsest first.
    pub levels: Vec<LevelRow>,
    /// GAN metrics of a run with a discriminator.
    pub gan: Option<GanMetrics>,
    /// Metrics of a run in mixed precision.
    pub precision: Option<PrecisionMetrics>,
}

/// A row's metrics of one level of codes.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelRow {
    /// Its name; empty where there is one level.
    pub name: String,
    /// Codes of an image.
    pub codes: usize,
    /// Codebooks.
    pub codebooks: usize,
    /// Metrics of its codes.
    pub metrics: CodeMetrics,
}

impl Row {
    /// Creates it from the losses and the metrics of each level.
    pub fn new(step: u64, losses: LossMetrics, levels: Vec<LevelRow>) -> Row {
        let codes = CodeMetrics {
            quantization_error: mean(&levels, |_| 1, |l| l.metrics.quantization_error),
            perplexity: mean(&levels, |l| l.codebooks, |l| l.metrics.perplexity),
            entropy_bits: mean(&levels, |l| l.codes, |l| l.metrics.entropy_bits),
            used: levels.iter().map(|l| l.metrics.used).sum(),
            revived: levels.iter().map(|l| l.metrics.revived).sum(),
        };
        Row {
            step,
            losses,
            codes,
            levels,
            gan: None,
            precision: None,
        }
    }

    /// Returns the row as if there were this level alone.
    pub fn of_level(&self, level: usize) -> Row {
        let own = self.levels.get(level).cloned().into_iter().collect();
        Row::new(self.step, self.losses, own)
    }

    /// Returns the names of the columns, with levels of these names, and those of a run with a
    /// discriminator and of one in mixed precision.
    pub fn columns(levels: &[&str], gan: bool, mixed: bool) -> String {
        let all = columns(LossMetrics::names().chain(CodeMetrics::names()), "");
        let each = levels.iter().filter(|level| !level.is_empty());
        let each: String = each
            .map(|level| columns(CodeMetrics::names(), level))
            .collect();
        let gan = gan.then(|| columns(GanMetrics::names(), ""));
        let mixed = mixed.then(|| columns(PrecisionMetrics::names(), ""));
        let (gan, mixed) = (gan.unwrap_or_default(), mixed.unwrap_or_default());
        format!("step{all}{each}{gan}{mixed}")
    }
}

impl Record for Row {
    fn header() -> String {
        Row::columns(&[], false, false)
    }

    fn values(&self) -> String {
        let levels = self.levels.iter().filter(|l| !l.name.is_empty());
        let levels: String = levels.map(|l| l.metrics.text()).collect();
        let gan = self.gan.map(|gan| gan.text()).unwrap_or_default();
        let mixed = self.precision.map(|p| p.text()).unwrap_or_default();
        let (losses, codes) = (self.losses.text(), self.codes.text());
        format!("{}{losses}{codes}{levels}{gan}{mixed}", self.step)
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let each: Vec<String> = self
            .levels
            .iter()
            .map(|l| format!("{:.0}", l.metrics.perplexity))
            .collect();
        let loss = self.losses.loss;
        write!(f, "loss {loss:.4}  perplexity {}", each.join(" / "))?;
        if let Some(gan) = &self.gan {
            let (generator, discriminator) = (gan.generator, gan.discriminator);
            write!(
                f,
                "  generator {generator:.3}  discriminator {discriminator:.3}"
            )?;
        }
        Ok(())
    }
}
