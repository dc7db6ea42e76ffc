//! The second stage: a decoder-only transformer over the codes of an image, row by row, conditioned on its class
//! (van den Oord et al. 2017, section 4; Esser et al. 2021, section 3.2), and on the codes of the levels above them, where there are any
//! (Razavi et al. 2019, section 3.2).

use super::conditioning::Conditioning;
use crate::autograd::Var;
use crate::codes::Level;
use crate::gpu::{Gpu, Tensor};
use crate::nn::transformer::{Block, BlockConfig, Dropout, INIT_STD, Linear, MlpKind, Norm, NormKind, Rows, linear};
use crate::nn::{Builder, Handle, Init, Pass};
use crate::ops::attention::Attention;
use crate::ops::attention_decode::KvCache;
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::random::Key;
use crate::ops::rotary::{Rotary, raster};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How the model knows where a code stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// Queries and keys turned by row and column (Su et al. 2021; axial, as in Fang et al. 2023, "EVA-02").
    Rotary,
    /// An embedding for each cell of the grid, learned.
    Learned,
}

/// What a prior looks like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// Blocks.
    pub layers: usize,
    /// Channels.
    pub dim: usize,
    /// Heads of attention; they divide the channels.
    pub heads: usize,
    /// Channels inside the MLPs; 0 is 8/3 of the channels with `swiglu`, four times as many with `gelu`.
    pub hidden: usize,
    /// The norms.
    pub norm: NormKind,
    /// The MLPs.
    pub mlp: MlpKind,
    /// Positions.
    pub positions: Positions,
    /// The base of rotary positions.
    pub rope_base: f32,
    /// Do the logits share their weights with the codes' embeddings (Press and Wolf 2017)?
    pub tied: bool,
    /// Share of the elements that dropout takes from the embeddings and from what each half of a block adds.
    pub dropout: f32,
    /// Does the model see the codes of the levels above its own, where there are any?
    pub conditioned: bool,
    /// Blocks over the codes of each level above, which look both ways.
    pub condition_layers: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            layers: 4,
            dim: 192,
            heads: 6,
            hidden: 0,
            norm: NormKind::Rms,
            mlp: MlpKind::SwiGlu,
            positions: Positions::Rotary,
            rope_base: 100.0,
            tied: true,
            dropout: 0.1,
            conditioned: true,
            condition_layers: 2,
        }
    }
}

impl Shape {
    /// The same with the MLPs' channels written out.
    pub fn resolved(&self) -> Shape {
        let hidden = match (self.hidden, self.mlp) {
            (0, MlpKind::SwiGlu) => (8 * self.dim / 3).next_multiple_of(32),
            (0, MlpKind::Gelu) => 4 * self.dim,
            (hidden, _) => hidden,
        };
        Shape { hidden, ..self.clone() }
    }

    /// Does this make a model?
    ///
    /// # Errors
    /// Names the key, and what it may be.
    pub fn check(&self) -> Result<()> {
        let wrong = |key: &str, what: String| Err(Error::config(format!("prior.{key}"), what));
        if !(1..=256).contains(&self.layers) {
            return wrong("layers", format!("{} is not allowed: it must be from 1 to 256", self.layers));
        }
        if self.condition_layers > 256 {
            return wrong(
                "condition_layers",
                format!("{} is not allowed: it must be at most 256", self.condition_layers),
            );
        }
        let axes = if self.positions == Positions::Rotary { 4 } else { 1 };
        let head = self.dim.checked_div(self.heads).unwrap_or(0);
        if head == 0 || !self.dim.is_multiple_of(self.heads) || head > 256 || !head.is_multiple_of(axes) {
            let multiple = if axes == 1 { "" } else { ", a multiple of 4 for rotary positions" };
            let what = format!(
                "{} heads of {} channels: each must get a whole number of them, at most 256{multiple}",
                self.heads, self.dim
            );
            return wrong("heads", what);
        }
        if self.dim > 1 << 16 || self.hidden > 1 << 18 {
            let what = format!("{} channels with {} inside the MLPs: at most 65536 and 262144", self.dim, self.hidden);
            return wrong("dim", what);
        }
        if !(self.rope_base > 1.0 && self.rope_base.is_finite()) {
            return wrong("rope_base", format!("{} is not allowed: it must be above 1", self.rope_base));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong("dropout", format!("{} is not allowed: it must be at least 0 and below 1", self.dropout));
        }
        Ok(())
    }
}

