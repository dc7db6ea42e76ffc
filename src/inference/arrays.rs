//! A model's codebooks as files for other programs: NumPy's arrays, and indexes of faiss.

use super::FirstStageModel;
use crate::autograd::Tape;
use crate::codes::npy;
use crate::gpu::Tensor;
use crate::nn::ForwardContext;
use crate::{Error, Result};

/// The most numbers of an array.
const MOST: usize = 1 << 28;

/// A codebook [K, D], or another array beside it, and the name of its file without an ending.
struct Codebook {
    name: String,
    shape: [usize; 2],
    values: Vec<f32>,
    /// Whether its code is that of the largest product with a latent; else it is the nearest.
    by_product: bool,
}

impl FirstStageModel {
    /// Returns the codebooks of all levels as files of NumPy's arrays, by the files' names: of a
    /// level with one codebook the latents [K, D] that its codes decode to (`codebook.npy`, or
    /// `codebook-top.npy` and so on of several levels), of one with several each codebook as the
    /// quantizer holds it (`codebook-1.npy` and so on).
    ///
    /// Where codes are those of the largest product with normalised latents, and no linear map
    /// leads to them, also the moments, (mean, inverse deviation) of each channel, f32 [D, 2]
    /// (`codebook-moments.npy`).
    ///
    /// # Errors
    /// If there are too many codes for an array, a level's codes follow from several rules and no
    /// codebook, or the device fails.
    pub fn codebook_arrays(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let array = |book: Codebook| {
            let bytes = npy(&book.shape, book.values.into_iter());
            let bytes = bytes.map_err(|e| Error::data(format!("no array of a codebook: {e}")))?;
            Ok((format!("{}.npy", book.name), bytes))
        };
        let moments = self.moments()?;
        self.codebooks()?
            .into_iter()
            .chain(moments)
            .map(array)
            .collect()
    }

    /// Returns the codebooks of [`FirstStageModel::codebook_arrays`] as indexes of faiss
    /// (`codebook.faiss` and so on): `IndexFlatL2`, or `IndexFlatIP` where the quantizer takes the
    /// code of the largest product.
    ///
    /// # Errors
    /// As [`FirstStageModel::codebook_arrays`].
    pub fn codebook_indexes(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let index = |book: Codebook| (format!("{}.faiss", book.name), flat_index(&book));
        Ok(self.codebooks()?.into_iter().map(index).collect())
    }

    /// Returns the moments of each level's latents where products with the codebook need them.
    fn moments(&self) -> Result<Vec<Codebook>> {
        let mut all = Vec::new();
        for (i, level) in self.levels.iter().enumerate() {
            let quantizer = self.quantizer_of(i);
            if quantizer.name() != "ibq" {
                continue;
            }
            for (shape, values) in quantizer.save()?.into_values() {
                // Behind a map they are not the latents'.
                if shape[0] != quantizer.dim() {
                    continue;
                }
                let of = match level.name.as_str() {
                    "" => String::new(),
                    name => format!("-{name}"),
                };
                all.push(Codebook {
                    name: format!("codebook{of}-moments"),
                    shape: [shape[0], 2],
                    values,
                    by_product: false,
                });
            }
        }
        Ok(all)
    }

    fn codebooks(&self) -> Result<Vec<Codebook>> {
        let mut all = Vec::new();
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
                all.push(Codebook {
                    name: format!("codebook{of}"),
                    shape: [k, d],
                    values: rows,
                    by_product: quantizer.name() == "ibq",
                });
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
                let &[k, d] = &shape[..] else {
                    return Err(Error::data(format!("codebook {i} has the shape {shape:?}")));
                };
                all.push(Codebook {
                    name: format!("codebook{of}-{}", i + 1),
                    shape: [k, d],
                    values: values.clone(),
                    by_product: false,
                });
            }
        }
        Ok(all)
    }
}

/// Returns the bytes of a flat index, as faiss' `write_index` writes it: its kind, the channels and
/// how many vectors, two numbers that mean nothing, whether it is trained, the metric, and the
/// vectors.
fn flat_index(book: &Codebook) -> Vec<u8> {
    let [k, d] = book.shape;
    let (kind, metric): (_, i32) = match book.by_product {
        true => (b"IxFI", 0),
        false => (b"IxF2", 1),
    };
    let mut bytes = kind.to_vec();
    bytes.extend((d as i32).to_le_bytes());
    for n in [k as i64, 1 << 20, 1 << 20] {
        bytes.extend(n.to_le_bytes());
    }
    bytes.push(1);
    bytes.extend(metric.to_le_bytes());
    bytes.extend((book.values.len() as u64).to_le_bytes());
    bytes.extend(book.values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of `faiss.serialize_index` of faiss 1.15.1.
    #[test]
    fn indexes_have_the_bytes_of_faiss() {
        let book = |by_product| Codebook {
            name: "codebook".into(),
            shape: [2, 1],
            values: vec![1.0, -2.0],
            by_product,
        };
        let of = |kind: &str, metric: &str| {
            let rest = "0100000002000000000000000000100000000000000010000000000001";
            let vectors = "02000000000000000000803f000000c0";
            format!("{kind}{rest}{metric}{vectors}")
        };
        let nearest = of("49784632", "01000000");
        assert_eq!(hex::encode(flat_index(&book(false))), nearest);
        let product = of("49784649", "00000000");
        assert_eq!(hex::encode(flat_index(&book(true))), product);
    }
}
