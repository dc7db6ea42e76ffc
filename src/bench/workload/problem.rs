//! A workload as another library is asked for it.

use super::{CHECK_FLOPS, Subject, Workload};
use crate::Result;
use crate::bench::peer::Problem;
use crate::gpu::{DType, Gpu};
use crate::ops::quantize::vq_search::VqSearch;
use crate::spec::{Data, HostTensor, Operation, Rng, Verdict};
use crate::{registry, verify};

/// Returns the inputs with 11 bits each, which TF32 and f16 both have: products of operands that
/// are rounded to these are then exact, and held to what f32 is held to.
fn eleven_bits(mut inputs: Vec<HostTensor>) -> Vec<HostTensor> {
    for host in &mut inputs {
        if let Data::F32(values) = &mut host.data {
            for v in values.iter_mut().filter(|v| v.is_finite()) {
                *v = half::f16::from_f32(*v).to_f32();
            }
        }
    }
    inputs
}

impl Workload {
    /// Returns what another library is asked for: an operation in f32, or the forward pass of a
    /// quantizer that searches one codebook, of which the codes are judged. `None` for what is
    /// neither. With `rounds`, the inputs have 11 bits.
    pub(in crate::bench) fn problem(
        &self,
        gpu: &Gpu,
        seed: u64,
        rounds: bool,
    ) -> Result<Option<Problem>> {
        if self.dtype() != DType::F32 {
            return Ok(None);
        }
        let (asked, op, backward): (String, &'static dyn Operation, bool) = match &self.subject {
            Subject::Operation { op, backward, .. } => (op.name().into(), *op, *backward),
            Subject::Quantizer(q) if matches!(q.kind.name, "ema" | "vq") => {
                let name = format!("quantizer_{}", q.kind.name);
                (name, registry::find(VqSearch.name())?, false)
            }
            _ => return Ok(None),
        };
        let case = self.case();
        let mut rng = Rng::new(seed);
        let narrow = |inputs| match rounds {
            true => eleven_bits(inputs),
            false => inputs,
        };
        let inputs = narrow(verify::made(gpu, op, &case, &mut rng));
        let shapes = verify::shapes(gpu, op, &case, &inputs)?;
        let gradient = match op.gradient().filter(|_| backward) {
            None => None,
            Some(gradient) => {
                let shape = shapes.first().map_or(&[][..], Vec::as_slice);
                let upstream = narrow(vec![rng.normals(shape)]).swap_remove(0);
                Some((upstream, gradient.timed_wrt(&case)))
            }
        };
        Ok(Some(Problem {
            asked,
            op,
            case,
            inputs,
            shapes,
            gradient,
        }))
    }
}

impl Problem {
    /// Holds an answer against f64.
    ///
    /// # Errors
    /// If there is nothing to hold it against.
    pub(in crate::bench) fn judge(self, gpu: &Gpu, outputs: Vec<HostTensor>) -> Result<Verdict> {
        let (op, case) = (self.op, &self.case);
        match self.gradient {
            None => {
                let shapes = &self.shapes;
                verify::outputs(gpu, op, case, self.inputs, outputs, shapes, CHECK_FLOPS)
            }
            Some((upstream, _)) => {
                let judged = verify::gradients(gpu, op, case, &self.inputs, &upstream, &outputs);
                Ok(judged.unwrap_or_else(|| Verdict::failure("no gradient".into())))
            }
        }
    }
}