/// What the codes look like that a prior models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vocabulary {
    /// Codes of a codebook, K.
    pub codebook_size: usize,
    /// Codes of a latent, Q: one from each codebook.
    pub codebooks: usize,
    /// Rows and columns of an image's latents.
    pub grid: [usize; 2],
    /// Classes, C; 0 where images have none.
    pub classes: usize,
    /// The levels above these codes', the coarsest first: their codes are known before.
    #[serde(default)]
    pub above: Vec<Level>,
}

impl Vocabulary {
    /// Codes of an image, T.
    pub fn tokens(&self) -> usize {
        self.grid[0] * self.grid[1] * self.codebooks
    }

    /// Codes of an image at the levels above.
    pub fn known(&self) -> usize {
        self.above.iter().map(Level::codes).sum()
    }

    /// The class of images that have none, or whose class the model is not to see.
    pub fn no_class(&self) -> u32 {
        self.classes as u32
    }
}

/// A prior: the handles of its parameters, and its positions.
#[derive(Clone, Debug)]
pub struct Prior {
    shape: Shape,
    vocabulary: Vocabulary,
    /// One for each codebook: [K, D].
    tokens: Vec<Handle>,
    /// [C + 1, D], the last for no class.
    classes: Handle,
    /// [Q, D], where there are several codebooks.
    codebook: Option<Handle>,
    /// [h w, D].
    positions: Option<Handle>,
    rotary: Option<Rotary>,
    /// One for each level above that the model sees.
    above: Vec<Conditioning>,
    blocks: Vec<Block>,
    norm: Norm,
    /// One for each codebook, where they are not the embeddings.
    heads: Vec<Linear>,
}

/// A stream of random numbers for dropout: "drop".
const DROPOUT_STREAM: u32 = 0x6472_6f70;

impl Prior {
    /// Declares the model's parameters.
    ///
    /// # Errors
    /// If the shape makes no model, or there is no code.
    pub fn new(gpu: &Gpu, b: &mut Builder, shape: &Shape, vocabulary: &Vocabulary) -> Result<Prior> {
        let shape = shape.resolved();
        shape.check()?;
        let v = vocabulary.clone();
        let [rows, cols] = v.grid;
        if v.tokens() == 0 || v.tokens() > 1 << 20 || v.codebook_size == 0 || v.codebook_size > 1 << 20 {
            let what = format!("{} codes an image, of {}: each from 1 to 2^20", v.tokens(), v.codebook_size);
            return Err(Error::invalid("prior", what));
        }
        let d = shape.dim;
        let mut table = |name: String, n: usize| {
            let handle = b.declare(name, &[n, d], Init::Normal(INIT_STD));
            b.without_decay(handle);
            handle
        };
        let tokens = (0..v.codebooks).map(|q| table(format!("tokens.{q}.weight"), v.codebook_size)).collect();
        let classes = table("classes.weight".into(), v.classes + 1);
        let codebook = (v.codebooks > 1).then(|| table("codebook.weight".into(), v.codebooks));
        let learned = shape.positions == Positions::Learned;
        let positions = learned.then(|| table("positions.weight".into(), rows * cols));
        let rotary = if learned {
            None
        } else {
            let cells = raster(rows, cols).into_iter().flat_map(|cell| std::iter::repeat_n(cell, v.codebooks));
            let cells: Vec<[f64; 2]> = cells.collect();
            Some(Rotary::axial(gpu, &cells, d / shape.heads, f64::from(shape.rope_base))?)
        };
        let seen = if shape.conditioned { &v.above[..] } else { &[] };
        let above = seen.iter().map(|l| Conditioning::new(gpu, b, &format!("above.{}", l.name), &shape, l, v.grid));
        let above = above.collect::<Result<_>>()?;
        let block = BlockConfig {
            dim: d,
            heads: shape.heads,
            hidden: shape.hidden,
            norm: shape.norm,
            mlp: shape.mlp,
            layers: shape.layers,
        };
        let blocks = (0..shape.layers).map(|i| Block::new(b, &format!("blocks.{i}"), &block)).collect();
        let norm = Norm::new(b, "norm", d, shape.norm);
        let untied = if shape.tied { 0 } else { v.codebooks };
        let heads = (0..untied).map(|q| Linear::new(b, &format!("head.{q}"), d, v.codebook_size, INIT_STD)).collect();
        Ok(Prior { shape, vocabulary: v, tokens, classes, codebook, positions, rotary, above, blocks, norm, heads })
    }

