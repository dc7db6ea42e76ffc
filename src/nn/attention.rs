//! Attention of one sequence to another: the part of a decoder's block that reads what an encoder
//! made (Vaswani et al. 2017, section 3.2.3).

use super::transformer::Phase;
use super::{BlockConfig, Builder, ForwardContext, INIT_STD, Linear, Norm, residual_std};
use crate::Result;
use crate::autograd::Var;
use crate::gpu::Tensor;
use crate::ops::attention::attention::{Attention, Mask};
use crate::ops::attention::cross_decode::{cross_decode, cross_window};

/// `x + proj(attention(q(norm(x)), kv))`, where kv are the keys and values of the other sequence.
#[derive(Clone, Debug)]
pub struct CrossAttention {
    norm: Norm,
    q: Linear,
    kv: Linear,
    proj: Linear,
    heads: usize,
}

/// A sequence that is read: its keys and values for one block, and how much of it there is.
#[derive(Clone, Copy, Debug)]
pub struct EncoderStates<'a> {
    /// [B, S, 2, H, D], of [`CrossAttention::keys`].
    pub kv: &'a Var,
    /// Mask of the S rows that every query of an image sees.
    pub mask: &'a Mask,
    /// Numbers of rows that are seen, u32 `[B]`.
    pub lengths: &'a Tensor,
}

impl CrossAttention {
    /// Declares `name.norm`, `name.q`, `name.kv` and `name.proj`.
    pub fn new(b: &mut Builder, name: &str, c: &BlockConfig) -> Self {
        CrossAttention {
            norm: Norm::new(b, &format!("{name}.norm"), c.dim, c.norm),
            q: Linear::new(b, &format!("{name}.q"), c.dim, c.dim, INIT_STD),
            kv: Linear::new(b, &format!("{name}.kv"), c.dim, 2 * c.dim, INIT_STD),
            proj: Linear::new(
                b,
                &format!("{name}.proj"),
                c.dim,
                c.dim,
                residual_std(c.layers),
            ),
            heads: c.heads,
        }
    }

    /// Computes the keys and values of a sequence: memory [B, S, D] to [B, S, 2, H, D / H].
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn keys(&self, pass: &ForwardContext, memory: &Var) -> Result<Var> {
        let [b, s, d] = memory.tensor().dims("cross-attention")?;
        let kv = self
            .kv
            .forward(pass, &pass.tape.reshape(memory, &[b * s, d])?)?;
        pass.tape
            .reshape(&kv, &[b, s, 2, self.heads, d / self.heads])
    }

    /// Computes what is added to x [B, T, D]: [B T, D]. Single rows of steps and of windows take
    /// the kernels made for them.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(
        &self,
        pass: &ForwardContext,
        x: &Var,
        encoder_states: EncoderStates,
        phase: Phase,
    ) -> Result<Var> {
        let [b, t, d] = x.tensor().dims("cross-attention")?;
        let tape = pass.tape;
        let q = self.q.forward(
            pass,
            &tape.reshape(&self.norm.forward(pass, x)?, &[b * t, d])?,
        )?;
        let q = tape.reshape(&q, &[b, t, self.heads, d / self.heads])?;
        let EncoderStates { kv, mask, lengths } = encoder_states;
        let attended = match phase {
            Phase::Decode(..) => {
                tape.constant(&cross_decode(q.tensor(), kv.tensor(), lengths, None)?)
            }
            Phase::Window(window) => {
                let (q, kv) = (q.tensor(), kv.tensor());
                tape.constant(&cross_window(q, kv, lengths, window.at, None)?)
            }
            _ => tape.attention_cross(
                &q,
                kv,
                Attention {
                    mask: Some(mask),
                    ..Attention::FULL
                },
            )?,
        };
        self.proj
            .forward(pass, &tape.reshape(&attended, &[b * t, d])?)
    }
}
