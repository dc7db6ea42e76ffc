//! The cross-entropy of a softmax over logits with the class that is right: the loss of a prior
//! over tokens.
//!
//! Forward is one walk over the logits and keeps two numbers a row; the gradient is made from them
//! and the logits, and takes the logits' own memory where nobody else holds them.

mod reference;
mod spec;

pub use spec::CrossEntropySpec;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Kernel, Tensor, Work, groups_for, row_chunks, row_group};
use crate::{Error, Result, shader};

/// Options of the cross-entropy.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropy<'a> {
    /// Label smoothing s in [0, 1): the right class has 1 - s of the target distribution and every
    /// class s / V more (Szegedy et al. 2016, section 7).
    pub smoothing: f32,
    /// Rows with this target have loss 0 and no gradient.
    pub ignore: Option<u32>,
    /// The factor of each row's loss, f32 `[N]`; 1 without.
    pub weight: Option<&'a Tensor>,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    rows: u32,
    v: u32,
    ignore: u32,
    ignoring: u32,
    a: f32,
    b: f32,
}

/// Classes from which on more invocations share a row.
const LONG: usize = 4096;

fn forward(v: usize, smooth: bool, weighted: bool, group: u32) -> Kernel {
    let kernel = Kernel::new(shader!("loss/cross_entropy"))
        .define("GROUP", group)
        .flag("VEC", v.is_multiple_of(4));
    kernel.flag("SMOOTH", smooth).flag("WEIGHTED", weighted)
}

fn backward(v: usize, weighted: bool, in_place: bool, group: u32) -> Kernel {
    let kernel = Kernel::new(shader!("loss/cross_entropy_grad"))
        .define("GROUP", group)
        .flag("VEC", v.is_multiple_of(4));
    kernel.flag("WEIGHTED", weighted).flag("IN_PLACE", in_place)
}

fn work(n: usize, v: usize, tensors: usize) -> Work {
    Work {
        flops: 6.0 * (n * v) as f64,
        bytes: 4.0 * (tensors * n * v + 4 * n) as f64,
    }
}

