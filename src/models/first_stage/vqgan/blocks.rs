//! The layers of VQ-GAN's first stage: residual blocks, attention, and what is made of them.

use crate::Result;
use crate::autograd::Var;
use crate::nn::{Builder, Conv2d, ForwardContext, GroupNorm, SpatialNorm};
use crate::ops::attention::attention::Attention;
use crate::ops::conv::Conv;
use crate::ops::elementwise::activation::Function;

/// Groups of every norm, and what is added under its root.
pub(super) const GROUPS: usize = 32;
const EPS: f32 = 1e-6;

/// A convolution that keeps the size, of a kernel of 1 or 3.
pub(super) fn conv(b: &mut Builder, name: &str, i: usize, o: usize, kernel: usize) -> Conv2d {
    let same = Conv {
        stride: 1,
        pad: kernel / 2,
        relu: false,
        after: 0,
    };
    Conv2d::new(b, name, i, o, kernel, same, true)
}

/// A norm before a convolution or attention.
#[derive(Clone, Debug)]
pub(super) enum Norm {
    /// A group norm.
    Group(GroupNorm),
    /// One that the quantized latents scale and shift.
    Spatial(SpatialNorm),
}

impl Norm {
    /// Declares a norm, spatial with the channels of the latents.
    pub(super) fn new(
        b: &mut Builder,
        name: &str,
        channels: usize,
        spatial: Option<usize>,
    ) -> Norm {
        match spatial {
            None => Norm::Group(GroupNorm::new(b, name, channels, GROUPS, EPS)),
            Some(latents) => {
                let shape = [channels, latents];
                Norm::Spatial(SpatialNorm::new(b, name, shape, GROUPS, EPS))
            }
        }
    }

    fn forward(&self, pass: &ForwardContext, x: &Var, latents: Option<&Var>) -> Result<Var> {
        match self {
            Norm::Group(norm) => norm.forward(pass, x),
            Norm::Spatial(norm) => norm.forward(pass, x, latents),
        }
    }

    /// Computes `silu(norm(x))`, stored as the pass stores activations.
    pub(super) fn activated(
        &self,
        pass: &ForwardContext,
        x: &Var,
        latents: Option<&Var>,
    ) -> Result<Var> {
        match self {
            Norm::Group(norm) => norm.forward_activated(pass, x, Function::Silu),
            Norm::Spatial(norm) => {
                let h = norm.forward(pass, x, latents)?;
                let h = pass.tape.activation(Function::Silu, &h)?;
                pass.tape.cast(&h, pass.activations())
            }
        }
    }
}

/// `shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))))))`. What runs along the shortcuts is f32.
#[derive(Clone, Debug)]
struct Block {
    norm1: Norm,
    conv1: Conv2d,
    norm2: Norm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl Block {
    fn new(b: &mut Builder, name: &str, [i, o]: [usize; 2], spatial: Option<usize>) -> Block {
        Block {
            norm1: Norm::new(b, &format!("{name}.norm1"), i, spatial),
            conv1: conv(b, &format!("{name}.conv1"), i, o, 3),
            norm2: Norm::new(b, &format!("{name}.norm2"), o, spatial),
            conv2: conv(b, &format!("{name}.conv2"), o, o, 3),
            shortcut: (i != o).then(|| conv(b, &format!("{name}.nin_shortcut"), i, o, 1)),
        }
    }

    /// [`Block::layers`] as a [`ForwardContext::checkpoint`].
    fn forward(&self, pass: &ForwardContext, x: Var, latents: Option<&Var>) -> Result<Var> {
        let block = self.clone();
        checkpoint(pass, x, latents, move |pass, x, latents| {
            block.layers(pass, x, latents)
        })
    }

    fn layers(&self, pass: &ForwardContext, x: &Var, latents: Option<&Var>) -> Result<Var> {
        let h = self.norm1.activated(pass, x, latents)?;
        let h = self.conv1.forward_f32(pass, &h)?;
        let h = self.norm2.activated(pass, &h, latents)?;
        match &self.shortcut {
            Some(shortcut) => {
                self.conv2
                    .forward_onto_f32(pass, &h, &shortcut.forward_f32(pass, x)?)
            }
            None => self.conv2.forward_onto_f32(pass, &h, x),
        }
    }
}

/// Runs layers of x, and of latents where their norms are spatial, as a
/// [`ForwardContext::checkpoint`].
fn checkpoint(
    pass: &ForwardContext,
    x: Var,
    latents: Option<&Var>,
    layers: impl Fn(&ForwardContext, &Var, Option<&Var>) -> Result<Var> + 'static,
) -> Result<Var> {
    let Some(latents) = latents else {
        return pass.checkpoint(x, move |pass, x| layers(pass, &x, None));
    };
    // A value of the block's own: what its norms add to the latents' gradient is added up first,
    // as it is where the block is computed again, so that the bits are the same.
    let own = pass.tape.reshape(latents, latents.shape())?;
    pass.checkpoint_many([x, own], move |pass, [x, latents]| {
        layers(pass, &x, Some(&latents))
    })
}

/// `x + proj_out(attention(q, k, v of norm(x)))` over all positions, one head of all channels.
#[derive(Clone, Debug)]
struct AttentionBlock {
    norm: Norm,
    q: Conv2d,
    k: Conv2d,
    v: Conv2d,
    proj_out: Conv2d,
}

impl AttentionBlock {
    fn new(b: &mut Builder, name: &str, c: usize, spatial: Option<usize>) -> AttentionBlock {
        let mut map = |part: &str| conv(b, &format!("{name}.{part}"), c, c, 1);
        let [q, k, v, proj_out] = ["q", "k", "v", "proj_out"].map(&mut map);
        AttentionBlock {
            norm: Norm::new(b, &format!("{name}.norm"), c, spatial),
            q,
            k,
            v,
            proj_out,
        }
    }

