//! A VQ-GAN's training step on burn's wgpu backend: the model, discriminator and losses of
//! `vqgan_step.py` beside it, with its default widths.
//!
//!     cargo run --release --manifest-path scripts/peers/burn-vqgan/Cargo.toml
//!
//! One thing is left out: burn 0.22's `backward` consumes its graph, so that two gradients of one
//! forward pass, which the adaptive weight needs, cannot be had. The weight is a constant here,
//! which spares burn that work. Prints a line of JSON: the median time of a step in which
//! both players move.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, GroupNorm, GroupNormConfig, PaddingConfig2d};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::{leaky_relu, relu, silu, softmax};
use burn::tensor::ops::{
    AvgPoolOptions, ConvOptions, InterpolateMode, InterpolateOptions, PadMode,
};
use burn::tensor::{Device, Distribution, Tensor, module};
use std::time::Instant;

const BATCH: usize = 8;
const SIZE: usize = 64;
const HIDDEN: usize = 32;
const MULTIPLIERS: [usize; 3] = [1, 1, 2];
const BLOCKS: usize = 1;
const CODES: usize = 512;
const DIM: usize = 64;
const DISC_HIDDEN: usize = 32;
const DISC_LAYERS: usize = 2;

fn conv(i: usize, o: usize, k: usize, s: usize, p: usize, bias: bool, d: &Device) -> Conv2d {
    let padding = PaddingConfig2d::Explicit(p, p, p, p);
    Conv2dConfig::new([i, o], [k, k])
        .with_stride([s, s])
        .with_padding(padding)
        .with_bias(bias)
        .init(d)
}

fn norm(c: usize, d: &Device) -> GroupNorm {
    GroupNormConfig::new(32, c).with_epsilon(1e-6).init(d)
}

#[derive(Module, Debug)]
struct Block {
    n1: GroupNorm,
    c1: Conv2d,
    n2: GroupNorm,
    c2: Conv2d,
    short: Option<Conv2d>,
}

impl Block {
    fn new(i: usize, o: usize, d: &Device) -> Block {
        let short = (i != o).then(|| conv(i, o, 1, 1, 0, true, d));
        Block {
            n1: norm(i, d),
            c1: conv(i, o, 3, 1, 1, true, d),
            n2: norm(o, d),
            c2: conv(o, o, 3, 1, 1, true, d),
            short,
        }
    }
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self.c1.forward(silu(self.n1.forward(x.clone())));
        let h = self.c2.forward(silu(self.n2.forward(h)));
        h + match &self.short {
            Some(short) => short.forward(x),
            None => x,
        }
    }
}

#[derive(Module, Debug)]
struct Attention {
    n: GroupNorm,
    qkv: Conv2d,
    out: Conv2d,
}

impl Attention {
    fn new(c: usize, d: &Device) -> Attention {
        Attention {
            n: norm(c, d),
            qkv: conv(c, 3 * c, 1, 1, 0, true, d),
            out: conv(c, c, 1, 1, 0, true, d),
        }
    }
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let qkv = self
            .qkv
            .forward(self.n.forward(x.clone()))
            .reshape([b, 3, c, h * w]);
        let part = |i: usize| {
            qkv.clone()
                .narrow(1, i, 1)
                .reshape([b, c, h * w])
                .swap_dims(1, 2)
        };
        let (q, k, v): (Tensor<3>, Tensor<3>, Tensor<3>) = (part(0), part(1), part(2));
        let p = softmax(q.matmul(k.swap_dims(1, 2)) / (c as f64).sqrt(), 2);
        x + self
            .out
            .forward(p.matmul(v).swap_dims(1, 2).reshape([b, c, h, w]))
    }
}

/// Blocks at one resolution, and the convolution that leads to the next.
#[derive(Module, Debug)]
struct Scale {
    blocks: Vec<Block>,
    change: Option<Conv2d>,
}

#[derive(Module, Debug)]
struct Middle {
    a: Block,
    attention: Attention,
    b: Block,
}

impl Middle {
    fn new(c: usize, d: &Device) -> Middle {
        Middle {
            a: Block::new(c, c, d),
            attention: Attention::new(c, d),
            b: Block::new(c, c, d),
        }
    }
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.b.forward(self.attention.forward(self.a.forward(x)))
    }
}

#[derive(Module, Debug)]
struct Model {
    enter: Conv2d,
    down: Vec<Scale>,
    middle: Middle,
    n1: GroupNorm,
    to_latent: Conv2d,
    quant: Conv2d,
    post: Conv2d,
    from_latent: Conv2d,
    middle2: Middle,
    up: Vec<Scale>,
    n2: GroupNorm,
    last: Conv2d,
}

