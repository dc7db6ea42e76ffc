//! The transformer's parts: linear maps, norms, gated and plain MLPs, and the pre-norm block of
//! causal attention (Vaswani et al. 2017; Touvron et al. 2023, "LLaMA", section 2.2, for RMS norm,
//! SwiGLU and rotary positions).

use super::{
    BlockConfig, Builder, CrossAttention, EncoderStates, ForwardContext, INIT_STD, Linear, MlpKind,
    Norm, residual_std,
};
use crate::autograd::Var;
use crate::gpu::Tensor;
use crate::ops::attention::attention::Attention;
use crate::ops::attention::attention_decode::{KvCache, attention_decode, attention_window};
use crate::ops::attention::rotary::{Rotary, Start};
use crate::ops::elementwise::activation::Function;
use crate::ops::sampling::random::Key;
use crate::{Error, Result};

/// Two linear maps with a nonlinearity between them.
#[derive(Clone, Debug)]
pub struct Mlp {
    up: Linear,
    down: Linear,
    kind: MlpKind,
}

impl Mlp {
    /// Declares `name.up.weight` [F, D], or [2 F, D] where it is gated, and `name.down.weight` [D,
    /// F].
    pub fn new(b: &mut Builder, name: &str, c: &BlockConfig) -> Self {
        let inner = if c.mlp == MlpKind::SwiGlu {
            2 * c.hidden
        } else {
            c.hidden
        };
        Mlp {
            up: Linear::new(b, &format!("{name}.up"), c.dim, inner, INIT_STD),
            down: Linear::new(
                b,
                &format!("{name}.down"),
                c.hidden,
                c.dim,
                residual_std(c.layers),
            ),
            kind: c.mlp,
        }
    }

    /// x [N, D] to [N, D].
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        let inner = self.up.forward(pass, x)?;
        let inner = match self.kind {
            MlpKind::SwiGlu => pass.tape.swiglu(&inner)?,
            MlpKind::Gelu => pass.tape.activation(Function::Gelu, &inner)?,
        };
        self.down.forward(pass, &inner)
    }
}

/// Dropout of what a forward pass adds to the residual stream: its rate, and the key of each place
/// where it acts.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Share of the elements that become 0.
    pub rate: f32,
    /// Seed and step; the stream is that of the first place.
    pub key: Key,
    /// Equal parts of the batch that come before the one at hand, and have the random numbers
    /// before its own.
    pub before: usize,
}

impl Dropout {
    /// None.
    pub const OFF: Dropout = Dropout {
        rate: 0.0,
        key: Key {
            seed: 0,
            step: 0,
            stream: 0,
        },
        before: 0,
    };

    /// x with this dropout at the `place`-th place.
    ///
    /// # Errors
    /// If the rate lies outside [0, 1), or no multiple of four elements comes before.
    pub fn apply(&self, pass: &ForwardContext, x: &Var, place: usize) -> Result<Var> {
        let key = Key {
            stream: self.key.stream.wrapping_add(place as u32),
            ..self.key
        };
        let before = self.before * x.tensor().len();
        pass.tape.dropout_from(x, self.rate, key, before)
    }
}

/// The phase in which a block runs, and the cache of its attention.
#[derive(Clone, Copy, Debug)]
pub enum Phase<'a> {
    /// Whole sequences.
    Full,
    /// Whole sequences whose keys and values a cache takes in, for steps to go on from.
    Prefill(&'a KvCache),
    /// One new row of each sequence, after as many as the lengths `[B]` say; the cache takes it in.
    Decode(&'a KvCache, &'a Tensor),
    /// Rows of several places of each sequence.
    Window(Window<'a>),
    /// Whole sequences whose keys and values the cache takes in as sequences of other numbers:
    /// u32 [B, 2], the number and 0.
    PrefillAt(&'a KvCache, &'a Tensor),
}

/// New rows of sequences, R of them, each alone: several may be of one sequence. What a row gives
/// has the bits that steps give.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// The cache, which takes them in.
    pub cache: &'a KvCache,
    /// The sequence of each row and its place there, u32 [R, 2]. A place past the last joins
    /// nothing.
    pub at: &'a Tensor,
    /// The places alone, u32 `[R]`.
    pub places: &'a Tensor,
}

/// `x + proj(attention(norm1(x)))`, then, where it reads another sequence, [`CrossAttention`], then
/// `x + mlp(norm2(x))`.
#[derive(Clone, Debug)]
pub struct Block {
    norm1: Norm,
    qkv: Linear,
    proj: Linear,
    cross: Option<CrossAttention>,
    norm2: Norm,
    mlp: Mlp,
    heads: usize,
}

impl Block {
    /// Declares `name.norm1`, `name.attn.qkv`, `name.attn.proj`, `name.norm2` and `name.mlp`.
    pub fn new(b: &mut Builder, name: &str, c: &BlockConfig) -> Self {
        Block::declare(b, name, c, false)
    }

    /// Declares a block that also reads another sequence, by `name.cross`, a [`CrossAttention`].
    pub fn reading(b: &mut Builder, name: &str, c: &BlockConfig) -> Self {
        Block::declare(b, name, c, true)
    }