    /// What it looks like.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What its codes look like.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// What the levels above say of each cell: see [`Conditioning::rows`]. Empty where the model sees none.
    ///
    /// # Errors
    /// If the device fails.
    pub fn conditions(&self, pass: &Pass, batch: &Batch, dropout: Dropout) -> Result<Vec<Var>> {
        // Behind the places of the model's own blocks.
        let mut place = 1 + 2 * self.blocks.len();
        let of = |(layers, codes): (&Conditioning, &Vec<Tensor>)| {
            let at = (dropout, place);
            place += layers.places();
            layers.rows(pass, codes, at)
        };
        self.above.iter().zip(&batch.above).map(of).collect()
    }

    /// Embeddings [B, length, D] of the class [B] and, after it, of the first `length - 1` codes of images, those of each codebook
    /// u32 [B h w], with what is known of the place of the code to come; `length` of 1 to T.
    fn embed(&self, pass: &Pass, batch: &Batch, conditions: &[Var], length: usize) -> Result<Var> {
        let (tape, d, [b]) = (pass.tape, self.shape.dim, batch.classes.dims("prior")?);
        let mut x = tape.gather(&pass.param(self.classes)?, &batch.classes)?;
        if length > 1 {
            let tables = batch.codes.iter().zip(&self.tokens);
            let rows = tables.map(|(codes, table)| tape.gather(&pass.param(*table)?, codes));
            let rows = rows.collect::<Result<Vec<Var>>>()?;
            let cells = if let [rows] = &rows[..] { rows.clone() } else { tape.concat_columns(&rows)? };
            let cells = tape.reshape(&cells, &[b, self.vocabulary.tokens() * d])?;
            x = tape.concat_columns(&[x, tape.columns(&cells, 0, (length - 1) * d)?])?;
        }
        let mut x = tape.reshape(&x, &[b * length, d])?;
        for (layers, rows) in self.above.iter().zip(conditions) {
            let places = layers.by_image(b, 0..length, self.vocabulary.codebooks);
            let known = tape.gather(rows, &Tensor::from_slice(tape.gpu(), &[places.len()], &places)?)?;
            x = tape.add(&x, &known)?;
        }
        self.place(pass, tape.reshape(&x, &[b, length, d])?, 0..length)
    }

    /// Adds the learned embeddings of positions `at` to x [B, T, D].
    fn place(&self, pass: &Pass, mut x: Var, at: Range<usize>) -> Result<Var> {
        let (tape, books) = (pass.tape, self.vocabulary.codebooks);
        let mut add = |table: Handle, row: &dyn Fn(usize) -> usize| -> Result<()> {
            let mut table = pass.param(table)?;
            // A table with a row for each position is read as it is.
            let rows: Vec<u32> = at.clone().map(|i| row(i) as u32).collect();
            if rows.iter().enumerate().any(|(i, row)| i as u32 != *row) {
                table = tape.gather(&table, &Tensor::from_slice(tape.gpu(), &[rows.len()], &rows)?)?;
            }
            x = tape.positions(&x, &table)?;
            Ok(())
        };
        if let Some(table) = self.codebook {
            add(table, &|i| i % books)?;
        }
        if let Some(table) = self.positions {
            add(table, &|i| i / books)?;
        }
        Ok(x)
    }