    /// [`AttentionBlock::layers`] as a [`ForwardContext::checkpoint`].
    fn forward(&self, pass: &ForwardContext, x: Var, latents: Option<&Var>) -> Result<Var> {
        let block = self.clone();
        checkpoint(pass, x, latents, move |pass, x, latents| {
            block.layers(pass, x, latents)
        })
    }

    fn layers(&self, pass: &ForwardContext, x: &Var, latents: Option<&Var>) -> Result<Var> {
        let (tape, [n, height, width, c]) = (pass.tape, x.tensor().dims("attention")?);
        let h = self.norm.forward(pass, x, latents)?;
        let part =
            |map: &Conv2d| tape.reshape(&map.forward_f32(pass, &h)?, &[n, 1, height * width, c]);
        let h = tape.attention(
            &part(&self.q)?,
            &part(&self.k)?,
            &part(&self.v)?,
            Attention::FULL,
        )?;
        self.proj_out
            .forward_onto_f32(pass, &tape.reshape(&h, &[n, height, width, c])?, x)
    }
}

/// A resolution: its blocks, each with attention behind it or without, and the way to the next.
#[derive(Debug)]
pub(super) struct Stage {
    blocks: Vec<(Block, Option<AttentionBlock>)>,
    /// Down: a convolution of stride 2. Up: one after the pixels were doubled. The last resolution
    /// has none.
    pub(super) next: Option<Conv2d>,
}

/// Sizes of a resolution's blocks.
pub(super) struct StageShape {
    pub(super) blocks: usize,
    /// Channels that come in, and channels of the resolution.
    pub(super) channels: [usize; 2],
    pub(super) attends: bool,
    /// Channels of the latents, where norms are spatial.
    pub(super) spatial: Option<usize>,
}

impl Stage {
    /// Declares a resolution's blocks; `next` declares the way to the next.
    pub(super) fn new(
        b: &mut Builder,
        name: &str,
        shape: &StageShape,
        next: impl FnOnce(&mut Builder) -> Option<Conv2d>,
    ) -> Stage {
        let [mut from, width] = shape.channels;
        let mut blocks = Vec::new();
        for i in 0..shape.blocks {
            let own = [from, width];
            let block = Block::new(b, &format!("{name}.block.{i}"), own, shape.spatial);
            let name = format!("{name}.attn.{i}");
            let attention = shape
                .attends
                .then(|| AttentionBlock::new(b, &name, width, shape.spatial));
            blocks.push((block, attention));
            from = width;
        }
        Stage {
            blocks,
            next: next(b),
        }
    }

    pub(super) fn blocks(
        &self,
        pass: &ForwardContext,
        mut x: Var,
        latents: Option<&Var>,
    ) -> Result<Var> {
        for (block, attention) in &self.blocks {
            x = block.forward(pass, x, latents)?;
            if let Some(attention) = attention {
                x = attention.forward(pass, x, latents)?;
            }
        }
        Ok(x)
    }
}

/// Two blocks, usually around attention, at the coarsest resolution.
#[derive(Debug)]
pub(super) struct Middle {
    block_1: Block,
    attn_1: Option<AttentionBlock>,
    block_2: Block,
}

impl Middle {
    pub(super) fn new(
        b: &mut Builder,
        name: &str,
        c: usize,
        attention: bool,
        spatial: Option<usize>,
    ) -> Middle {
        let attend =
            |b: &mut Builder| AttentionBlock::new(b, &format!("{name}.attn_1"), c, spatial);
        Middle {
            block_1: Block::new(b, &format!("{name}.block_1"), [c; 2], spatial),
            attn_1: attention.then(|| attend(b)),
            block_2: Block::new(b, &format!("{name}.block_2"), [c; 2], spatial),
        }
    }

    pub(super) fn forward(
        &self,
        pass: &ForwardContext,
        x: Var,
        latents: Option<&Var>,
    ) -> Result<Var> {
        let mut x = self.block_1.forward(pass, x, latents)?;
        if let Some(attention) = &self.attn_1 {
            x = attention.forward(pass, x, latents)?;
        }
        self.block_2.forward(pass, x, latents)
    }
}
