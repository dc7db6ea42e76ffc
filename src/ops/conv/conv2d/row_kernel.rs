//! Convolutions at stride 1 whose lanes own runs of pixels, so that what is loaded along x serves
//! every tap of a row.

use super::fused::{Flags, Fused};
use super::kernels::work;
use crate::gpu::device::adapter::LANES;
use crate::gpu::{Core, Gpu, Kernel, Tensor, groups_for};
use crate::ops::conv::geometry::Geometry;
use crate::{Result, shader};

/// Pixels and channels of a lane, and the width of the kernels that there are: 3 V NC 4
/// multiply-adds are as many as llvmpipe's instruction cache holds.
const V: usize = 8;
const NC: usize = 32;
const KW: usize = 3;
/// Operations from which the kernel is worth its compilation, of most of a second.
const LARGE: f64 = 1e8;

/// A convolution at stride 1, or one that stands for a gradient.
struct Problem {
    n: usize,
    h: usize,
    w: usize,
    i: usize,
    oh: usize,
    ow: usize,
    o: usize,
    kh: usize,
    pad_y: usize,
    pad_x: usize,
}

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
    pad_y: u32,
    pad_x: u32,
    units: u32,
    row_units: u32,
    col_tiles: u32,
    tiles: u32,
}

fn kernel(lanes: u32, f: Flags, flip: bool) -> Kernel {
    let spread = lanes.min(if flip { NC as u32 / 4 } else { NC as u32 });
    let kernel = Kernel::new(shader!("conv/conv2d_row"))
        .define("LANES", lanes)
        .define("RHS_LANES", spread);
    let kernel = kernel
        .define("V", V as u32)
        .define("NC", NC as u32)
        .define("KW", KW as u32)
        .flag("FLIP", flip);
    f.define(kernel.define("OUT_VEC", 1))
}

/// Returns every variant on any device.
pub(super) fn kernels() -> Vec<Kernel> {
    let mut all = Vec::new();
    for lanes in LANES {
        let mut variants = Vec::new();
        for bits in 0..8 {
            let [relu, bias, residual] = [1, 2, 4].map(|bit| bits & bit != 0);
            variants.push(Flags {
                relu,
                bias,
                residual,
                ..Default::default()
            });
        }
        variants.push(Flags {
            mask: true,
            ..Default::default()
        });
        for flags in variants
            .into_iter()
            .flat_map(|f| f.halves().into_iter().chain([f]))
        {
            all.push(kernel(lanes, flags, false));
            if !flags.residual {
                all.push(kernel(lanes, flags, true));
            }
        }
    }
    all
}

/// The lanes to run it on, where it is the faster way: `None` leaves it to the matrix core.
fn lanes(gpu: &Gpu, p: &Problem, g: &Geometry) -> Option<u32> {
    // Pixels and channels past the last are computed and thrown away.
    let little_waste =
        p.ow.next_multiple_of(V) * 7 <= p.ow * 8 && p.o.next_multiple_of(NC) * 3 <= p.o * 4;
    let fits = g.stride == 1 && g.kw == KW && p.i.is_multiple_of(4) && p.o.is_multiple_of(4);
    gpu.subgroup_size()
        .filter(|_| gpu.core() == Core::Subgroup && fits && little_waste && work(g).flops >= LARGE)
}

fn run(
    x: &Tensor,
    w: &Tensor,
    y: &Tensor,
    p: &Problem,
    g: &Geometry,
    lanes: u32,
    f: Fused,
    flip: bool,
) -> Result<()> {
    let row_units = p.ow.div_ceil(V);
    let units = p.n * p.oh * row_units;
    let col_tiles = p.o.div_ceil(NC);
    let tiles = units.div_ceil(lanes as usize) * col_tiles;
    let params = Params {
        h: p.h as u32,
        w: p.w as u32,
        i: p.i as u32,
        oh: p.oh as u32,
        ow: p.ow as u32,
        o: p.o as u32,
        kh: p.kh as u32,
        pad_y: p.pad_y as u32,
        pad_x: p.pad_x as u32,
        units: units as u32,
        row_units: row_units as u32,
        col_tiles: col_tiles as u32,
        tiles: tiles as u32,
    };
    let extra = [f.bias, f.residual, f.mask];
    let bindings: Vec<&Tensor> = [x, w, y]
        .into_iter()
        .chain(extra.into_iter().flatten())
        .collect();
    let op = if flip { "conv2d gradient" } else { "conv2d" };
    x.gpu().dispatch(
        op,
        &kernel(lanes, f.flags(x, w, y.dtype()), flip),
        &bindings,
        &params,
        groups_for(tiles, 1),
        work(g),
    )
}

/// y = conv(x, w) into y; false if the matrix core is to do it.
pub(super) fn forward(
    x: &Tensor,
    w: &Tensor,
    y: &Tensor,
    g: &Geometry,
    fused: Fused,
) -> Result<bool> {
    let Geometry {
        n,
        h,
        w: width,
        i,
        oh,
        ow,
        o,
        kh,
        pad,
        ..
    } = *g;
    let problem = Problem {
        n,
        h,
        w: width,
        i,
        oh,
        ow,
        o,
        kh,
        pad_y: pad,
        pad_x: pad,
    };
    let Some(lanes) = lanes(x.gpu(), &problem, g) else {
        return Ok(false);
    };
    run(x, w, y, &problem, g, lanes, fused, false)?;
    Ok(true)
}

/// Computes the gradient to the input into dx; false if the matrix core is to do it.
pub(super) fn grad_input(
    dy: &Tensor,
    w: &Tensor,
    dx: &Tensor,
    g: &Geometry,
    fused: Fused,
) -> Result<bool> {
    // The convolution of dy with the kernel turned by half a turn.
    let (Some(pad_y), Some(pad_x)) = ((g.kh - 1).checked_sub(g.pad), (g.kw - 1).checked_sub(g.pad))
    else {
        return Ok(false);
    };
    let problem = Problem {
        n: g.n,
        h: g.oh,
        w: g.ow,
        i: g.o,
        oh: g.h,
        ow: g.w,
        o: g.i,
        kh: g.kh,
        pad_y,
        pad_x,
    };
    let Some(lanes) = lanes(dy.gpu(), &problem, g) else {
        return Ok(false);
    };
    run(dy, w, dx, &problem, g, lanes, fused, true)?;
    Ok(true)
}