    /// Classes [B] and codes u32 [B, A + T] of the host as [`Prior::logits`] takes them: each image's A codes of the levels above, the
    /// coarsest level's first, then its own.
    ///
    /// # Errors
    /// If they are not whole images, or a class or code is none of the vocabulary.
    pub fn upload(&self, gpu: &Gpu, classes: &[u32], codes: &[u32]) -> Result<Batch> {
        let v = &self.vocabulary;
        let each = v.known() + v.tokens();
        if codes.len() != classes.len() * each {
            let expected = format!("{each} codes for each of {} images", classes.len());
            return Err(Error::shape("prior", expected, codes.len()));
        }
        if let Some(class) = classes.iter().find(|c| **c > v.no_class()) {
            return Err(Error::data(format!("there is no class {class}: there are {}", v.classes)));
        }
        let mut at = 0;
        let mut books = |n: usize, books: usize, size: usize| -> Result<Vec<Tensor>> {
            let own: Vec<u32> = codes.chunks(each).flat_map(|image| &image[at..at + n]).copied().collect();
            at += n;
            if let Some(code) = own.iter().find(|c| **c as usize >= size) {
                return Err(Error::data(format!("there is no code {code}: the codebook has {size}")));
            }
            let of = |q: usize| {
                let own: Vec<u32> = own.iter().skip(q).step_by(books).copied().collect();
                Tensor::from_slice(gpu, &[own.len()], &own)
            };
            (0..books).map(of).collect()
        };
        let above = v.above.iter().map(|l| books(l.codes(), l.codebooks, l.codebook_size)).collect::<Result<_>>()?;
        let codes = books(v.tokens(), v.codebooks, v.codebook_size)?;
        Ok(Batch { classes: Tensor::from_slice(gpu, &[classes.len()], classes)?, codes, above })
    }

    /// What a row of the last block says of the next code, of codebook `q`: x [N, D] to logits [N, K].
    fn head(&self, pass: &Pass, x: &Var, q: usize) -> Result<Var> {
        match self.heads.get(q) {
            Some(head) => head.forward(pass, x),
            None => linear(pass, x, &pass.param(self.tokens[q])?),
        }
    }

    /// Logits of every code of the images, each from the class and the codes before it: for each codebook [B h w, K].
    ///
    /// # Errors
    /// If the device fails.
    pub fn logits(&self, pass: &Pass, batch: &Batch, dropout: Dropout) -> Result<Vec<Var>> {
        let (tape, v, d) = (pass.tape, &self.vocabulary, self.shape.dim);
        let [b] = batch.classes.dims("prior")?;
        let key = Key { stream: DROPOUT_STREAM, ..dropout.key };
        let dropout = Dropout { key, ..dropout };
        let mut x = self.embed(pass, batch, &self.conditions(pass, batch, dropout)?, v.tokens())?;
        x = dropout.apply(pass, &x, 0)?;
        for (i, block) in self.blocks.iter().enumerate() {
            let at = (dropout, 1 + 2 * i);
            x = block.sequences(pass, x, Attention::CAUSAL, self.rotary.as_ref(), at)?;
        }
        let x = self.norm.forward(pass, &x)?;
        let cells = b * v.grid[0] * v.grid[1];
        let x = tape.reshape(&x, &[cells, v.codebooks * d])?;
        let of = |q: usize| {
            let x = if v.codebooks == 1 { x.clone() } else { tape.columns(&x, q * d, d)? };
            self.head(pass, &x, q)
        };
        (0..v.codebooks).map(of).collect()
    }

    /// The mean cross-entropy of the images' codes, in nats per code: [1].
    ///
    /// # Errors
    /// If the device fails, or the smoothing lies outside [0, 1).
    pub fn loss(&self, pass: &Pass, batch: &Batch, dropout: Dropout, smoothing: f32) -> Result<Var> {
        let tape = pass.tape;
        let books = self.vocabulary.codebooks as f32;
        let options = CrossEntropy { smoothing, ..Default::default() };
        let mut sum: Option<Var> = None;
        // Each handle on logits goes before the next is made: the gradient then takes their place.
        for (logits, targets) in self.logits(pass, batch, dropout)?.into_iter().zip(&batch.codes) {
            let mean = tape.mean(&tape.cross_entropy(&logits, targets, options)?)?;
            sum = Some(match sum {
                Some(sum) => tape.add(&sum, &mean)?,
                None => mean,
            });
        }
        let sum = sum.ok_or_else(|| Error::invalid("prior", "a vocabulary without codebooks"))?;
        if books == 1.0 { Ok(sum) } else { tape.scale(&sum, 1.0 / books, 0.0) }
    }

