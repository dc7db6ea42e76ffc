//! What a run is measured by. Of several levels of codes, the figures without a name speak of all:
//! perplexities are means over the codebooks, entropies means over the codes of an image, errors
//! means over levels, and codes used are summed.

use crate::storage::metrics_log::Record;

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
    /// The same of each level, the coarsest first.
    pub levels: Vec<LevelRow>,
    /// Of a run with a discriminator, what it and the model did to one another.
    pub players: Option<Players>,
}

/// What a row says of a run with a discriminator. What is not heard yet is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Players {
    /// The loss of edges and windows, weighted.
    pub structure: f64,
    /// The perceptual loss, weighted.
    pub perceptual: f64,
    /// The generator's adversarial loss, unweighted.
    pub generator: f64,
    /// The feature matching loss, with `gan.feature_weight`.
    pub features: f64,
    /// What both were multiplied by, adaptive factor and all.
    pub adversarial_weight: f64,
    /// The discriminator's loss, without its regularizer.
    pub discriminator: f64,
    /// Mean logit for originals.
    pub logits_real: f64,
    /// Mean logit for reconstructions.
    pub logits_fake: f64,
    /// R1 or LeCAM, unweighted; of R1, over the steps that have it.
    pub penalty: f64,
    /// Norm of the model's gradients.
    pub gradient_norm: f64,
    /// Norm of the discriminator's.
    pub discriminator_gradient_norm: f64,
}

impl Players {
    /// The columns' names.
    pub const NAMES: [&str; 11] = [
        "structure",
        "perceptual",
        "generator",
        "features",
        "adversarial_weight",
        "discriminator",
        "logits_real",
        "logits_fake",
        "penalty",
        "gradient_norm",
        "discriminator_gradient_norm",
    ];

    /// Their values, in that order.
    pub fn values(&self) -> [f64; 11] {
        let Players {
            structure,
            perceptual,
            generator,
            features,
            adversarial_weight,
            discriminator,
            ..
        } = *self;
        let Players {
            logits_real,
            logits_fake,
            penalty,
            gradient_norm,
            discriminator_gradient_norm,
            ..
        } = *self;
        [
            structure,
            perceptual,
            generator,
            features,
            adversarial_weight,
            discriminator,
            logits_real,
            logits_fake,
            penalty,
            gradient_norm,
            discriminator_gradient_norm,
        ]
    }
}

/// What a row says of one level of codes.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelRow {
    /// Its name; empty where there is one level.
    pub name: String,
    /// Codes of an image.
    pub codes: usize,
    /// Codebooks.
    pub codebooks: usize,
    /// See [`Row::quantization_error`].
    pub quantization_error: f64,
    /// See [`Row::perplexity`].
    pub perplexity: f64,
    /// See [`Row::entropy_bits`].
    pub entropy_bits: f64,
    /// See [`Row::used`].
    pub used: f64,
    /// See [`Row::revived`].
    pub revived: f64,
}

/// The mean of a figure over levels that count this much.
fn mean<T>(levels: &[T], weight: impl Fn(&T) -> usize, figure: impl Fn(&T) -> f64) -> f64 {
    if let [only] = levels {
        return figure(only);
    }
    let all: usize = levels.iter().map(&weight).sum();
    levels
        .iter()
        .map(|l| weight(l) as f64 * figure(l))
        .sum::<f64>()
        / all.max(1) as f64
}

impl Row {
    /// From the losses (all, reconstruction, commitment, codebook, regularizer) and what each level
    /// shows.
    pub fn new(step: u64, losses: [f64; 5], levels: Vec<LevelRow>) -> Row {
        let [loss, reconstruction, commitment, codebook, regularizer] = losses;
        Row {
            step,
            loss,
            reconstruction,
            commitment,
            codebook,
            regularizer,
            quantization_error: mean(&levels, |_| 1, |l| l.quantization_error),
            perplexity: mean(&levels, |l| l.codebooks, |l| l.perplexity),
            entropy_bits: mean(&levels, |l| l.codes, |l| l.entropy_bits),
            used: levels.iter().map(|l| l.used).sum(),
            revived: levels.iter().map(|l| l.revived).sum(),
            levels,
            players: None,
        }
    }