    fn declare(b: &mut Builder, name: &str, c: &BlockConfig, cross: bool) -> Self {
        Block {
            norm1: Norm::new(b, &format!("{name}.norm1"), c.dim, c.norm),
            qkv: Linear::new(b, &format!("{name}.attn.qkv"), c.dim, 3 * c.dim, INIT_STD),
            proj: Linear::new(
                b,
                &format!("{name}.attn.proj"),
                c.dim,
                c.dim,
                residual_std(c.layers),
            ),
            cross: cross.then(|| CrossAttention::new(b, &format!("{name}.cross"), c)),
            norm2: Norm::new(b, &format!("{name}.norm2"), c.dim, c.norm),
            mlp: Mlp::new(b, &format!("{name}.mlp"), c),
            heads: c.heads,
        }
    }

    /// The part that reads another sequence, where there is one.
    pub fn cross(&self) -> Option<&CrossAttention> {
        self.cross.as_ref()
    }

    /// [`Block::forward`] of whole sequences, as a [`ForwardContext::checkpoint`].
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn sequences(
        &self,
        pass: &ForwardContext,
        x: Var,
        attention: Attention,
        rotary: Option<&Rotary>,
        dropout: (Dropout, usize),
        encoder_states: Option<EncoderStates>,
    ) -> Result<Var> {
        let (block, rotary, mask) = (self.clone(), rotary.cloned(), attention.mask.cloned());
        let Attention { causal, scale, .. } = attention;
        let Some(EncoderStates {
            kv,
            mask: words,
            lengths,
        }) = encoder_states
        else {
            return pass.checkpoint(x, move |pass, x| {
                let attention = Attention {
                    causal,
                    scale,
                    mask: mask.as_ref(),
                };
                block.forward(
                    pass,
                    &x,
                    attention,
                    rotary.as_ref(),
                    Phase::Full,
                    dropout,
                    None,
                )
            });
        };
        let (words, lengths) = (words.clone(), lengths.clone());
        pass.checkpoint_many([x, kv.clone()], move |pass, [x, kv]| {
            let attention = Attention {
                causal,
                scale,
                mask: mask.as_ref(),
            };
            let encoder_states = EncoderStates {
                kv: &kv,
                mask: &words,
                lengths: &lengths,
            };
            block.forward(
                pass,
                &x,
                attention,
                rotary.as_ref(),
                Phase::Full,
                dropout,
                Some(encoder_states),
            )
        })
    }

    /// x [B, T, D] to the same shape, T of 1 in a step. `rotary` turns queries and keys by their
    /// positions; `place` numbers the block's places of dropout, of which it has two. What reading
    /// another sequence adds has none.
    ///
    /// # Errors
    /// If the shapes do not fit, or the block reads another sequence and there is none, or the
    /// other way round.
    pub fn forward(
        &self,
        pass: &ForwardContext,
        x: &Var,
        attention: Attention,
        rotary: Option<&Rotary>,
        rows: Phase,
        dropout: (Dropout, usize),
        encoder_states: Option<EncoderStates>,
    ) -> Result<Var> {
        let [b, t, d] = x.tensor().dims("block")?;
        if encoder_states.is_some() != self.cross.is_some() {
            return Err(Error::invalid(
                "block",
                "a sequence to read goes to a block that reads one, and to no other",
            ));
        }
        if !d.is_multiple_of(self.heads) {
            return Err(Error::invalid(
                "block",
                format!(
                    "{} heads of {d} channels: they must divide them",
                    self.heads
                ),
            ));
        }
        let (tape, (dropout, place)) = (pass.tape, dropout);
        let flat = |x: &Var| tape.reshape(x, &[b * t, d]);
        let qkv = self
            .qkv
            .forward(pass, &flat(&self.norm1.forward(pass, x)?)?)?;
        let mut qkv = tape.reshape(&qkv, &[b, t, 3, self.heads, d / self.heads])?;
        if let Some(rotary) = rotary {
            let start = match rows {
                Phase::Decode(_, lengths) => Start::Each(lengths),
                Phase::Window(window) => Start::Each(window.places),
                _ => Start::At(0),
            };
            qkv = tape.rotary(&qkv, rotary, start)?;
        }
        let attended = match rows {
            Phase::Full => tape.attention_packed(&qkv, attention)?,
            Phase::Prefill(cache) => {
                cache.prefill(qkv.tensor())?;
                tape.attention_packed(&qkv, attention)?
            }
            Phase::PrefillAt(cache, at) => {
                cache.store(qkv.tensor(), at)?;
                tape.attention_packed(&qkv, attention)?
            }
            Phase::Decode(cache, lengths) => {
                tape.constant(&attention_decode(qkv.tensor(), cache, lengths, attention)?)
            }
            Phase::Window(Window { cache, at, .. }) => {
                tape.constant(&attention_window(qkv.tensor(), cache, at, attention)?)
            }
        };
        // What only the backward pass still needs must not be held here too.
        drop(qkv);
        let attended = self.proj.forward(pass, &flat(&attended)?)?;
        let x = tape.add(&flat(x)?, &dropout.apply(pass, &attended, place)?)?;
        let x = match self.cross.as_ref().zip(encoder_states) {
            Some((cross, encoder_states)) => {
                let x3 = tape.reshape(&x, &[b, t, d])?;
                tape.add(&x, &cross.forward(pass, &x3, encoder_states, rows)?)?
            }
            None => x,
        };
        let inner = self.mlp.forward(pass, &self.norm2.forward(pass, &x)?)?;
        let x = tape.add(&x, &dropout.apply(pass, &inner, place + 1)?)?;
        tape.reshape(&x, &[b, t, d])
    }
}
