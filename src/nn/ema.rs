//! A moving average of the weights, whose model is often the better one to judge by.

use super::{HostTensors, Parameters, TensorSource};
use crate::ops::elementwise::lerp::lerp_assign;
use crate::{Error, Result};
use std::sync::Arc;

/// An exponential moving average of a model's parameters.
#[derive(Debug)]
pub struct Ema {
    weights: Parameters,
    decay: f64,
}

impl Ema {
    /// Starts at the parameters as they are.
    ///
    /// # Errors
    /// If `decay` is outside [0, 1).
    pub fn new(params: &Parameters, decay: f64) -> Result<Ema> {
        if !(0.0..1.0).contains(&decay) {
            return Err(Error::invalid(
                "ema",
                format!("a decay of {decay}: it must be at least 0 and below 1"),
            ));
        }
        Ok(Ema {
            weights: params.duplicate()?,
            decay,
        })
    }

    /// `ema = decay ema + (1 - decay) p`, in one dispatch over each part of the parameters. The
    /// first updates use a smaller decay, (1 + updates) / (10 + updates), so that the average
    /// forgets where the weights began.
    ///
    /// # Errors
    /// If `params` are of another model.
    pub fn update(&self, params: &Parameters, updates: u64) -> Result<()> {
        if !Arc::ptr_eq(self.weights.layout(), params.layout()) {
            return Err(Error::invalid(
                "ema",
                "these parameters are not those that it was made for",
            ));
        }
        let early = (1 + updates) as f64 / (10 + updates) as f64;
        let weight = 1.0 - self.decay.min(early);
        let mut parts = self.weights.parts().iter().zip(params.parts());
        parts.try_for_each(|(average, part)| lerp_assign(average, part, weight))
    }

    /// Returns the averaged parameters, under the handles of the model's own.
    pub fn weights(&self) -> &Parameters {
        &self.weights
    }

    /// Goes on from a saved average.
    ///
    /// # Errors
    /// If a tensor is missing, unexpected or of another shape; nothing is changed then.
    pub fn load_host(&self, tensors: &HostTensors) -> Result<()> {
        self.weights.load_host(tensors)
    }

    /// [`Ema::load_host`] of tensors that are read one at a time.
    pub(crate) fn load(&self, tensors: &dyn TensorSource) -> Result<()> {
        self.weights.load(tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, Options};
    use crate::nn::Init;

    #[test]
    fn follows_the_weights_and_leaves_them_alone() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let mut b = Parameters::builder();
        let w = b.declare("w", &[70], Init::Ones);
        let p = b.build(&gpu, 0).unwrap();
        let ema = Ema::new(&p, 0.75).unwrap();
        p.get(w).unwrap().write(&[3.0f32; 70]).unwrap();
        ema.update(&p, 100).unwrap();
        ema.update(&p, 101).unwrap();
        assert_eq!(
            ema.weights().get(w).unwrap().read::<f32>().unwrap(),
            [1.875; 70]
        );
        assert_eq!(p.get(w).unwrap().read::<f32>().unwrap(), [3.0; 70]);
        assert_eq!(
            ema.weights().parts()[0].read::<f32>().unwrap()[70..],
            [0.0; 58]
        );
        assert!(Ema::new(&p, 1.0).is_err() && Ema::new(&p, f64::NAN).is_err());
        let mut b = Parameters::builder();
        b.declare("w", &[70], Init::Ones);
        assert!(ema.update(&b.build(&gpu, 0).unwrap(), 0).is_err());
    }
}
