//! The rows that are logged of the training of a prior.

use crate::storage::metrics_log::Record;

/// A row of the training log: means over the steps since the row before.
#[derive(Clone, Debug, PartialEq)]
pub struct PriorRow {
    /// Steps done.
    pub step: u64,
    /// Cross-entropy in nats per token, with label smoothing where there is some.
    pub loss: f64,
    /// Norm of the gradients before they are clipped.
    pub gradient_norm: f64,
    /// The learning rate of the row's last step.
    pub lr: f64,
    /// Steps that were skipped because a gradient was not finite.
    pub skipped: u64,
    /// The factor of the loss in mixed precision.
    pub loss_scale: Option<f64>,
}

impl Record for PriorRow {
    fn header() -> String {
        "step,loss,gradient_norm,lr,skipped".into()
    }

    fn values(&self) -> String {
        let PriorRow {
            step,
            loss,
            gradient_norm,
            lr,
            skipped,
            loss_scale,
        } = self;
        let scale = loss_scale.map(|scale| format!(",{scale:.6e}"));
        let scale = scale.unwrap_or_default();
        format!("{step},{loss:.6e},{gradient_norm:.4e},{lr:.4e},{skipped}{scale}")
    }
}

impl std::fmt::Display for PriorRow {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "loss {:.4}", self.loss)
    }
}

/// A measurement on the tokens held out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PriorEvaluation {
    /// Steps done when it was made.
    pub step: u64,
    /// Steps done by the weights that were measured: those of the best measurement, in the last
    /// one of a training that keeps these.
    pub weights_step: u64,
    /// Cross-entropy in nats per token.
    pub nats_per_token: f64,
    /// Cross-entropy in bits per token.
    pub bits_per_token: f64,
    /// Bits of an image's tokens over its width times height times channels: the rate at which the
    /// two stages code its pixels.
    pub bits_per_dim: f64,
    /// Images that were looked at.
    pub images: usize,
}

impl Record for PriorEvaluation {
    fn header() -> String {
        "step,nats_per_token,bits_per_token,bits_per_dim,images,weights_step".into()
    }

    fn values(&self) -> String {
        let PriorEvaluation {
            step,
            weights_step,
            nats_per_token,
            bits_per_token,
            bits_per_dim,
            images,
        } = self;
        format!(
            "{step},{nats_per_token:.6},{bits_per_token:.6},{bits_per_dim:.6},{images},\
             {weights_step}"
        )
    }
}

impl std::fmt::Display for PriorEvaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let PriorEvaluation {
            nats_per_token,
            bits_per_token,
            bits_per_dim,
            ..
        } = self;
        write!(
            f,
            "held out {nats_per_token:.4} nats per token ({bits_per_token:.3} bits), \
             {bits_per_dim:.4} bits per pixel dimension"
        )
    }
}
