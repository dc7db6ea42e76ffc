//! A quantizer between two linear maps: into the channels that it works in, and out again.

use super::latents::{arrive, check_latents};
use super::options::Options;
use super::quantizer::{CodebookBatch, Mode, Quantized, Quantizer};
use super::scale_tables::ScaleTables;
use crate::Result;
use crate::autograd::Var;
use crate::gpu::Tensor;
use crate::nn::{Builder, ForwardContext, Handle, HostTensors, Init, Parameters};
use crate::ops::linalg::matmul::Transpose;
use crate::parallel::Ranks;

/// A quantizer between the parameters `quantize.project_in` and `quantize.project_out`, a weight
/// [out, in] and a bias each.
pub struct Projected {
    inner: Box<dyn Quantizer>,
    dim: usize,
    into: [Handle; 2],
    out: [Handle; 2],
}

fn linear(b: &mut Builder, name: &str, i: usize, o: usize) -> [Handle; 2] {
    // PyTorch's default for linear maps.
    let init = Init::Uniform(1.0 / (i as f32).sqrt());
    [
        b.declare(format!("{name}.weight"), &[o, i], init),
        b.declare(format!("{name}.bias"), &[o], init),
    ]
}

fn apply(pass: &ForwardContext, x: &Var, [weight, bias]: [Handle; 2]) -> Result<Var> {
    let y = pass.tape.matmul(x, &pass.param(weight)?, Transpose::B)?;
    pass.tape.bias(&y, &pass.param(bias)?)
}

impl Projected {
    /// `inner`, with maps around it where the options' latents have other channels than its codes.
    ///
    /// # Errors
    /// None today; building a quantizer may fail.
    pub fn around(
        b: &mut Builder,
        o: &Options,
        inner: Box<dyn Quantizer>,
    ) -> Result<Box<dyn Quantizer>> {
        let (dim, code) = (o.latent_channels(), inner.dim());
        if dim == code {
            return Ok(inner);
        }
        let into = linear(b, "quantize.project_in", dim, code);
        let out = linear(b, "quantize.project_out", code, dim);
        Ok(Box::new(Projected {
            inner,
            dim,
            into,
            out,
        }))
    }
}

impl Quantizer for Projected {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn codebook_numbers(&self) -> usize {
        self.inner.codebook_numbers()
    }
    fn codebook_size(&self) -> usize {
        self.inner.codebook_size()
    }
    fn codebooks(&self) -> usize {
        self.inner.codebooks()
    }
    fn scales(&self) -> &[usize] {
        self.inner.scales()
    }
    fn dim(&self) -> usize {
        self.dim
    }
    fn wants_init(&self) -> bool {
        self.inner.wants_init()
    }
    fn spans_latents(&self) -> Option<String> {
        self.inner.spans_latents()
    }
    fn initialize(
        &mut self,
        pass: &ForwardContext,
        latents: &Tensor,
        per_step: usize,
    ) -> Result<()> {
        check_latents("quantizer", latents, self.dim)?;
        let x = apply(pass, &pass.tape.constant(latents), self.into)?;
        self.inner.initialize(pass, x.tensor(), per_step)
    }
    fn quantize(&self, pass: &ForwardContext, z_e: &Var, mode: Mode) -> Result<Quantized> {
        let z_e = &arrive("quantizer", pass, z_e, self.dim)?;
        let mut q = self
            .inner
            .quantize(pass, &apply(pass, z_e, self.into)?, mode)?;
        q.z_q = apply(pass, &q.z_q, self.out)?;
        Ok(q)
    }
    fn quantize_scales(
        &self,
        pass: &ForwardContext,
        z_e: &Var,
        mode: Mode,
    ) -> Result<Vec<Quantized>> {
        let z_e = &arrive("quantizer", pass, z_e, self.dim)?;
        let x = apply(pass, z_e, self.into)?;
        let mut scales = self.inner.quantize_scales(pass, &x, mode)?;
        for q in &mut scales {
            q.z_q = apply(pass, &q.z_q, self.out)?;
        }
        Ok(scales)
    }
    fn scale_tables(&self, pass: &ForwardContext) -> Result<Option<ScaleTables>> {
        self.inner.scale_tables(pass)
    }
    fn learn(
        &mut self,
        params: &Parameters,
        seen: &[CodebookBatch],
        step: u64,
    ) -> Result<Option<Tensor>> {
        self.inner.learn(params, seen, step)
    }
    fn decode(&self, pass: &ForwardContext, indices: &Tensor) -> Result<Tensor> {
        let codes = pass.tape.constant(&self.inner.decode(pass, indices)?);
        Ok(apply(pass, &codes, self.out)?.tensor().clone())
    }
    fn code_vectors(&self, pass: &ForwardContext, indices: &Tensor) -> Result<Tensor> {
        let codes = pass.tape.constant(&self.inner.code_vectors(pass, indices)?);
        Ok(apply(pass, &codes, self.out)?.tensor().clone())
    }
    fn distances(&self, pass: &ForwardContext, z_e: &Var) -> Result<Vec<f32>> {
        check_latents("quantizer", z_e.tensor(), self.dim)?;
        self.inner.distances(pass, &apply(pass, z_e, self.into)?)
    }
    fn save(&self) -> Result<HostTensors> {
        self.inner.save()
    }
    fn check_state(&self, state: &HostTensors) -> Result<()> {
        self.inner.check_state(state)
    }
    fn load(&mut self, state: &HostTensors) -> Result<()> {
        self.inner.load(state)
    }
    fn save_codes(&self) -> Result<HostTensors> {
        self.inner.save_codes()
    }
    fn load_codes(&mut self, codes: &HostTensors) -> Result<()> {
        self.inner.load_codes(codes)
    }
    fn learned(&self) -> Vec<&Tensor> {
        self.inner.learned()
    }
    fn join(&mut self, ranks: &Ranks) -> bool {
        self.inner.join(ranks)
    }
    fn reset(&mut self, placed: bool) {
        self.inner.reset(placed);
    }
    fn begin_revival(&mut self) -> bool {
        self.inner.begin_revival()
    }
}
