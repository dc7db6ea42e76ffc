//! Norms over many positions. Channels lie side by side, so neighbouring invocations take
//! neighbouring channels and each goes along positions: partial moments of slices, then those of
//! groups, then every element.

use super::Layout;
use crate::autograd::Wanted;
use crate::gpu::{DType, Kernel, Tensor, Work, groups_for};
use crate::ops::linalg::split_sum::split_sum_to;
use crate::{Result, shader};

fn moments() -> Kernel {
    Kernel::new(shader!("norm/group_norm_moments"))
}
fn stats() -> Kernel {
    Kernel::new(shader!("norm/group_norm_stats"))
}
fn apply(grad: bool) -> Kernel {
    Kernel::new(shader!("norm/group_norm_apply")).flag("GRAD", grad)
}
fn grad_parts() -> Kernel {
    Kernel::new(shader!("norm/group_norm_grad_parts"))
}
fn grad_means() -> Kernel {
    Kernel::new(shader!("norm/group_norm_grad_means"))
}

pub(super) fn kernels() -> [Kernel; 6] {
    [
        moments(),
        stats(),
        apply(false),
        apply(true),
        grad_parts(),
        grad_means(),
    ]
}

/// Invocations that fill a device, of those that go along positions.
const INVOCATIONS: usize = 16_384;
/// Positions of a slice at least, and at most: an invocation goes through them twice, and through
/// no more than 65,535 iterations on llvmpipe.
const SLICE: [usize; 2] = [16, 16_384];

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Stats {
    rows: u32,
    s: u32,
    c: u32,
    g: u32,
    per_slice: u32,
    slices: u32,
    eps: f32,
}

impl Layout {
    /// Positions of a slice, and slices of an image.
    fn slices(&self) -> [usize; 2] {
        let [least, most] = SLICE.map(|positions| self.s.div_ceil(positions));
        let slices = (INVOCATIONS / (self.n * self.c)).clamp(most.max(1), least.max(1));
        let per_slice = self.s.div_ceil(slices);
        [per_slice, self.s.div_ceil(per_slice)]
    }

    fn elements(&self, reads: usize) -> Work {
        let values = (self.n * self.s * self.c) as f64;
        Work {
            flops: 3.0 * values,
            bytes: 4.0 * reads as f64 * values,
        }
    }

    /// Computes the same as [`Layout::forward`], by slices of the positions.
    pub(crate) fn forward_wide(
        &self,
        op: &'static str,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        self.check(op, x, w, b)?;
        let (gpu, rows, [per_slice, slices]) = (x.gpu(), self.n * self.g, self.slices());
        let part = || Tensor::empty(gpu, &[self.n * slices, self.c], DType::F32);
        let (means, squares) = (part()?, part()?);
        let params = [self.n, self.s, self.c, per_slice, slices].map(|v| v as u32);
        let groups = groups_for(means.len(), 64);
        gpu.dispatch(
            op,
            &moments(),
            &[x, &means, &squares],
            &params,
            groups,
            self.elements(2),
        )?;
        let found = Tensor::empty(gpu, &[rows, 2], DType::F32)?;
        let params = Stats {
            rows: rows as u32,
            s: self.s as u32,
            c: self.c as u32,
            g: self.g as u32,
            per_slice: per_slice as u32,
            slices: slices as u32,
            eps: self.eps,
        };
        let small = Work {
            flops: 4.0 * means.len() as f64,
            bytes: 12.0 * means.len() as f64,
        };
        gpu.dispatch(
            op,
            &stats(),
            &[&means, &squares, &found],
            &params,
            groups_for(rows, 64),
            small,
        )?;
        Ok((self.apply_wide(op, x, w, b, &found)?, found))
    }

    /// Computes the tensor normalised by given (mean, inverse deviation) of each group: [N G, 2].
    pub(crate) fn apply_wide(
        &self,
        op: &'static str,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        found: &Tensor,
    ) -> Result<Tensor> {
        self.check(op, x, w, b)?;
        let y = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
        let params = [self.n, self.s, self.c, self.g].map(|v| v as u32);
        x.gpu().dispatch(
            op,
            &apply(false),
            &[x, w, found, b, &y],
            &params,
            self.places(),
            self.elements(2),
        )?;
        Ok(y)
    }

    fn places(&self) -> [u32; 3] {
        groups_for(self.n * self.s.div_ceil(8) * self.c, 64)
    }

    /// Computes the gradients of x, weight and bias, where they are wanted.
    pub(super) fn backward_wide(
        &self,
        op: &'static str,
        [x, w, dy, found]: [&Tensor; 4],
        needs: &Wanted,
    ) -> Result<Vec<Option<Tensor>>> {
        let (gpu, rows, [per_slice, slices]) = (x.gpu(), self.n * self.g, self.slices());
        let part = || Tensor::empty(gpu, &[self.n * slices, self.c], DType::F32);
        let (sums, along) = (part()?, part()?);
        let params = [self.n, self.s, self.c, self.g, per_slice, slices].map(|v| v as u32);
        let groups = groups_for(sums.len(), 64);
        gpu.dispatch(
            op,
            &grad_parts(),
            &[x, dy, found, &sums, &along],
            &params,
            groups,
            self.elements(2),
        )?;
        let mut dx = None;
        if needs[0] {
            let means = Tensor::empty(gpu, &[rows, 2], DType::F32)?;
            let params = [rows, self.s, self.c, self.g, slices].map(|v| v as u32);
            let small = Work {
                flops: 4.0 * sums.len() as f64,
                bytes: 8.0 * sums.len() as f64,
            };
            gpu.dispatch(
                op,
                &grad_means(),
                &[&sums, &along, w, &means],
                &params,
                groups_for(rows, 64),
                small,
            )?;
            let to = Tensor::empty(gpu, x.shape(), DType::F32)?;
            let params = [self.n, self.s, self.c, self.g].map(|v| v as u32);
            let bindings = [x, w, found, dy, &means, &to];
            gpu.dispatch(
                op,
                &apply(true),
                &bindings,
                &params,
                self.places(),
                self.elements(3),
            )?;
            dx = Some(to);
        }
        let sum = |input: usize, parts: &Tensor| {
            let sum = || split_sum_to(parts, &[self.c], needs.place(input));
            needs[input].then(sum).transpose()
        };
        let (dw, db) = (sum(1, &along)?, sum(2, &sums)?);
        Ok(vec![dx, dw, db])
    }
}
