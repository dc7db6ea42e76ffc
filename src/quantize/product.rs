//! Product quantization: groups of channels, a codebook each (Jegou et al. 2011, "Product
//! quantization for nearest neighbor search"; multi-head codebooks).

use super::latents::{arrive, check_latents};
use super::options::Options;
use super::projected::Projected;
use super::quantizer::{CodebookBatch, Mode, Quantized, Quantizer};
use super::residual::{check_each, distances_of_each, learn_each, load_each, save_each};
use super::vq::VectorQuantizer;
use crate::autograd::Var;
use crate::gpu::{DType, Gpu, Tensor};
use crate::nn::{Builder, ForwardContext, HostTensors, Parameters};
use crate::ops::elementwise::slice_columns::{concat_columns, slice_columns};
use crate::parallel::Ranks;
use crate::{Error, Result};

/// Quantizers with EMA codebooks, one to a group of channels.
pub struct Product {
    groups: Vec<VectorQuantizer>,
}

/// Builds `product`, product quantization (Jégou et al. 2011): groups of channels have an EMA
/// codebook each.
///
/// ```
/// use wgvq::autograd::Tape;
/// use wgvq::gpu::{Gpu, Tensor};
/// use wgvq::nn::{ForwardContext, Init, Parameters};
/// use wgvq::quantize::{Mode, Options, product};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Default::default())?;
/// let mut b = Parameters::builder();
/// b.declare("encoder.weight", &[1], Init::Zeros); // a model's parameters
/// let options = Options {
///     groups: 2,
///     codebook_size: 16,
///     codebook_dim: 4,
///     kmeans_init: false,
///     ..Default::default()
/// };
/// let quantizer = product::build(&gpu, &mut b, &options)?;
/// let params = b.build(&gpu, 0)?;
///
/// let tape = Tape::new(&gpu);
/// let pass = ForwardContext::new(&tape, &params);
/// let z_e = [0.9f32, 0.2, -0.1, 0.1, 0.0, 0.5, -0.5, 1.0]; // two latents
/// let z_e = tape.leaf(&Tensor::from_slice(&gpu, &[2, 4], &z_e)?);
/// let q = quantizer.quantize(&pass, &z_e, Mode::Eval)?;
/// assert_eq!(q.z_q.shape(), [2, 4]);
/// assert_eq!(q.indices.shape(), [2, 2]);
/// assert_eq!(quantizer.decode(&pass, &q.indices)?.shape(), [2, 4]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the groups do not divide the channels, or the device cannot hold the codebooks.
pub fn build(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    let o = &o.as_kind("product");
    o.check()?;
    let width = o.code_channels() / o.groups;
    let group = |i: usize| {
        let seed = o.seed.wrapping_add((i as u64) << 48);
        VectorQuantizer::average(
            gpu,
            "product",
            &Options {
                seed,
                codebook_dim: width,
                ..o.clone()
            },
        )
    };
    let groups = (0..o.groups).map(group).collect::<Result<Vec<_>>>()?;
    Projected::around(b, o, Box::new(Product { groups }))
}

impl Product {
    /// Channels of a group.
    fn width(&self) -> usize {
        self.groups[0].dim()
    }
}

impl Quantizer for Product {
    fn name(&self) -> &str {
        "product"
    }
    fn codebook_numbers(&self) -> usize {
        self.groups.iter().map(Quantizer::codebook_numbers).sum()
    }
    fn codebook_size(&self) -> usize {
        self.groups[0].codebook_size()
    }
    fn codebooks(&self) -> usize {
        self.groups.len()
    }
    fn dim(&self) -> usize {
        self.width() * self.groups.len()
    }
    fn wants_init(&self) -> bool {
        self.groups.iter().any(Quantizer::wants_init)
    }

    fn spans_latents(&self) -> Option<String> {
        self.groups.iter().find_map(Quantizer::spans_latents)
    }

    fn initialize(
        &mut self,
        pass: &ForwardContext,
        latents: &Tensor,
        per_step: usize,
    ) -> Result<()> {
        check_latents("product", latents, self.dim())?;
        let width = self.width();
        for (i, group) in self.groups.iter_mut().enumerate() {
            group.initialize(pass, &slice_columns(latents, i * width, width)?, per_step)?;
        }
        Ok(())
    }

