//! Device memory of a prior, from its configuration alone: what its tensors take, counted as the
//! engine rounds buffers up.

use crate::Result;
use crate::config::prior::{MomentDtype, PriorConfig};
use crate::config::{Precision, Resolved};
use crate::gpu::memory::pool::size_class;
use crate::gpu::{DType, Gpu};
use crate::models::prior::{Head, Kind, Prior, Vocabulary, halves};
use crate::nn::{MlpKind, Parameters};
use crate::trainer::ranks::pass_of_rank;

/// Device memory of a prior in training, and of its caches while it draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriorMemory {
    /// Numbers that are trained.
    pub parameters: usize,
    /// Buffers that they lie in: several where the device binds less at once than they take.
    pub buffers: usize,
    /// Bytes of the weights: those that learn, their average, the best so far, and copies in 16
    /// bits.
    pub weights: u64,
    /// Bytes of the gradients and of the optimiser's moments.
    pub optimizer: u64,
    /// Bytes of what a pass keeps and makes, where it takes most.
    pub activations: u64,
    /// Images of a pass.
    pub images: usize,
    /// Rows of an image's sequence.
    pub rows: usize,
    /// Bytes of keys and values for each image that is drawn; twice as many with guidance. 0 of a
    /// masked prior, which keeps none.
    pub cache_per_image: u64,
}

impl PriorMemory {
    /// Bytes at the peak of a step.
    pub fn peak(&self) -> u64 {
        self.weights + self.optimizer + self.activations
    }

    /// Counts what the tensors of a configuration take. Of a prior that reads texts, what reads
    /// them is left out.
    ///
    /// # Errors
    /// If the configuration makes no model.
    pub fn of(
        gpu: &Gpu,
        config: &Resolved<PriorConfig>,
        vocabulary: &Vocabulary,
    ) -> Result<PriorMemory> {
        PriorMemory::of_rank(gpu, config, vocabulary, 1)
    }

    /// [`PriorMemory::of`] of one of so many ranks that train together (`crate::parallel`): it
    /// takes its share of the images and, with `train.shard_optimizer`, of the moments.
    ///
    /// # Errors
    /// As [`PriorMemory::of`], and if the images do not fall into equal shares.
    pub fn of_rank(
        gpu: &Gpu,
        config: &Resolved<PriorConfig>,
        vocabulary: &Vocabulary,
        ranks: usize,
    ) -> Result<PriorMemory> {
        let config = &of_rank(config, ranks)?;
        let mut builder = Parameters::builder();
        let prior = Prior::new(gpu, &mut builder, &config.prior, vocabulary)?;
        let (parameters, parts) = builder.sizes(gpu)?;
        let t = &config.train;
        let in_parts = |each: u64| -> u64 {
            let bytes = parts.iter().map(|len| size_class(each * *len as u64));
            bytes.sum()
        };
        let arena_bytes = in_parts(4);
        let copies = 1 + u64::from(t.ema_decay > 0.0) + u64::from(t.keep_best);
        let half = match t.precision {
            Precision::Mixed => in_parts(2),
            Precision::F32 | Precision::Auto => 0,
        };
        // Two moments, or one word for both.
        let moments = match t.optimizer_state {
            MomentDtype::F32 => 2,
            MomentDtype::Bf16 => 1,
        };
        let moments = match t.shard_optimizer && ranks > 1 {
            true => {
                let shares = builder.shares(gpu, ranks)?.into_iter();
                let bytes = |share: Vec<usize>| -> u64 {
                    share.iter().map(|len| size_class(4 * *len as u64)).sum()
                };
                moments * shares.map(bytes).max().unwrap_or(0)
            }
            false => moments * arena_bytes,
        };
        // Gradients of the passes behind the first are added to those of the first.
        let gradients = 1 + u64::from(t.accumulate > 1);
        let cache = match prior.shape().kind {
            Kind::Autoregressive => prior.cache_bytes(),
            Kind::Masked | Kind::NextScale => 0,
        };
        Ok(PriorMemory {
            parameters,
            buffers: parts.len(),
            weights: copies * arena_bytes + half,
            optimizer: moments + gradients * arena_bytes,
            activations: Pass::of(config, &prior).peak(),
            images: t.batch_size,
            rows: prior.rows(),
            cache_per_image: cache,
        })
    }
}

/// Returns the configuration of the part that one of so many ranks has of each step.
fn of_rank(config: &Resolved<PriorConfig>, ranks: usize) -> Result<Resolved<PriorConfig>> {
    let t = &config.train;
    let images = pass_of_rank(ranks, t.batch_size, t.accumulate)?;
    Ok(config.clone().map(|mut c| {
        // Whole passes, where each gets some.
        if c.train.accumulate.is_multiple_of(ranks) {
            c.train.accumulate /= ranks;
        }
        c.train.batch_size = images;
        c
    }))
}

/// The sizes that the activations of a pass follow from.
struct Pass {
    /// Rows of all sequences, and those that stand for codes.
    rows: u64,
    codes: u64,
    books: u64,
    size: u64,
    /// Values of the halves of a code, where the head is factorised.
    halves: Option<[u64; 2]>,
    dim: u64,
    heads: u64,
    hidden: u64,
    layers: u64,
    gated: bool,
    masked: bool,
    checkpoints: bool,
    /// Bytes of a number that layers hand on.
    stored: u64,
    /// Blocks over codes of levels above, with their rows.
    above: Vec<u64>,
    condition_layers: u64,
}

