//! The three kernels of a convolution: forward, to its input, to its weight.

use super::fused::{Flags, Fused};
use super::parts::Parts;
use super::row_kernel;
use crate::autograd::placed;
use crate::gpu::kernel::gemm::{OperandLayout, Tile, splits};
use crate::gpu::{Core, DType, Gpu, Kernel, Tensor, Work};
use crate::ops::conv::geometry::Geometry;
use crate::ops::conv::{fold, unfold};
use crate::ops::elementwise::cast::cast;
use crate::ops::linalg::split_sum::split_sum_to;
use crate::{Error, Result, shader};

/// Activations and weights may be f16: biases and gradients are f32.
pub(super) fn check_types(op: &'static str, activations: &[DType], weight: &Tensor) -> Result<()> {
    let held = activations
        .iter()
        .chain([&weight.dtype()])
        .all(|t| matches!(t, DType::F32 | DType::F16));
    if held {
        Ok(())
    } else {
        Err(Error::shape(
            op,
            "activations and weights in f32 or f16",
            format!("{weight:?}"),
        ))
    }
}

/// Whether the kernels can read and write f16 for this problem. They do so four channels at a time.
fn takes_halves(gpu: &Gpu, g: &Geometry) -> bool {
    gpu.shader_f16() && g.i.is_multiple_of(4) && g.o.is_multiple_of(4)
}

fn along_k(vec: bool) -> OperandLayout {
    if vec {
        OperandLayout::K
    } else {
        OperandLayout::Scalar
    }
}

fn along_rows(vec: bool) -> OperandLayout {
    if vec {
        OperandLayout::M
    } else {
        OperandLayout::Scalar
    }
}

fn forward_kernel(tile: Tile, vec: bool, out_vec: bool, whole: bool, f: Flags) -> Kernel {
    let form = along_k(vec);
    let kernel = f
        .define(Kernel::new(shader!("conv/conv2d")))
        .flag("OUT_VEC", out_vec)
        .flag("DIRECT", tile.direct(out_vec && f.adds_nothing()));
    let kernel = tile.define_runs(kernel, whole, "LHS_EMPTY");
    tile.define(kernel, form, form)
}

fn grad_input_kernel(tile: Tile, o_vec: bool, i_vec: bool, whole: bool, f: Flags) -> Kernel {
    let (lhs, rhs) = (along_k(o_vec), along_rows(i_vec));
    let kernel = f
        .define(Kernel::new(shader!("conv/conv2d_grad_input")))
        .flag("OUT_VEC", i_vec)
        .flag("DIRECT", tile.direct(i_vec && f.adds_nothing()));
    let kernel = tile.define_runs(kernel, whole, "LHS_EMPTY");
    tile.define(kernel, lhs, rhs)
}

/// Returns the kernel of the weight's gradient. Of its two operands one is an activation, which may
/// be f16 and rectified; the other is a gradient.
fn grad_weight_kernel(
    tile: Tile,
    i_vec: bool,
    o_vec: bool,
    whole: bool,
    relu: [bool; 2],
    half: [bool; 2],
) -> Kernel {
    let kernel = Kernel::new(shader!("conv/conv2d_grad_weight"));
    let kernel = tile.define_runs(kernel, whole, "LHS_CUT");
    let kernel = tile.define(kernel, along_rows(i_vec), along_rows(o_vec));
    let emulated = kernel.get("EMULATE").is_some();
    let kernel = kernel
        .flag("LHS_RELU", relu[0])
        .flag("RHS_RELU", relu[1])
        .flag("DIRECT", tile.direct(i_vec))
        .flag("HELD_DOWN", emulated);
    kernel.flag("LHS_HALF", half[0]).flag("RHS_HALF", half[1])
}

