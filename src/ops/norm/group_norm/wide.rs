//! Norms over many positions. Channels lie side by side, so neighbouring invocations take
//! neighbouring channels and each goes along positions: partial moments of slices, then those of
//! groups, then every element.

use super::Layout;
use crate::autograd::Wanted;
use crate::gpu::{DType, DeviceClass, Kernel, Tensor, Work, groups_for};
use crate::ops::linalg::split_sum::split_sum_to;
use crate::{Result, shader};

fn moments(vec: bool) -> Kernel {
    Kernel::new(shader!("norm/group_norm_moments")).flag("VEC", vec)
}
fn stats(shared: bool) -> Kernel {
    of_a_group(Kernel::new(shader!("norm/group_norm_stats")), shared)
}
fn apply(grad: bool, vec: bool) -> Kernel {
    Kernel::new(shader!("norm/group_norm_apply"))
        .flag("GRAD", grad)
        .flag("VEC", vec)
}
fn grad_parts(vec: bool) -> Kernel {
    Kernel::new(shader!("norm/group_norm_grad_parts")).flag("VEC", vec)
}
fn grad_means(shared: bool) -> Kernel {
    of_a_group(Kernel::new(shader!("norm/group_norm_grad_means")), shared)
}

/// A kernel in which one invocation has a group of channels, or a workgroup shares it.
fn of_a_group(kernel: Kernel, shared: bool) -> Kernel {
    if shared {
        kernel.define("GROUP", 64)
    } else {
        kernel
    }
}

pub(super) fn kernels() -> impl Iterator<Item = Kernel> {
    let both = [false, true];
    let applied = both
        .into_iter()
        .flat_map(move |grad| both.map(|vec| apply(grad, vec)));
    [moments, stats, grad_parts, grad_means]
        .into_iter()
        .flat_map(move |of| both.map(of))
        .chain(applied)
}

/// Invocations that fill a processor, of those that go along positions.
const INVOCATIONS: usize = 16_384;
/// Positions of a slice at least, and at most: an invocation goes through them twice, and through
/// no more than 65,535 iterations on llvmpipe.
const SLICE: [usize; 2] = [16, 16_384];
/// Positions of an invocation that makes elements, at most.
const POSITIONS: usize = 8;

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
    /// Positions of a slice, and slices of an image, where channels go in `units`.
    fn slices(&self, class: DeviceClass, units: usize) -> [usize; 2] {
        let [least, most] = SLICE.map(|positions| self.s.div_ceil(positions));
        let wanted = class.invocations(INVOCATIONS) / (self.n * units).max(1);
        let slices = wanted.clamp(most.max(1), least.max(1));
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
        let (gpu, rows) = (x.gpu(), self.n * self.g);
        let class = gpu.class();
        let vec = class.is_gpu() && self.c.is_multiple_of(4);
        let units = if vec { self.c / 4 } else { self.c };
        let [per_slice, slices] = self.slices(class, units);
        let part = || Tensor::empty(gpu, &[self.n * slices, self.c], DType::F32);
        let (means, squares) = (part()?, part()?);
        let params = [self.n, self.s, units, per_slice, slices].map(|v| v as u32);
        let groups = groups_for(self.n * slices * units, 64);
        gpu.dispatch(
            op,
            &moments(vec),
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
            &stats(class.is_gpu()),
            &[&means, &squares, &found],
            &params,
            groups_for(rows, if class.is_gpu() { 1 } else { 64 }),
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
        let (vec, positions, groups) = self.places(x.gpu().class());
        let params = [self.n, self.s, self.c, self.g, positions].map(|v| v as u32);
        x.gpu().dispatch(
            op,
            &apply(false, vec),
            &[x, w, found, b, &y],
            &params,
            groups,
            self.elements(2),
        )?;
        Ok(y)
    }

    /// Whether elements are read as vec4, the positions of an invocation, and the workgroups that
    /// make every element: as many invocations as fill the device, as far as there are elements.
    fn places(&self, class: DeviceClass) -> (bool, usize, [u32; 3]) {
        let vec = class.is_gpu() && self.c.is_multiple_of(4);
        let units = if vec { self.c / 4 } else { self.c };
        let positions = if class.is_gpu() {
            (self.n * self.s * units / class.invocations(0)).clamp(1, POSITIONS)
        } else {
            POSITIONS
        };
        let groups = groups_for(self.n * self.s.div_ceil(positions) * units, 64);
        (vec, positions, groups)
    }

    /// Computes the gradients of x, weight and bias, where they are wanted.
    pub(super) fn backward_wide(
        &self,
        op: &'static str,
        [x, w, dy, found]: [&Tensor; 4],
        needs: &Wanted,
    ) -> Result<Vec<Option<Tensor>>> {
        let (gpu, rows) = (x.gpu(), self.n * self.g);
        let class = gpu.class();
        let vec = class.is_gpu() && (self.c / self.g).is_multiple_of(4);
        let units = if vec { self.c / 4 } else { self.c };
        let [per_slice, slices] = self.slices(class, units);
        let part = || Tensor::empty(gpu, &[self.n * slices, self.c], DType::F32);
        let (sums, along) = (part()?, part()?);
        let params = [self.n, self.s, units, self.g, per_slice, slices].map(|v| v as u32);
        let groups = groups_for(self.n * slices * units, 64);
        gpu.dispatch(
            op,
            &grad_parts(vec),
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
                &grad_means(class.is_gpu()),
                &[&sums, &along, w, &means],
                &params,
                groups_for(rows, if class.is_gpu() { 1 } else { 64 }),
                small,
            )?;
            let to = Tensor::empty(gpu, x.shape(), DType::F32)?;
            let (vec, positions, groups) = self.places(class);
            let params = [self.n, self.s, self.c, self.g, positions].map(|v| v as u32);
            let bindings = [x, w, found, dy, &means, &to];
            gpu.dispatch(
                op,
                &apply(true, vec),
                &bindings,
                &params,
                groups,
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