impl Model {
    fn new(d: &Device) -> Model {
        let widths = MULTIPLIERS.map(|m| m * HIDDEN);
        let mut c = HIDDEN;
        let mut scale = |n: usize, w: usize, change: Option<Conv2d>| {
            let blocks = (0..n)
                .map(|_| Block::new(std::mem::replace(&mut c, w), w, d))
                .collect();
            Scale { blocks, change }
        };
        let last = widths.len() - 1;
        let down = (0..=last)
            .map(|i| {
                scale(
                    BLOCKS,
                    widths[i],
                    (i < last).then(|| conv(widths[i], widths[i], 3, 2, 0, true, d)),
                )
            })
            .collect();
        let wide = widths[last];
        let up = (0..=last)
            .rev()
            .map(|i| {
                scale(
                    BLOCKS + 1,
                    widths[i],
                    (i > 0).then(|| conv(widths[i], widths[i], 3, 1, 1, true, d)),
                )
            })
            .collect();
        Model {
            enter: conv(3, HIDDEN, 3, 1, 1, true, d),
            down,
            middle: Middle::new(wide, d),
            n1: norm(wide, d),
            to_latent: conv(wide, DIM, 3, 1, 1, true, d),
            quant: conv(DIM, DIM, 1, 1, 0, true, d),
            post: conv(DIM, DIM, 1, 1, 0, true, d),
            from_latent: conv(DIM, wide, 3, 1, 1, true, d),
            middle2: Middle::new(wide, d),
            up,
            n2: norm(widths[0], d),
            last: conv(widths[0], 3, 3, 1, 1, true, d),
        }
    }
    fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        let mut h = self.enter.forward(x);
        for scale in &self.down {
            h = scale.blocks.iter().fold(h, |h, block| block.forward(h));
            if let Some(change) = &scale.change {
                h = change.forward(h.pad((0, 1, 0, 1), PadMode::Constant(0.0)));
            }
        }
        self.quant.forward(
            self.to_latent
                .forward(silu(self.n1.forward(self.middle.forward(h)))),
        )
    }
    fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let mut h = self
            .middle2
            .forward(self.from_latent.forward(self.post.forward(z)));
        for scale in &self.up {
            h = scale.blocks.iter().fold(h, |h, block| block.forward(h));
            if let Some(change) = &scale.change {
                let twice =
                    InterpolateOptions::new(InterpolateMode::Nearest).with_scale_factor([2.0, 2.0]);
                h = change.forward(module::interpolate(h, twice));
            }
        }
        self.last.forward(silu(self.n2.forward(h)))
    }
}

#[derive(Module, Debug)]
struct Layer {
    conv: Conv2d,
    norm: Option<BatchNorm>,
}

#[derive(Module, Debug)]
struct Discriminator {
    layers: Vec<Layer>,
}

impl Discriminator {
    fn new(d: &Device) -> Discriminator {
        let mut c = 3;
        let layers = (0..DISC_LAYERS + 2).map(|i| {
            let last = i == DISC_LAYERS + 1;
            let o = if last {
                1
            } else {
                DISC_HIDDEN * (1 << i).min(8)
            };
            let plain = i == 0 || last;
            let stride = if i < DISC_LAYERS { 2 } else { 1 };
            let norm = (!plain).then(|| BatchNormConfig::new(o).init(d));
            Layer {
                conv: conv(std::mem::replace(&mut c, o), o, 4, stride, 1, plain, d),
                norm,
            }
        });
        Discriminator {
            layers: layers.collect(),
        }
    }
    /// Scores, and what the layers before them hold.
    fn judge(&self, x: Tensor<4>) -> (Tensor<4>, Vec<Tensor<4>>) {
        let (mut h, mut features) = (x, Vec::new());
        for (i, layer) in self.layers.iter().enumerate() {
            h = layer.conv.forward(h);
            if let Some(norm) = &layer.norm {
                h = norm.forward(h);
            }
            if i + 1 < self.layers.len() {
                h = leaky_relu(h, 0.2);
                features.push(h.clone());
            }
        }
        (h, features)
    }
}

fn ssim(x: &Tensor<4>, y: &Tensor<4>, window: &Tensor<4>) -> Tensor<1> {
    let unit = |t: &Tensor<4>| (t.clone() * 0.5 + 0.5).clamp(0.0, 1.0);
    let (x, y) = (unit(x), unit(y));
    let f = |t: Tensor<4>| {
        module::conv2d(
            t,
            window.clone(),
            None,
            ConvOptions::new([1, 1], [0, 0], [1, 1], 3),
        )
    };
    let (mx, my) = (f(x.clone()), f(y.clone()));
    let sx = f(x.clone() * x.clone()) - mx.clone() * mx.clone();
    let sy = f(y.clone() * y.clone()) - my.clone() * my.clone();
    let sxy = f(x * y) - mx.clone() * my.clone();
    let above = (mx.clone() * my.clone() * 2.0 + 1e-4) * (sxy * 2.0 + 9e-4);
    let below = (mx.clone() * mx + my.clone() * my + 1e-4) * (sx + sy + 9e-4);
    (above / below).mean()
}