    /// The losses are means over the groups, as if over all channels at once.
    fn quantize(&self, pass: &ForwardContext, z_e: &Var, mode: Mode) -> Result<Quantized> {
        let z_e = &arrive("product", pass, z_e, self.dim())?;
        let (tape, k, width) = (pass.tape, self.codebook_size(), self.width());
        let share = 1.0 / self.groups.len() as f32;
        let counts = Tensor::empty(tape.gpu(), &[self.groups.len(), k], DType::U32)?;
        let (mut losses, mut seen, mut indices, mut parts) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (i, group) in self.groups.iter().enumerate() {
            let q = group.quantize(pass, &tape.slice_columns(z_e, i * width, width)?, mode)?;
            counts.copy_into(i * k, &q.counts)?;
            for (term, loss) in q.losses {
                losses.push((term, tape.scale(&loss, share, 0.0)?));
            }
            seen.extend(
                q.seen
                    .into_iter()
                    .map(|s| CodebookBatch { codebook: i, ..s }),
            );
            indices.push(q.indices);
            parts.push(q.z_q);
        }
        let indices = concat_columns(&indices.iter().collect::<Vec<_>>())?;
        Ok(Quantized {
            z_q: tape.concat_columns(&parts)?,
            indices,
            counts,
            losses,
            seen,
        })
    }

    fn learn(
        &mut self,
        params: &Parameters,
        seen: &[CodebookBatch],
        step: u64,
    ) -> Result<Option<Tensor>> {
        learn_each(&mut self.groups, params, seen, step)
    }

    fn decode(&self, pass: &ForwardContext, indices: &Tensor) -> Result<Tensor> {
        let [_, groups] = indices.dims("decode")?;
        if groups != self.groups.len() {
            let expected = format!("u32 indices [N, {}]", self.groups.len());
            return Err(Error::shape("decode", expected, format!("{indices:?}")));
        }
        let part = |(i, group): (usize, &VectorQuantizer)| {
            group.decode(pass, &slice_columns(indices, i, 1)?)
        };
        let parts = self
            .groups
            .iter()
            .enumerate()
            .map(part)
            .collect::<Result<Vec<Tensor>>>()?;
        concat_columns(&parts.iter().collect::<Vec<_>>())
    }

    fn distances(&self, pass: &ForwardContext, z_e: &Var) -> Result<Vec<f32>> {
        let q = self.quantize(pass, z_e, Mode::Eval)?;
        distances_of_each(pass, &q, |i| &self.groups[i])
    }

    fn save(&self) -> Result<HostTensors> {
        save_each(&self.groups, Quantizer::save)
    }

    fn check_state(&self, state: &HostTensors) -> Result<()> {
        check_each(self.name(), &self.groups, state)
    }

    fn save_codes(&self) -> Result<HostTensors> {
        save_each(&self.groups, Quantizer::save_codes)
    }

    fn load(&mut self, state: &HostTensors) -> Result<()> {
        self.check_state(state)?;
        load_each(&mut self.groups, state, Quantizer::load)
    }

    fn load_codes(&mut self, codes: &HostTensors) -> Result<()> {
        load_each(&mut self.groups, codes, Quantizer::load_codes)
    }

    fn join(&mut self, ranks: &Ranks) -> bool {
        // Every one, not only up to the first that says no.
        let joined: Vec<bool> = self.groups.iter_mut().map(|q| q.join(ranks)).collect();
        joined.iter().all(|joined| *joined)
    }

    fn learned(&self) -> Vec<&Tensor> {
        self.groups.iter().flat_map(Quantizer::learned).collect()
    }

    fn reset(&mut self, placed: bool) {
        self.groups.iter_mut().for_each(|q| q.reset(placed));
    }

    fn begin_revival(&mut self) -> bool {
        // Every one, not only up to the first that says yes.
        let begun = self.groups.iter_mut().map(Quantizer::begin_revival);
        begun.filter(|begun| *begun).count() > 0
    }
}
