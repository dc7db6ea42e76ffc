//! Copies of a model's parameters in f16, which the optimiser writes beside them: what products and
//! convolutions read in mixed precision (Micikevicius et al. 2018, section 3.1).

use super::layout::Layout;
use super::{Handle, Parameters};
use crate::gpu::{DType, Tensor};
use crate::ops::elementwise::cast::cast;
use crate::ops::optim::adam::{BLOCK, Copies};
use crate::{Error, Result};
use std::sync::Arc;

/// Elements of 16 bits in the alignment that bindings need.
const ALIGN: usize = 128;

/// The copies. Clones are cheap and share the buffers.
#[derive(Clone, Debug)]
pub(crate) struct HalfWeights {
    layout: Arc<Layout>,
    /// By the parts of the parameters.
    parts: Arc<[HalfPart]>,
    views: Arc<[Tensor]>,
}

/// The copies of a part of the parameters.
#[derive(Debug)]
struct HalfPart {
    halves: Tensor,
    /// The block of `halves` that each block of the part goes to.
    places: Tensor,
}

impl HalfWeights {
    /// Copies parameters as they are.
    ///
    /// # Errors
    /// If the device cannot hold or bind the copies.
    pub(crate) fn new(params: &Parameters) -> Result<HalfWeights> {
        let (gpu, layout) = (params.gpu(), params.layout());
        let mut starts = vec![0; layout.slots.len()];
        let mut parts = Vec::with_capacity(layout.parts.len());
        for (i, part) in layout.parts.iter().enumerate() {
            let mut places = vec![0u32; part.len / BLOCK];
            let own = layout.slots.iter().zip(&mut starts);
            let mut len = 0;
            for (slot, copy) in own.filter(|(slot, _)| slot.part == i && !slot.omitted) {
                *copy = len;
                for block in 0..slot.len().div_ceil(BLOCK) {
                    places[slot.start / BLOCK + block] = (len / BLOCK + block) as u32;
                }
                len += slot.len().next_multiple_of(ALIGN);
            }
            let (asked, limit) = (2 * len as u64, gpu.limits().max_storage_buffer_binding_size);
            if asked > limit {
                let what = "copies of the parameters in 16 bits (train.precision)".into();
                return Err(Error::Limit { what, asked, limit });
            }
            parts.push(HalfPart {
                halves: Tensor::zeros(gpu, &[len], DType::F16)?,
                places: Tensor::from_slice(gpu, &[places.len()], &places)?,
            });
        }
        let views = layout.slots.iter().zip(starts);
        let views = views.map(|(slot, start)| match slot.omitted {
            true => parts[0].halves.view(0, &[0]),
            false => parts[slot.part].halves.view(start, &slot.shape),
        });
        let views = views.collect::<Result<Vec<Tensor>>>()?.into();
        let copies = HalfWeights {
            layout: layout.clone(),
            parts: parts.into(),
            views,
        };
        copies.refresh(params)?;
        Ok(copies)
    }

    /// Copies parameters that another than the optimiser wrote.
    ///
    /// # Errors
    /// If they are another model's.
    pub(crate) fn refresh(&self, params: &Parameters) -> Result<()> {
        if !Arc::ptr_eq(&self.layout, params.layout()) {
            return Err(Error::invalid(
                "half weights",
                "these parameters are not those that they were made of",
            ));
        }
        for (handle, view) in params.handles().zip(&*self.views) {
            if !view.is_empty() {
                view.copy_from(&cast(params.get(handle)?, DType::F16)?)?;
            }
        }
        Ok(())
    }

    /// Returns the copy of a parameter, under its shape.
    pub(crate) fn get(&self, handle: Handle) -> Option<&Tensor> {
        self.views.get(handle.index())
    }

    /// Returns those of a part of the parameters as a step of Adam writes them.
    pub(super) fn copies(&self, part: usize) -> Copies<'_> {
        let HalfPart { halves, places } = &self.parts[part];
        Copies { halves, places }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, Options};
    use crate::nn::{Adam, Init};
    use crate::ops::optim::adam::Hyper;
    use half::f16;

    /// At first, after steps and after a load, each copy is its parameter rounded to f16.
    #[test]
    fn copies_follow_the_parameters() {
        for parameter_part in [None, Some(512)] {
            follow(parameter_part);
        }
    }

    fn follow(parameter_part: Option<u64>) {
        let gpu = Gpu::new(Options {
            poison: true,
            parameter_part,
            ..Default::default()
        })
        .unwrap();
        let mut b = Parameters::builder();
        for (name, shape) in [
            ("bias", &[13usize] as &[usize]),
            ("weight", &[7, 13]),
            ("table", &[3, 65]),
            ("one", &[1]),
        ] {
            b.declare(name, shape, Init::Normal(0.5));
        }
        let params = b.build(&gpu, 4).unwrap();
        assert_eq!(params.parts().len() > 1, parameter_part.is_some());
        let copies = HalfWeights::new(&params).unwrap();
        let check = |what: &str| {
            for handle in params.handles() {
                let (own, copy) = (params.get(handle).unwrap(), copies.get(handle).unwrap());
                assert_eq!((own.shape(), copy.dtype()), (copy.shape(), DType::F16));
                let wanted = own.read::<f32>().unwrap().into_iter().map(f16::from_f32);
                assert!(
                    copy.read::<f16>().unwrap().into_iter().eq(wanted),
                    "{what}: {}",
                    params.name(handle)
                );
            }
        };
        check("at first");
        let mut adam = Adam::new(&params, Hyper::default()).unwrap();
        adam.max_norm = Some(1.0);
        for _ in 0..3 {
            let ones = params.handles().map(|handle| {
                let shape = params.get(handle).unwrap().shape().to_vec();
                let ones = vec![1.0f32; shape.iter().product()];
                (handle, Tensor::from_slice(&gpu, &shape, &ones).unwrap())
            });
            let ones: Vec<_> = ones.collect();
            adam.step_with(&params, &ones, None, Some(&copies), None)
                .unwrap();
            check("after a step");
        }
        let mut host = params.to_host().unwrap();
        for (_, values) in host.values_mut() {
            values.iter_mut().for_each(|v| *v *= 3.0);
        }
        params.load_host(&host).unwrap();
        copies.refresh(&params).unwrap();
        check("after a load");
    }
}