    /// The same as if there were this level alone.
    pub fn of_level(&self, level: usize) -> Row {
        let own = self.levels.get(level).cloned().into_iter().collect();
        let losses = [
            self.loss,
            self.reconstruction,
            self.commitment,
            self.codebook,
            self.regularizer,
        ];
        Row::new(self.step, losses, own)
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let each: Vec<String> = self
            .levels
            .iter()
            .map(|l| format!("{:.0}", l.perplexity))
            .collect();
        write!(f, "loss {:.4}  perplexity {}", self.loss, each.join(" / "))?;
        if let Some(p) = &self.players {
            write!(
                f,
                "  generator {:.3}  discriminator {:.3}",
                p.generator, p.discriminator
            )?;
        }
        Ok(())
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
    /// Energy of reconstructions in high frequencies over that of the originals: sums of squared
    /// Laplacians. Below 1 they are blurred.
    pub sharpness: f64,
    /// The same over the tenth of each original's pixels where it has most: its edges, without
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
    /// How often it used each, level by level, codebook by codebook.
    pub counts: Vec<u64>,
    /// The same of each level, the coarsest first.
    pub levels: Vec<LevelUse>,
}

/// What a measurement says of one level of codes.
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

/// What is counted of one level of codes.
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
    /// How often each code was used, codebook by codebook.
    pub counts: Vec<u64>,
}

/// What is measured of images and latents, before codes are counted.
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
    /// From what was measured, and the counts of the codes of each level.
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
    counts
        .iter()
        .filter(|c| **c > 0)
        .map(|c| *c as f64 / total)
        .map(|p| -p * p.ln())
        .sum()
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

/// The columns of all levels together, and behind them those of each where there are several.
fn with_levels(header: &str, own: &[&str], names: &[&str]) -> String {
    let named = names.iter().filter(|n| !n.is_empty());
    let of = |name: &&str| {
        own.iter()
            .map(|column| format!(",{column}.{name}"))
            .collect::<String>()
    };
    std::iter::once(header.to_owned())
        .chain(named.map(of))
        .collect()
}

impl Record for Row {
    const HEADER: &'static str = "step,loss,reconstruction,commitment,codebook,regularizer,\
                                  quantization_error,perplexity,entropy_bits,used,revived";
    fn values(&self) -> String {
        let losses = [
            self.loss,
            self.reconstruction,
            self.commitment,
            self.codebook,
            self.regularizer,
        ];
        let losses: String = losses.iter().map(|v| format!("{v:.6e},")).collect();
        let Row {
            step,
            quantization_error,
            perplexity,
            entropy_bits,
            used,
            revived,
            ..
        } = self;
        let mut text = format!(
            "{step},{losses}{quantization_error:.6e},{perplexity:.3},{entropy_bits:.4},{used:.1},\
             {revived:.1}"
        );
        for l in self.levels.iter().filter(|l| !l.name.is_empty()) {
            let LevelRow {
                quantization_error,
                perplexity,
                entropy_bits,
                used,
                revived,
                ..
            } = l;
            text += &format!(
                ",{quantization_error:.6e},{perplexity:.3},{entropy_bits:.4},{used:.1},{revived:.\
                 1}"
            );
        }
        for value in self.players.iter().flat_map(Players::values) {
            text += &format!(",{value:.5e}");
        }
        text
    }
}

impl Row {
    /// The names of the columns, with levels of these names, and those of a run with a
    /// discriminator.
    pub fn columns(levels: &[&str], players: bool) -> String {
        let own = [
            "quantization_error",
            "perplexity",
            "entropy_bits",
            "used",
            "revived",
        ];
        let mut all = with_levels(Self::HEADER, &own, levels);
        if players {
            Players::NAMES
                .iter()
                .for_each(|name| all += &format!(",{name}"));
        }
        all
    }
}

impl Record for Evaluation {
    const HEADER: &'static str = "step,mse,psnr,ssim,sharpness,edge_sharpness,lpips,\
                                  quantization_error,perplexity,entropy_bits,bits_per_pixel,used";
    fn values(&self) -> String {
        let Evaluation {
            step,
            mse,
            psnr,
            ssim,
            sharpness,
            edge_sharpness,
            lpips,
            ..
        } = self;
        let Evaluation {
            quantization_error,
            perplexity,
            entropy_bits,
            bits_per_pixel,
            used,
            ..
        } = self;
        let mut text = format!(
            "{step},{mse:.6e},{psnr:.3},{ssim:.5},{sharpness:.4},{edge_sharpness:.4},{lpips:.5},\
             {quantization_error:.6e},{perplexity:.2},{entropy_bits:.4},{bits_per_pixel:.5},{used}"
        );
        for l in self.levels.iter().filter(|l| !l.name.is_empty()) {
            let LevelUse {
                quantization_error,
                perplexity,
                entropy_bits,
                bits_per_pixel,
                used,
                ..
            } = l;
            text += &format!(
                ",{quantization_error:.6e},{perplexity:.2},{entropy_bits:.4},{bits_per_pixel:.5},\
                 {used}"
            );
        }
        text
    }
}

impl Evaluation {
    /// The names of the columns, with levels of these names.
    pub fn columns(levels: &[&str]) -> String {
        let own = [
            "quantization_error",
            "perplexity",
            "entropy_bits",
            "bits_per_pixel",
            "used",
        ];
        with_levels(Self::HEADER, &own, levels)
    }
}