impl Pass {
    fn of(config: &Resolved<PriorConfig>, prior: &Prior) -> Pass {
        let (t, shape, v) = (&config.train, prior.shape(), prior.vocabulary());
        let n = |n: usize| n as u64;
        let masked = shape.kind == Kind::Masked;
        let each = prior.rows() + usize::from(masked);
        Pass {
            rows: n(t.batch_size * each),
            codes: n(t.batch_size * v.tokens() / v.codebooks),
            books: n(v.codebooks),
            size: n(v.codebook_size),
            halves: match shape.head {
                Head::Table => None,
                Head::Factorised => Some(halves(v.codebook_size).map(n)),
            },
            dim: n(shape.dim),
            heads: n(shape.heads),
            hidden: n(shape.hidden),
            layers: n(shape.layers),
            gated: shape.mlp == MlpKind::SwiGlu,
            masked,
            checkpoints: t.gradient_checkpointing,
            stored: match t.activations() {
                DType::F16 => 2,
                _ => 4,
            },
            above: match shape.conditioned {
                true => v
                    .above
                    .iter()
                    .map(|l| n(t.batch_size * l.codes()))
                    .collect(),
                false => Vec::new(),
            },
            condition_layers: n(shape.condition_layers),
        }
    }

    /// Bytes of `rows` rows of `channels` f32.
    fn f32(rows: u64, channels: u64) -> u64 {
        size_class(4 * rows * channels)
    }

    /// Bytes of `rows` rows of `channels` that layers hand on.
    fn kept(&self, rows: u64, channels: u64) -> u64 {
        size_class(self.stored * rows * channels)
    }

    /// The bytes that a block keeps for the way back, beside its input.
    fn block(&self, rows: u64) -> u64 {
        let (d, f) = (self.dim, self.hidden);
        let wide = if self.gated { 2 * f } else { f };
        // What a norm gives is kept as the next product reads it, and so is what attention gives.
        let copy = match self.stored {
            4 => 0,
            _ => self.kept(rows, d),
        };
        let attention = Pass::f32(rows, 3 * d) + Pass::f32(rows, d) + Pass::f32(rows, self.heads);
        let norms = 2 * (self.kept(rows, d) + Pass::f32(rows, 2));
        attention + copy + norms + Pass::f32(rows, d) + Pass::f32(rows, wide) + self.kept(rows, f)
    }

    /// The bytes that the way back through a block adds.
    fn gradients(&self, rows: u64) -> u64 {
        let (d, f) = (self.dim, self.hidden);
        let wide = if self.gated { 2 * f } else { f };
        // By the time that the gradient of the wide part is made, what `down` read is let go.
        let mlp = Pass::f32(rows, d) + Pass::f32(rows, f) + Pass::f32(rows, wide);
        let mlp = mlp.saturating_sub(self.kept(rows, f));
        let attention = 3 * Pass::f32(rows, d) + Pass::f32(rows, 3 * d);
        mlp.max(attention)
    }

    /// The bytes that a factorised head keeps of a codebook: logits of both halves, and the MLP
    /// between them.
    fn factorised(&self, halves: [u64; 2]) -> u64 {
        let (n, d, f) = (self.codes, self.dim, self.hidden);
        let wide = if self.gated { 2 * f } else { f };
        let logits: u64 = halves.iter().map(|values| Pass::f32(n, *values)).sum();
        let norms = 2 * (self.kept(n, d) + Pass::f32(n, 2));
        let mlp = Pass::f32(n, wide) + self.kept(n, f);
        logits + 2 * Pass::f32(n, 3) + norms + mlp + 2 * Pass::f32(n, d)
    }

    fn peak(&self) -> u64 {
        let (rows, d) = (self.rows, self.dim);
        let own = |rows: u64| Pass::f32(rows, d);
        let above: u64 = self
            .above
            .iter()
            .map(|rows| {
                let blocks = self.condition_layers * (own(*rows) + self.block(*rows));
                blocks + self.kept(*rows, d) + own(self.rows)
            })
            .sum();
        let blocks = match self.checkpoints {
            true => self.layers * own(rows),
            false => self.layers * (own(rows) + self.block(rows)),
        };
        let again = if self.checkpoints {
            self.block(rows)
        } else {
            0
        };
        // Behind the last block: its rows, their norm, and where several codebooks or rows before
        // the codes are cut off, what is cut out of them.
        let cut = if self.books > 1 { 2 * own(rows) } else { 0 };
        let normed = own(rows) + self.kept(rows, d) + cut;
        let logits = Pass::f32(self.codes, self.size);
        let each = match self.halves {
            None => logits + Pass::f32(self.codes, 3),
            Some(halves) => self.factorised(halves),
        };
        let books = self.books * each;
        let twice = if self.masked { logits } else { 0 };
        let head = normed + books + twice + own(rows);
        above + blocks + head.max(again + self.gradients(rows) + own(rows))
    }
}