/// Returns every variant on any device.
pub(crate) fn kernels() -> Vec<Kernel> {
    let mut all = row_kernel::kernels();
    let both = [false, true];
    for tile in Tile::all() {
        for (vec, vec2) in both.iter().flat_map(|a| both.map(|b| (*a, b))) {
            let (mut forward, mut to_input) = (Vec::new(), Vec::new());
            for bits in 0..8 {
                let [relu, bias, residual] = [1, 2, 4].map(|bit| bits & bit != 0);
                forward.push(Flags {
                    relu,
                    bias,
                    residual,
                    ..Default::default()
                });
            }
            for (relu, bias) in both.iter().flat_map(|a| both.map(|b| (*a, b))) {
                to_input.push(Flags {
                    relu,
                    bias,
                    ..Default::default()
                });
            }
            // Gradients through a rectified input.
            let mask = Flags {
                mask: true,
                ..Default::default()
            };
            forward.push(mask);
            to_input.push(mask);
            if vec && vec2 {
                for flags in [&mut forward, &mut to_input] {
                    let halves: Vec<Flags> = flags.iter().flat_map(|f| f.halves()).collect();
                    flags.extend(halves);
                    let weights = flags.iter().map(|f| Flags {
                        weight_half: true,
                        ..*f
                    });
                    flags.extend(weights.collect::<Vec<_>>());
                }
            }
            let (k, m) = (along_k(vec), along_rows(vec2));
            let wholes = |can: bool| both.into_iter().filter(move |whole| !whole || can);
            for whole in wholes(tile.has_whole(k, k)) {
                let of = |f: &Flags| forward_kernel(tile, vec, vec2, whole, *f);
                all.extend(forward.iter().map(of));
            }
            for whole in wholes(tile.has_whole(k, m)) {
                let of = |f: &Flags| grad_input_kernel(tile, vec, vec2, whole, *f);
                all.extend(to_input.iter().map(of));
            }
            for whole in wholes(tile.has_whole(along_rows(vec), m)) {
                for relu in [[false, false], [true, false], [false, true]] {
                    let mut of =
                        |half| all.push(grad_weight_kernel(tile, vec, vec2, whole, relu, half));
                    of([false, false]);
                    if vec && vec2 {
                        of([true, false]);
                        of([false, true]);
                    }
                }
            }
        }
    }
    all
}

/// Few channels in make runs that no vec4 load fits, and on a core that lives in registers loads
/// are what costs: the patches are laid out first, and the convolution over them is a 1 x 1 one
/// with many channels.
fn by_patches(gpu: &Gpu, g: &Geometry) -> bool {
    gpu.core() == Core::Subgroup
        && g.i < 4
        && g.kh * g.kw > 1
        && !g.y_shape().contains(&0)
        && unfold::fits(gpu, g)
}

/// Returns the convolution over the patches.
fn over_patches(g: &Geometry) -> Geometry {
    let i = g.kh * g.kw * g.i;
    Geometry {
        h: g.oh,
        w: g.ow,
        i,
        kh: 1,
        kw: 1,
        stride: 1,
        pad: 0,
        ..*g
    }
}

/// Cost of any of the three: they do the same multiplications.
pub(crate) fn work(g: &Geometry) -> Work {
    let outputs = (g.n * g.oh * g.ow * g.o) as f64;
    let values = (g.n * g.h * g.w * g.i + g.o * g.kh * g.kw * g.i) as f64 + outputs;
    Work {
        flops: 2.0 * outputs * (g.kh * g.kw * g.i) as f64,
        bytes: 4.0 * values,
    }
}