    /// Room for the keys and values of `rows` sequences of T tokens, a cache for each block.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn caches(&self, gpu: &Gpu, rows: usize) -> Result<Vec<KvCache>> {
        let (h, d) = (self.shape.heads, self.shape.dim / self.shape.heads);
        self.blocks.iter().map(|_| KvCache::new(gpu, [rows, self.vocabulary.tokens(), h, d])).collect()
    }

    /// Bytes that [`Prior::caches`] take for each sequence.
    pub fn cache_bytes(&self) -> u64 {
        8 * (self.shape.layers * self.vocabulary.tokens() * self.shape.dim) as u64
    }

    /// Takes in the class and the first `known` codes of the images, less than T, with their [`Prior::conditions`], and returns the
    /// logits [B, K] of the code after them. The caches, where there are any, hold `known + 1` rows then.
    ///
    /// # Errors
    /// If the device fails.
    pub fn prompt(
        &self,
        pass: &Pass,
        batch: &Batch,
        conditions: &[Var],
        known: usize,
        caches: Option<&[KvCache]>,
    ) -> Result<Tensor> {
        let (tape, d, [b]) = (pass.tape, self.shape.dim, batch.classes.dims("prior")?);
        let length = known + 1;
        let mut x = self.embed(pass, batch, conditions, length)?;
        for (i, block) in self.blocks.iter().enumerate() {
            let rows = caches.and_then(|caches| caches.get(i)).map_or(Rows::Sequences, Rows::Prompt);
            x = block.forward(pass, &x, Attention::CAUSAL, self.rotary.as_ref(), rows, (Dropout::OFF, 0))?;
        }
        let last = tape.columns(&tape.reshape(&x, &[b, length * d])?, known * d, d)?;
        let x = self.norm.forward(pass, &last)?;
        Ok(self.head(pass, &x, known % self.vocabulary.codebooks)?.tensor().clone())
    }

    /// Where each code of `rows` images finds what the levels above say of it, for each level: u32 [T, W], W a multiple of 64.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn places(&self, gpu: &Gpu, rows: usize) -> Result<Vec<Tensor>> {
        let (t, books, wide) = (self.vocabulary.tokens(), self.vocabulary.codebooks, rows.next_multiple_of(64));
        let of = |layers: &Conditioning| Tensor::from_slice(gpu, &[t, wide], &layers.by_code(rows, t, books, wide));
        self.above.iter().map(of).collect()
    }

    /// Takes in one code of each image, u32 [B], the `known`-th from 1 on, and returns the logits [B, K] of the code after it;
    /// `lengths` are the rows that the caches hold, [B], and `conditions` what the levels above say of each cell, with the rows of them
    /// that belong to the code after it, u32 [B].
    ///
    /// # Errors
    /// If the device fails.
    pub fn step(
        &self,
        pass: &Pass,
        code: &Tensor,
        known: usize,
        conditions: &[(Var, Tensor)],
        caches: &[KvCache],
        lengths: &Tensor,
    ) -> Result<Tensor> {
        let (tape, d, [b]) = (pass.tape, self.shape.dim, code.dims("prior")?);
        let books = self.vocabulary.codebooks;
        let mut x = tape.gather(&pass.param(self.tokens[(known - 1) % books])?, code)?;
        for (rows, places) in conditions {
            x = tape.add(&x, &tape.gather(rows, places)?)?;
        }
        let mut x = self.place(pass, tape.reshape(&x, &[b, 1, d])?, known..known + 1)?;
        for (block, cache) in self.blocks.iter().zip(caches) {
            let rows = Rows::Step(cache, lengths);
            x = block.forward(pass, &x, Attention::CAUSAL, self.rotary.as_ref(), rows, (Dropout::OFF, 0))?;
        }
        let x = self.norm.forward(pass, &tape.reshape(&x, &[b, d])?)?;
        Ok(self.head(pass, &x, known % books)?.tensor().clone())
    }
}

/// Classes u32 [B], and the codes of each codebook u32 [B h w], on the device.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Classes; as many as there are for none.
    pub classes: Tensor,
    /// Codes by codebook.
    pub codes: Vec<Tensor>,
    /// Codes of each level above, by codebook.
    pub above: Vec<Vec<Tensor>>,
}