impl CrossEntropy<'_> {
    fn check(&self, logits: &Tensor, targets: &Tensor) -> Result<[usize; 2]> {
        let op = "cross_entropy";
        let [n, v] = logits.dims(op)?;
        let weight_fits = self
            .weight
            .is_none_or(|w| w.shape() == [n] && w.dtype() == DType::F32);
        let types = logits.dtype() == DType::F32 && targets.dtype() == DType::U32;
        if v == 0 || targets.shape() != [n] || !types || !weight_fits {
            let got = format!("{logits:?}, {targets:?}, {:?}", self.weight);
            return Err(Error::shape(
                op,
                "f32 logits [N, V], u32 targets [N] and, if any, f32 weights [N]",
                got,
            ));
        }
        if !(0.0..1.0).contains(&self.smoothing) {
            let what = format!(
                "a label smoothing of {}: it is at least 0 and below 1",
                self.smoothing
            );
            return Err(Error::invalid(op, what));
        }
        Ok([n, v])
    }

    fn params(&self, rows: usize, v: usize) -> Params {
        Params {
            rows: rows as u32,
            v: v as u32,
            ignore: self.ignore.unwrap_or(0),
            ignoring: u32::from(self.ignore.is_some()),
            a: 1.0 - self.smoothing,
            b: self.smoothing / v as f32,
        }
    }

    /// Losses [N], and (max, log z) of each row [N, 2].
    fn forward(&self, logits: &Tensor, targets: &Tensor, limit: u64) -> Result<(Tensor, Tensor)> {
        let [n, v] = self.check(logits, targets)?;
        let gpu = logits.gpu();
        let (loss, stats) = (
            Tensor::empty(gpu, &[n], DType::F32)?,
            Tensor::empty(gpu, &[n, 2], DType::F32)?,
        );
        let kernel = forward(
            v,
            self.smoothing > 0.0,
            self.weight.is_some(),
            row_group(gpu, v > LONG, v / 4),
        );
        for (at, rows) in row_chunks(n, v, limit) {
            let (x, t) = (logits.view(at * v, &[rows, v])?, targets.view(at, &[rows])?);
            let (y, s) = (loss.view(at, &[rows])?, stats.view(2 * at, &[rows, 2])?);
            let w = self.weight.map(|w| w.view(at, &[rows])).transpose()?;
            let bindings: Vec<&Tensor> = [&x, &t, &y, &s].into_iter().chain(w.as_ref()).collect();
            let (params, groups) = (self.params(rows, v), groups_for(rows, 1));
            gpu.dispatch(
                "cross_entropy",
                &kernel,
                &bindings,
                &params,
                groups,
                work(rows, v, 1),
            )?;
        }
        if self.smoothing == 0.0 && self.ignore.is_none() {
            let weighted = usize::from(self.weight.is_some());
            let sizes = [
                ("n", n),
                ("v", v),
                ("smooth", 0),
                ("ignore", 0),
                ("weighted", weighted),
            ];
            gpu.note_call("cross_entropy", &loss, sizes);
        }
        Ok((loss, stats))
    }

    /// Computes the gradient to the logits, from that of the losses.
    fn backward(
        &self,
        x: Tensor,
        targets: &Tensor,
        stats: &Tensor,
        g: &Tensor,
        limit: u64,
    ) -> Result<Tensor> {
        let [n, v] = self.check(&x, targets)?;
        let gpu = x.gpu().clone();
        let dx = if x.is_sole() {
            None
        } else {
            Some(Tensor::empty(&gpu, &[n, v], DType::F32)?)
        };
        let kernel = backward(
            v,
            self.weight.is_some(),
            dx.is_none(),
            row_group(&gpu, v > LONG, v / 4),
        );
        for (at, rows) in row_chunks(n, v, limit) {
            let part = |t: &Tensor| t.view(at * v, &[rows, v]);
            let (x, t, s) = (
                part(&x)?,
                targets.view(at, &[rows])?,
                stats.view(2 * at, &[rows, 2])?,
            );
            let (g, w) = (
                g.view(at, &[rows])?,
                self.weight.map(|w| w.view(at, &[rows])).transpose()?,
            );
            let d = dx.as_ref().map(part).transpose()?;
            let bindings: Vec<&Tensor> = [&x, &t, &s, &g]
                .into_iter()
                .chain(w.as_ref())
                .chain(d.as_ref())
                .collect();
            let (params, groups) = (self.params(rows, v), groups_for(rows, 1));
            gpu.dispatch(
                "cross_entropy gradient",
                &kernel,
                &bindings,
                &params,
                groups,
                work(rows, v, 2),
            )?;
        }
        Ok(dx.unwrap_or(x))
    }
}

/// Computes the loss of each row in nats, `[N]`, and its log-sum-exp in two parts, (max, log of the
/// sum) [N, 2]: logits f32 [N, V], targets u32 `[N]`. A target past V that is not the ignored one
/// gives NaN.
///
/// # Errors
/// If the shapes do not fit, or the smoothing lies outside [0, 1).
pub fn cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    options: CrossEntropy,
) -> Result<(Tensor, Tensor)> {
    options.forward(
        logits,
        targets,
        logits.gpu().limits().max_storage_buffer_binding_size,
    )
}