fn structure(x: Tensor<4>, y: Tensor<4>, window: &Tensor<4>) -> Tensor<1> {
    let (mut x, mut y, mut total) = (x, y, None);
    for _ in 0..3 {
        let diff = |t: &Tensor<4>, dim: usize| {
            let n = t.dims()[dim];
            t.clone().narrow(dim, 1, n - 1) - t.clone().narrow(dim, 0, n - 1)
        };
        let edges = (0..2)
            .map(|i| (diff(&x, 3 - i) - diff(&y, 3 - i)).abs().mean())
            .reduce(|a, b| a + b)
            .unwrap()
            * 0.5;
        let own = edges + 0.5 - ssim(&x, &y, window) * 0.5;
        total = Some(match total {
            Some(sum) => sum + own,
            None => own,
        });
        x = module::avg_pool2d(x, AvgPoolOptions::new([2, 2]));
        y = module::avg_pool2d(y, AvgPoolOptions::new([2, 2]));
    }
    total.unwrap() / 3.0
}

fn main() {
    let plain = Device::wgpu(Default::default());
    let dev = plain.clone().autodiff();
    let (mut model, mut disc) = (Model::new(&dev), Discriminator::new(&dev));
    let (mut opt_g, mut opt_d) = (
        AdamConfig::new().init(),
        AdamConfig::new().with_beta_1(0.5).with_beta_2(0.9).init(),
    );
    let normal = Distribution::Normal(0.0, 1.0);
    let x = Tensor::<4>::random(
        [BATCH, 3, SIZE, SIZE],
        Distribution::Uniform(-1.0, 1.0),
        &dev,
    );
    let mut codebook = Tensor::<2>::random([CODES, DIM], normal, &plain);
    let (mut counts, mut sums) = (Tensor::<1>::ones([CODES], &plain), codebook.clone());
    let g: Vec<f32> = (0..11)
        .map(|i| (-((i as f32 - 5.0) / 1.5).powi(2) / 2.0).exp())
        .collect();
    let all = g.iter().sum::<f32>().powi(2);
    let one: Vec<f32> = (0..121).map(|i| g[i / 11] * g[i % 11] / all).collect();
    let window = Tensor::<1>::from_floats(one.repeat(3).as_slice(), &dev).reshape([3, 1, 11, 11]);
    let mut times = Vec::new();
    for _ in 0..7 {
        let began = Instant::now();
        let z = model.encode(x.clone());
        let [b, c, h, w] = z.dims();
        let rows = z.permute([0, 2, 3, 1]).reshape([b * h * w, c]);
        let seen = rows.clone().inner();
        let d = codebook.clone().powi_scalar(2).sum_dim(1).transpose()
            - seen.clone().matmul(codebook.clone().transpose()) * 2.0;
        let index = d.argmin(1).reshape([b * h * w]);
        let onehot: Tensor<2> = index.clone().one_hot::<2>(CODES).float();
        counts = counts * 0.99 + onehot.clone().sum_dim(0).reshape([CODES]) * 0.01;
        sums = sums * 0.99 + onehot.transpose().matmul(seen) * 0.01;
        let q = Tensor::<2>::from_inner(codebook.select(0, index));
        let n = counts.clone().sum();
        let smooth = (counts.clone() + 1e-5) / (n.clone() + CODES as f64 * 1e-5) * n;
        codebook = sums.clone() / smooth.unsqueeze_dim::<2>(1);
        let commit = (rows.clone() - q.clone()).powi_scalar(2).mean() * 0.25;
        let z_q = (rows.clone() + (q - rows).detach())
            .reshape([b, h, w, c])
            .permute([0, 3, 1, 2]);
        let y = model.decode(z_q);
        let own = (y.clone() - x.clone()).abs().mean() + structure(y.clone(), x.clone(), &window);
        let real = disc.judge(x.clone()).1;
        let (scores, fake) = disc.judge(y.clone());
        let layers = real.len() as f64;
        let matching = fake
            .into_iter()
            .zip(real)
            .map(|(f, r)| (f - r.detach()).abs().mean());
        let heard = matching.reduce(|a, b| a + b).unwrap() * (2.0 / layers) - scores.mean();
        let grads = GradientsParams::from_grads((own + heard * 0.8 + commit).backward(), &model);
        model = opt_g.step(5e-4, model, grads);
        let fake = disc.judge(y.detach()).0;
        let loss =
            (relu(disc.judge(x.clone()).0 * -1.0 + 1.0).mean() + relu(fake + 1.0).mean()) * 0.5;
        let grads = GradientsParams::from_grads(loss.backward(), &disc);
        disc = opt_d.step(5e-4, disc, grads);
        plain.sync().unwrap();
        times.push(1e3 * began.elapsed().as_secs_f64());
    }
    let mut warm = times[2..].to_vec();
    warm.sort_by(f64::total_cmp);
    println!(
        "{{\"peer\": \"burn-wgpu\", \"name\": \"vqgan_step\", \"ms\": {:.1}, \"parameters\": {}}}",
        warm[warm.len() / 2],
        model.num_params()
    );
}
