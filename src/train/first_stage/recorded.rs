//! The records of a forward pass.

use super::level_slot;
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::Tensor;
use crate::inference::first_stage::Coded;
use crate::metrics::{CodeMetrics, LossMetrics, MeanOfParts};
use crate::ops::loss::loss::{Loss, loss};
use crate::quantize::Term;

/// Takes down the metrics of a forward pass, but for how often each code was used.
pub(in crate::train) fn record(
    metrics: &mut MeanOfParts,
    loss_var: &Var,
    reconstruction: &Tensor,
    coded: &[Coded],
) -> Result<()> {
    metrics.add(const { LossMetrics::slot("loss") }, loss_var.tensor())?;
    metrics.add(
        const { LossMetrics::slot("reconstruction") },
        reconstruction,
    )?;
    let still = Tape::no_grad(reconstruction.gpu());
    for (slot, term) in [
        (const { LossMetrics::slot("commitment") }, Term::Commitment),
        (const { LossMetrics::slot("codebook") }, Term::Codebook),
        (
            const { LossMetrics::slot("regularizer") },
            Term::Regularizer,
        ),
    ] {
        let mut sum: Option<Var> = None;
        for part in coded {
            sum = match (sum, part.quantized.loss(&still, term)?) {
                (Some(sum), Some(more)) => Some(still.add(&sum, &more)?),
                (sum, more) => sum.or(more),
            };
        }
        if let Some(sum) = sum {
            metrics.add(slot, sum.tensor())?;
        }
    }
    for (level, part) in coded.iter().enumerate() {
        let error = loss(Loss::Mse, part.rows.tensor(), part.quantized.z_q.tensor())?;
        metrics.add(
            level_slot(level) + const { CodeMetrics::slot("quantization_error") },
            &error,
        )?;
    }
    Ok(())
}