/// y = conv(x, w), stored as `out`.
pub(crate) fn forward(
    x: &Tensor,
    w: &Tensor,
    g: &Geometry,
    fused: Fused,
    out: DType,
) -> Result<Tensor> {
    #[repr(C)]
    #[derive(Clone, Copy, bytemuck::NoUninit)]
    struct Params {
        rows: u32,
        h: u32,
        w: u32,
        i: u32,
        oh: u32,
        ow: u32,
        o: u32,
        kh: u32,
        kw: u32,
        stride: u32,
        pad: u32,
        col_tiles: u32,
        tiles: u32,
    }
    let gpu = x.gpu();
    if by_patches(gpu, g) {
        let one = over_patches(g);
        let x = unfold::patches(&cast(x, DType::F32)?, g)?;
        return forward(&x, &w.reshape(&one.w_shape())?, &one, fused, out);
    }
    check_types("conv2d", &[x.dtype(), out], w)?;
    let types = [x.dtype(), w.dtype(), out];
    if (types.iter().any(|t| t.is_half()) || fused.any_half()) && !takes_halves(gpu, g) {
        let [residual, mask] = widened([fused.residual, fused.mask])?;
        let fused = Fused {
            residual: residual.as_ref(),
            mask: mask.as_ref(),
            ..fused
        };
        let (x, w) = (cast(x, DType::F32)?, cast(w, DType::F32)?);
        return cast(&forward(&x, &w, g, fused, DType::F32)?, out);
    }
    let residual = fused.residual.map(|r| cast(r, out)).transpose()?;
    let fused = Fused {
        residual: residual.as_ref(),
        ..fused
    };
    let y = Tensor::empty(gpu, &g.y_shape(), out)?;
    if w.dtype() == DType::F32 && row_kernel::forward(x, w, &y, g, fused)? {
        return Ok(y);
    }
    let rows = g.n * g.oh * g.ow;
    let tile = Tile::pick(gpu, g.o, work(g));
    let (groups, tiles, col_tiles) = tile.grid(rows, g.o, 1);
    let params = Params {
        rows: rows as u32,
        h: g.h as u32,
        w: g.w as u32,
        i: g.i as u32,
        oh: g.oh as u32,
        ow: g.ow as u32,
        o: g.o as u32,
        kh: g.kh as u32,
        kw: g.kw as u32,
        stride: g.stride as u32,
        pad: g.pad as u32,
        col_tiles,
        tiles,
    };
    let (i_vec, o_vec) = (g.i.is_multiple_of(4), g.o.is_multiple_of(4));
    let whole = tile.whole(along_k(i_vec), along_k(i_vec), g.i);
    let kernel = forward_kernel(tile, i_vec, o_vec, whole, fused.flags(x, w, out));
    let extra = [fused.bias, fused.residual, fused.mask];
    let bindings: Vec<&Tensor> = [x, w, &y]
        .into_iter()
        .chain(extra.into_iter().flatten())
        .collect();
    gpu.dispatch("conv2d", &kernel, &bindings, &params, groups, work(g))?;
    Ok(y)
}

/// dx = the gradient of conv(x, w) to x for upstream dy, stored as `out`.
pub(crate) fn grad_input(
    dy: &Tensor,
    w: &Tensor,
    g: &Geometry,
    fused: Fused,
    out: DType,
) -> Result<Tensor> {
    #[repr(C)]
    #[derive(Clone, Copy, bytemuck::NoUninit)]
    struct Params {
        h: u32,
        w: u32,
        i: u32,
        oh: u32,
        ow: u32,
        o: u32,
        kh: u32,
        kw: u32,
        stride: u32,
        pad: u32,
        n: u32,
        col_tiles: u32,
    }
    let gpu = dy.gpu();
    if by_patches(gpu, g) {
        let one = over_patches(g);
        let inner = Fused {
            relu: fused.relu,
            ..Default::default()
        };
        let patches = grad_input(dy, &w.reshape(&one.w_shape())?, &one, inner, DType::F32)?;
        let [mask] = widened([fused.mask])?;
        return cast(&fold::sum(&patches, g, fused.bias, mask.as_ref())?, out);
    }
    check_types("conv2d", &[dy.dtype(), out], w)?;
    let types = [dy.dtype(), w.dtype(), out];
    if (types.iter().any(|t| t.is_half()) || fused.any_half()) && !takes_halves(gpu, g) {
        let [mask] = widened([fused.mask])?;
        let fused = Fused {
            mask: mask.as_ref(),
            ..fused
        };
        let (dy, w) = (cast(dy, DType::F32)?, cast(w, DType::F32)?);
        return cast(&grad_input(&dy, &w, g, fused, DType::F32)?, out);
    }
    let dx = Tensor::empty(gpu, &g.x_shape(), out)?;
    if w.dtype() == DType::F32 && row_kernel::grad_input(dy, w, &dx, g, fused)? {
        return Ok(dx);
    }
    let tile = Tile::pick(gpu, g.i, work(g));
    let rows = g.n * g.h.div_ceil(g.stride) * g.w.div_ceil(g.stride);
    let (groups, _, col_tiles) = tile.grid(rows, g.i, g.stride * g.stride);
    let params = Params {
        h: g.h as u32,
        w: g.w as u32,
        i: g.i as u32,
        oh: g.oh as u32,
        ow: g.ow as u32,
        o: g.o as u32,
        kh: g.kh as u32,
        kw: g.kw as u32,
        stride: g.stride as u32,
        pad: g.pad as u32,
        n: g.n as u32,
        col_tiles,
    };
    let (i_vec, o_vec) = (g.i.is_multiple_of(4), g.o.is_multiple_of(4));
    let whole = tile.whole(along_k(o_vec), along_rows(i_vec), g.o);
    let kernel = grad_input_kernel(tile, o_vec, i_vec, whole, fused.flags(dy, w, out));
    let bindings: Vec<&Tensor> = [dy, w, &dx]
        .into_iter()
        .chain(fused.bias)
        .chain(fused.mask)
        .collect();
    gpu.dispatch(
        "conv2d gradient",
        &kernel,
        &bindings,
        &params,
        groups,
        work(g),
    )?;
    Ok(dx)
}

