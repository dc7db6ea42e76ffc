//! Norms over many positions. Channels lie side by side, so neighbouring invocations take
//! neighbouring channels and each goes along positions: partial moments of slices, then those of
//! groups, then every element.

use super::Layout;
use crate::autograd::Wanted;
use crate::gpu::{DType, DeviceClass, Kernel, Tensor, Work, groups_for};
use crate::ops::elementwise::activation::Function;
use crate::ops::linalg::split_sum::split_sum_to;
use crate::{Result, shader};

fn moments(vec: bool) -> Kernel {
    Kernel::new(shader!("norm/group_norm_moments")).flag("VEC", vec)
}
fn stats(shared: bool) -> Kernel {
    of_a_group(Kernel::new(shader!("norm/group_norm_stats")), shared)
}
fn apply(stored: Stored, vec: bool) -> Kernel {
    let kernel = Kernel::new(shader!("norm/group_norm_apply"))
        .flag("VEC", vec || stored.half)
        .flag("HALVES", stored.half);
    activated(kernel, stored.activation)
}
fn apply_grad(activation: Option<Function>, vec: bool) -> Kernel {
    let kernel = Kernel::new(shader!("norm/group_norm_apply"))
        .flag("GRAD", true)
        .flag("VEC", vec);
    activated(kernel, activation)
}
fn grad_parts(vec: bool, activation: Option<Function>) -> Kernel {
    let kernel = Kernel::new(shader!("norm/group_norm_grad_parts")).flag("VEC", vec);
    activated(kernel, activation)
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

fn activated(kernel: Kernel, activation: Option<Function>) -> Kernel {
    match activation {
        Some(f) => kernel.define("ACTIVATION", 1).define(f.define(), 1),
        None => kernel,
    }
}

/// The form in which normalised values are stored.
#[derive(Clone, Copy, Default)]
pub(crate) struct Stored {
    pub activation: Option<Function>,
    /// As f16, which takes a multiple of 4 channels.
    pub half: bool,
}

impl Stored {
    fn dtype(self) -> DType {
        if self.half { DType::F16 } else { DType::F32 }
    }
}

/// Returns the kernels of norms with these activations behind them, in f16 too where there is one.
pub(crate) fn kernels(activations: &[Option<Function>]) -> Vec<Kernel> {
    let mut all = Vec::new();
    for of in [moments, stats, grad_means] {
        all.extend([false, true].map(of));
    }
    for &activation in activations {
        let halves: &[bool] = if activation.is_some() {
            &[false, true]
        } else {
            &[false]
        };
        for &half in halves {
            let stored = Stored { activation, half };
            // Halves are always of four.
            let widths: &[bool] = if half { &[true] } else { &[false, true] };
            all.extend(widths.iter().map(|&vec| apply(stored, vec)));
        }
        for vec in [false, true] {
            all.push(apply_grad(activation, vec));
            all.push(grad_parts(vec, activation));
        }
    }
    all
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
        [x, w, b]: [&Tensor; 3],
        stored: Stored,
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
        Ok((self.apply_wide(op, [x, w, b], &found, stored)?, found))
    }

    /// Computes the tensor normalised by given (mean, inverse deviation) of each group: [N G, 2].
    pub(crate) fn apply_wide(
        &self,
        op: &'static str,
        [x, w, b]: [&Tensor; 3],
        found: &Tensor,
        stored: Stored,
    ) -> Result<Tensor> {
        self.check(op, x, w, b)?;
        let y = Tensor::empty(x.gpu(), x.shape(), stored.dtype())?;
        let (vec, positions, groups) = self.places(x.gpu().class(), stored.half);
        let params = [self.n, self.s, self.c, self.g, positions].map(|v| v as u32);
        x.gpu().dispatch(
            op,
            &apply(stored, vec),
            &[x, w, found, b, &y],
            &params,
            groups,
            self.elements(2),
        )?;
        Ok(y)
    }

    /// Whether elements are read as vec4, the positions of an invocation, and the workgroups that
    /// make every element: as many invocations as fill the device, as far as there are elements.
    /// Halves are made by fours.
    fn places(&self, class: DeviceClass, half: bool) -> (bool, usize, [u32; 3]) {
        let vec = half || (class.is_gpu() && self.c.is_multiple_of(4));
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
        [x, w, b, dy, found]: [&Tensor; 5],
        activation: Option<Function>,
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
        let bindings = [x, dy, found, &sums, &along, w, b];
        let bound = if activation.is_some() { 7 } else { 5 };
        gpu.dispatch(
            op,
            &grad_parts(vec, activation),
            &bindings[..bound],
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
            let (vec, positions, groups) = self.places(class, false);
            let params = [self.n, self.s, self.c, self.g, positions].map(|v| v as u32);
            let bindings = [x, w, found, dy, &means, &to, b];
            let bound = if activation.is_some() { 7 } else { 6 };
            gpu.dispatch(
                op,
                &apply_grad(activation, vec),
                &bindings[..bound],
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