impl Tape {
    /// Computes the loss of each row in nats, `[N]`: see [`cross_entropy`]. The gradient goes to
    /// the logits; in place of them where the caller has dropped its own handles.
    ///
    /// # Errors
    /// As [`cross_entropy`].
    pub fn cross_entropy(
        &self,
        logits: &Var,
        targets: &Tensor,
        options: CrossEntropy,
    ) -> Result<Var> {
        let limit = self.gpu().limits().max_storage_buffer_binding_size;
        let (loss, stats) = options.forward(logits.tensor(), targets, limit)?;
        let (x, t, weight) = (
            logits.tensor().clone(),
            targets.clone(),
            options.weight.cloned(),
        );
        let CrossEntropy {
            smoothing, ignore, ..
        } = options;
        Ok(self.record(loss, &[logits], move |g, _| {
            let options = CrossEntropy {
                smoothing,
                ignore,
                weight: weight.as_ref(),
            };
            Ok(vec![Some(options.backward(x, &t, &stats, g, limit)?)])
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, Options};
    use crate::spec::Rng;

    fn bits(t: &Tensor) -> Vec<u32> {
        t.read::<f32>()
            .unwrap()
            .into_iter()
            .map(f32::to_bits)
            .collect()
    }

    #[test]
    fn the_gradient_in_place_of_the_logits_has_the_same_bits() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let mut rng = Rng::new(3);
        for v in [5, 64] {
            let x = rng.normals(&[67, v]).upload(&gpu).unwrap();
            let targets = rng.indices(&[67], v).upload(&gpu).unwrap();
            let weight = rng.normals(&[67]).upload(&gpu).unwrap();
            let options = CrossEntropy {
                smoothing: 0.1,
                ignore: Some(1),
                weight: Some(&weight),
            };
            let gradient = |keep: bool| {
                let tape = Tape::new(&gpu);
                let leaf = tape.leaf(&x);
                let logits = tape.scale(&leaf, 1.5, 0.0).unwrap();
                let loss = tape.cross_entropy(&logits, &targets, options).unwrap();
                let kept = keep.then_some(logits);
                let upstream = Tensor::from_slice(&gpu, &[67], &[2.0f32; 67]).unwrap();
                let gradients = tape.backward_with(&loss, upstream).unwrap();
                drop(kept);
                bits(gradients.get(&leaf).unwrap())
            };
            assert_eq!(gradient(true), gradient(false));
            let used = gpu.kernels_in_use();
            assert!(
                used.iter()
                    .any(|k| k.starts_with("cross_entropy_grad") && k.contains("IN_PLACE")),
                "{used:?}"
            );
        }
    }

    #[test]
    fn parts_give_the_same_bits_as_the_whole() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let mut rng = Rng::new(5);
        let x = rng.normals(&[201, 17]).upload(&gpu).unwrap();
        let t = rng.indices(&[201], 17).upload(&gpu).unwrap();
        let g = rng.normals(&[201]).upload(&gpu).unwrap();
        let options = CrossEntropy {
            weight: Some(&g),
            ..Default::default()
        };
        let run = |limit| {
            let (loss, stats) = options.forward(&x, &t, limit).unwrap();
            let d = options.backward(x.clone(), &t, &stats, &g, limit).unwrap();
            [bits(&loss), bits(&stats), bits(&d)]
        };
        assert_eq!(run(256), run(1 << 30));
    }

    #[test]
    fn a_target_that_is_no_class_is_nan() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let x = Tensor::zeros(&gpu, &[3, 4], DType::F32).unwrap();
        let t = Tensor::from_slice(&gpu, &[3], &[3u32, 4, u32::MAX]).unwrap();
        let options = CrossEntropy {
            ignore: Some(u32::MAX),
            ..Default::default()
        };
        let loss = cross_entropy(&x, &t, options)
            .unwrap()
            .0
            .read::<f32>()
            .unwrap();
        assert!(
            (loss[0] - 4f32.ln()).abs() < 1e-6 && loss[1].is_nan() && loss[2] == 0.0,
            "{loss:?}"
        );
    }

    /// Logits far from 0, as masks and unstable runs make them.
    #[test]
    fn large_and_masked_logits_stay_exact() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let x = [
            1e4f32,
            1e4 - 1.0,
            f32::NEG_INFINITY,
            -3e38,
            3e38,
            f32::NEG_INFINITY,
            0.0,
            1.0,
        ];
        let x = Tensor::from_slice(&gpu, &[2, 4], &x).unwrap();
        let t = Tensor::from_slice(&gpu, &[2], &[1u32, 0]).unwrap();
        let loss = cross_entropy(&x, &t, CrossEntropy::default())
            .unwrap()
            .0
            .read::<f32>()
            .unwrap();
        assert!(
            (loss[0] - 1.313_261_6).abs() < 1e-6 && loss[1] == 0.0,
            "{loss:?}"
        );
    }
}
