//! A model's codebooks as NumPy's arrays.

use super::FirstStageModel;
use crate::autograd::Tape;
use crate::codes::npy;
use crate::gpu::Tensor;
use crate::nn::ForwardContext;
use crate::{Error, Result};

/// The most numbers of an array.
const MOST: usize = 1 << 28;

impl FirstStageModel {
    /// Returns the codebooks of all levels as files of NumPy's arrays, by the files' names: of a
    /// level with one codebook the latents [K, D] that its codes decode to (`codebook.npy`, or
    /// `codebook-top.npy` and so on of several levels), of one with several each codebook as the
    /// quantizer holds it (`codebook-1.npy` and so on).
    ///
    /// # Errors
    /// If there are too many codes for an array, a level's codes follow from several rules and no
    /// codebook, or the device fails.
    pub fn codebook_arrays(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        for (i, level) in self.levels.iter().enumerate() {
            let quantizer = self.quantizer_of(i);
            // Scales have one codebook.
            let scales = !quantizer.scales().is_empty();
            if scales && i > 0 {
                continue;
            }
            let of = match level.name.as_str() {
                _ if scales => String::new(),
                "" => String::new(),
                name => format!("-{name}"),
            };
            let (k, d) = (quantizer.codebook_size(), quantizer.dim());
            if level.codebooks == 1 {
                if k.saturating_mul(d) > MOST {
                    let what = format!("{k} codes of {d} channels are too many for an array");
                    return Err(Error::data(what));
                }
                let codes: Vec<u32> = (0..k as u32).collect();
                let tape = Tape::no_grad(&self.gpu);
                let pass = ForwardContext::new(&tape, &self.params);
                let codes = Tensor::from_slice(&self.gpu, &[k, 1], &codes)?;
                let rows = quantizer.code_vectors(&pass, &codes)?.read::<f32>()?;
                files.push((format!("codebook{of}.npy"), array(&[k, d], rows)?));
                continue;
            }
            let held = quantizer.save_codes()?;
            // By number: as text, `10.` goes before `2.`. A codebook that is shared is held once.
            let books = (0..level.codebooks).map_while(|i| held.get(&format!("{i}.codebook")));
            let books: Vec<_> = books.collect();
            if books.is_empty() {
                let what = format!("the quantizer `{}` holds no codebooks", quantizer.name());
                return Err(Error::data(what));
            }
            for (i, (shape, values)) in books.into_iter().enumerate() {
                let name = format!("codebook{of}-{}.npy", i + 1);
                files.push((name, array(shape, values.clone())?));
            }
        }
        Ok(files)
    }
}

fn array(shape: &[usize], values: Vec<f32>) -> Result<Vec<u8>> {
    npy(shape, values.into_iter()).map_err(|e| Error::data(format!("no array of a codebook: {e}")))
}
