//! Layers over latents beside the quantizer: Emu3's (Wang et al. 2024, "Emu3: next-token prediction
//! is all you need"), whose convolutions over time see a single image as convolutions of 3 x 3.

use super::blocks::conv;
use crate::Result;
use crate::autograd::Var;
use crate::nn::{Builder, Conv2d, ForwardContext};
use crate::ops::elementwise::activation::Function;

fn silu(pass: &ForwardContext, x: &Var) -> Result<Var> {
    pass.tape.activation(Function::Silu, x)
}

/// `x + conv2(silu(map2(conv1(silu(map1(x))))))`, with maps of each place's channels.
#[derive(Debug)]
struct LatentBlock {
    map1: Conv2d,
    conv1: Conv2d,
    map2: Conv2d,
    conv2: Conv2d,
}

impl LatentBlock {
    fn all(b: &mut Builder, name: &str, c: usize, count: usize) -> Vec<LatentBlock> {
        let one = |j: usize| {
            let name = format!("{name}.block.{j}");
            LatentBlock {
                map1: conv(b, &format!("{name}.map1"), c, c, 1),
                conv1: conv(b, &format!("{name}.conv1"), c, c, 3),
                map2: conv(b, &format!("{name}.map2"), c, c, 1),
                conv2: conv(b, &format!("{name}.conv2"), c, c, 3),
            }
        };
        (0..count).map(one).collect()
    }

    fn forward(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        let h = silu(pass, &self.map1.forward_f32(pass, x)?)?;
        let h = self.conv1.forward_f32(pass, &h)?;
        let h = silu(pass, &self.map2.forward_f32(pass, &h)?)?;
        self.conv2.forward_onto_f32(pass, &h, x)
    }
}

/// The layers behind the encoder: `silu(join_0(silu(split_0(x))) + join_1(silu(split_1(x))))`, and
/// blocks. The two parts are what was the first frame and those behind it.
#[derive(Debug)]
pub(super) struct EncoderLatents {
    split: [Conv2d; 2],
    join: [Conv2d; 2],
    blocks: Vec<LatentBlock>,
}

impl EncoderLatents {
    pub(super) fn new(b: &mut Builder, name: &str, c: usize, blocks: usize) -> EncoderLatents {
        let mut of = |part: &str| [0, 1].map(|i| conv(b, &format!("{name}.{part}_{i}"), c, c, 3));
        EncoderLatents {
            split: of("split"),
            join: of("join"),
            blocks: LatentBlock::all(b, name, c, blocks),
        }
    }

    pub(super) fn forward(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        let [first, later] = &self.split;
        let [of_first, of_later] = &self.join;
        let first = silu(pass, &first.forward_f32(pass, x)?)?;
        let later = silu(pass, &later.forward_f32(pass, x)?)?;
        let sum = of_first.forward_f32(pass, &first)?;
        let sum = of_later.forward_onto_f32(pass, &later, &sum)?;
        let mut blocks = self.blocks.iter();
        blocks.try_fold(silu(pass, &sum)?, |x, block| block.forward(pass, &x))
    }
}

/// The layers before the decoder: blocks, and twice `silu(conv(x))`.
#[derive(Debug)]
pub(super) struct DecoderLatents {
    blocks: Vec<LatentBlock>,
    convs: [Conv2d; 2],
}

impl DecoderLatents {
    pub(super) fn new(b: &mut Builder, name: &str, c: usize, blocks: usize) -> DecoderLatents {
        let blocks = LatentBlock::all(b, name, c, blocks);
        DecoderLatents {
            blocks,
            convs: [0, 1].map(|i| conv(b, &format!("{name}.conv_{i}"), c, c, 3)),
        }
    }

    pub(super) fn forward(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        let mut blocks = self.blocks.iter();
        let x = blocks.try_fold(x.clone(), |x, block| block.forward(pass, &x))?;
        let mut convs = self.convs.iter();
        convs.try_fold(x, |x, conv| silu(pass, &conv.forward_f32(pass, &x)?))
    }
}