/// dw = the gradient of conv(f(x), w) to w for upstream f'(dy), where `x_relu` and `dy_relu`
/// rectify either; to a place that waits for it, or a new tensor.
pub(crate) fn grad_weight(
    x: &Tensor,
    dy: &Tensor,
    g: &Geometry,
    x_relu: bool,
    dy_relu: bool,
    place: Option<&Tensor>,
) -> Result<Tensor> {
    #[repr(C)]
    #[derive(Clone, Copy, bytemuck::NoUninit)]
    struct Params {
        n: u32,
        h: u32,
        w: u32,
        i: u32,
        oh: u32,
        ow: u32,
        o: u32,
        kh: u32,
        kw: u32,
        stride: u32,
        pad: u32,
        images_per_part: u32,
        rows_per_part: u32,
        row_parts: u32,
        col_tiles: u32,
        tiles: u32,
    }
    let gpu = x.gpu();
    if by_patches(gpu, g) {
        let x = unfold::patches(&cast(x, DType::F32)?, g)?;
        let dw = grad_weight(&x, dy, &over_patches(g), x_relu, dy_relu, place)?;
        return dw.reshape(&g.w_shape());
    }
    let half = [x.dtype().is_half(), dy.dtype().is_half()];
    if half[0] && half[1] || half != [false, false] && !takes_halves(gpu, g) {
        return grad_weight(
            &cast(x, DType::F32)?,
            &cast(dy, DType::F32)?,
            g,
            x_relu,
            dy_relu,
            place,
        );
    }
    let rows = g.kh * g.kw * g.i;
    let tile = Tile::pick(gpu, g.o, work(g));
    let (_, tiles, _) = tile.grid(rows, g.o, 1);
    let parts = Parts::of(splits(gpu, tiles as usize), g.n, g.oh, tile);
    let splits = parts.count();
    let (groups, tiles, col_tiles) = tile.grid(rows, g.o, splits);
    let params = Params {
        n: g.n as u32,
        h: g.h as u32,
        w: g.w as u32,
        i: g.i as u32,
        oh: g.oh as u32,
        ow: g.ow as u32,
        o: g.o as u32,
        kh: g.kh as u32,
        kw: g.kw as u32,
        stride: g.stride as u32,
        pad: g.pad as u32,
        images_per_part: parts.images as u32,
        rows_per_part: parts.rows as u32,
        row_parts: parts.row_parts as u32,
        col_tiles,
        tiles,
    };
    let (i_vec, o_vec) = (g.i.is_multiple_of(4), g.o.is_multiple_of(4));
    let whole = tile.whole(along_rows(i_vec), along_rows(o_vec), g.ow);
    let kernel = grad_weight_kernel(tile, i_vec, o_vec, whole, [x_relu, dy_relu], half);
    if splits == 1 {
        let dw = placed(place, gpu, &g.w_shape())?;
        gpu.dispatch(
            "conv2d gradient",
            &kernel,
            &[x, dy, &dw],
            &params,
            groups,
            work(g),
        )?;
        return Ok(dw);
    }
    let parts = Tensor::empty(gpu, &[splits, rows * g.o], DType::F32)?;
    gpu.dispatch(
        "conv2d gradient",
        &kernel,
        &[x, dy, &parts],
        &params,
        groups,
        work(g),
    )?;
    split_sum_to(&parts, &g.w_shape(), place)
}

/// Returns the tensors, as far as there are some, in f32.
fn widened<const N: usize>(tensors: [Option<&Tensor>; N]) -> Result<[Option<Tensor>; N]> {
    let mut wide = [const { None }; N];
    for (slot, t) in wide.iter_mut().zip(tensors) {
        *slot = t.map(|t| cast(t, DType::F32)).transpose()?;
    }
    Ok(wide)
}
