//! Drawing of the next code from what a prior predicts it by: a table of logits, or two halves.

use crate::gpu::{DType, Tensor};
use crate::inference::PriorModel;
use crate::inference::sampling::request::{Parallel, SampleRequest, SamplingOptions};
use crate::models::prior::{Head, NextCode};
use crate::nn::ForwardContext;
use crate::ops::sampling::join_codes::{Halves, join_codes};
use crate::ops::sampling::random::Key;
use crate::ops::sampling::sample::{SampleOutputs, sample};
use crate::{Error, Result};

/// Beyond the streams that codes of levels are drawn with: that of a code's second half.
const SECOND_HALF: u32 = 1 << 16;

impl PriorModel {
    /// Whether its head predicts codes in two halves.
    pub(super) fn is_factorised(&self) -> bool {
        self.prior.shape().head == Head::Factorised
    }

    /// Checks a request to a prior with a factorised head.
    pub(super) fn check_factorised(&self, request: &SampleRequest) -> Result<()> {
        let options = &request.options;
        if options.repetition_penalty != 1.0 {
            let what = "repetition_penalty: it acts on logits of all codes, which a factorised \
                        head does not make";
            return Err(Error::invalid("sample", what));
        }
        match options.parallel {
            Parallel::Window(_) => self.several_at_once(),
            Parallel::Off | Parallel::Auto => Ok(()),
        }
    }

    /// Checks that several codes of an image can be drawn in a pass.
    pub(super) fn several_at_once(&self) -> Result<()> {
        if self.is_factorised() {
            let what = "parallel: a factorised head draws codes one after another; leave it out";
            return Err(Error::invalid("sample", what));
        }
        Ok(())
    }

    /// Draws the `i`-th code of sequences [B, T] with the noise of a key. A code in two halves is
    /// filtered in each: temperature, top-k, top-p, min-p and guidance act on the first half, and
    /// then on the second.
    pub(super) fn draw_code(
        &self,
        pass: &ForwardContext,
        next: &NextCode,
        (sequence, i): (&Tensor, usize),
        options: &SamplingOptions,
        key: Key,
        first: usize,
        to: SampleOutputs,
    ) -> Result<()> {
        let sampling = &options.sampling;
        let of = match next {
            NextCode::Logits(logits) => {
                let logits = self.penalized(logits, sequence, i, options)?;
                return sample(&logits, sampling, key, first, to);
            }
            NextCode::Halves(of) => of,
        };
        let (codes, values) = self.prior.codes_of_halves()?;
        let half = |logits: &Tensor, key: Key| {
            let token = Tensor::empty(&self.gpu, to.token.shape(), DType::U32)?;
            let log_prob = Tensor::empty(&self.gpu, to.log_prob.shape(), DType::F32)?;
            let to = SampleOutputs {
                token: &token,
                log_prob: &log_prob,
                sequence: None,
            };
            sample(logits, sampling, key, first, to)?;
            Ok::<_, Error>((token, log_prob))
        };
        let (one, log_one) = half(&self.prior.first_logits(pass, of)?, key)?;
        let other_key = Key {
            stream: key.stream.wrapping_add(SECOND_HALF),
            ..key
        };
        let (two, log_two) = half(&self.prior.second_logits(pass, of, &one)?, other_key)?;
        let from = Halves {
            halves: [&one, &two],
            log_probs: [&log_one, &log_two],
            values,
        };
        join_codes(from, codes, to)
    }
}
