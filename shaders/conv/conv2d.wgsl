// y[n,oy,ox,o] = bias[o] + residual[n,oy,ox,o] + sum over ky, kx, c
//     of f(x[n, oy s - p + ky, ox s - p + kx, c]) w[o,ky,kx,c]
//
// x: f32 [N, H, W, I] (f16 with LHS_HALF, and with OUT_HALF y and residual, with MASK_HALF mask),
// w: [O, KH, KW, I], bias: [O], residual, y: [N, OH, OW, O]; s stride, p padding; f is the
// identity, or max(., 0) with LHS_RELU. With RELU_MASK, y is 0 wherever mask [N, OH, OW, O] is not
// above 0. On the matrix core: rows are output pixels, columns output channels. At one ky the
// (kx, c) pairs are one run of KW I values in x and in w alike. Reads 4 (N H W I + O KH KW I) bytes
// or more, writes 4 N OH OW O.
struct Params {
    rows: u32,                       // N OH OW
    h: u32, w: u32, i: u32,
    oh: u32, ow: u32, o: u32,
    kh: u32, kw: u32,
    stride: u32, pad: u32,
    col_tiles: u32, tiles: u32,
}
var<immediate> p: Params;
#import gemm/operands
#import gemm/epilogue

struct Lhs { at: i32, y: i32, x: i32, lo: i32, hi: i32 }
struct Rhs { at: i32, end: i32 }
fn lhs_begin(row: u32) -> Lhs {
#ifdef WHOLE
    let read = min(row, p.rows - 1u);
#else
    let read = row;
#endif
    let rest = read / p.ow;
    let y0 = i32(rest % p.oh * p.stride) - i32(p.pad);
    let x0 = i32(read % p.ow * p.stride) - i32(p.pad);
    let at = ((i32(rest / p.oh * p.h) + y0) * i32(p.w) + x0) * i32(p.i);
    let lo = max(0, -x0) * i32(p.i);
    let hi = min(i32(p.kw), i32(p.w) - x0) * i32(p.i);
    return Lhs(at, y0, x0, lo, select(0, hi, row < p.rows));
}
fn rhs_begin(col: u32) -> Rhs {
    let run = p.kw * p.i;
#ifdef WHOLE
    let read = min(col, p.o - 1u);
#else
    let read = col;
#endif
    return Rhs(i32(read * p.kh * run), select(0, i32(run), col < p.o));
}
#ifdef WHOLE
// At one (ky, kx) the channels are a run, which is there or is not: ky is t1, and kx is t0.
fn lhs_offset(t1: u32, t0: u32) -> i32 { return i32((t1 * p.w + t0) * p.i); }
fn rhs_offset(t1: u32, t0: u32) -> i32 { return i32((t1 * p.kw + t0) * p.i); }
fn lhs_exists(line: Lhs, t1: u32, t0: u32) -> bool {
    return (u32(line.y + i32(t1)) < p.h) & (u32(line.x + i32(t0)) < p.w);
}
#else
// At one ky, which is t0, the (kx, c) pairs are a run.
fn lhs_offset(t1: u32, t0: u32) -> i32 { return i32(t0 * p.w * p.i); }
fn rhs_offset(t1: u32, t0: u32) -> i32 { return i32(t0 * p.kw * p.i); }
#endif
fn lhs_limits(line: Lhs, t1: u32, t0: u32) -> vec2<i32> {
    return vec2(line.lo, select(0, line.hi, u32(line.y + i32(t0)) < p.h));
}
fn rhs_limits(line: Rhs, t1: u32, t0: u32) -> vec2<i32> { return vec2(0, line.end); }
fn lhs_step() -> i32 { return 1; }
fn rhs_step() -> i32 { return 1; }
#import gemm/core
#import shared/grid

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    if tile >= p.tiles { return; }
    let tile_r0 = tile / p.col_tiles * TILE_ROWS;
    let tile_c0 = tile % p.col_tiles * TILE_COLS;
#ifdef WHOLE
    let t1_begin = 0u; let t1_end = p.kh; let t0_end = p.kw;
    let k_end = i32(p.i);
#else
    let t1_begin = 0u; let t1_end = 1u; let t0_end = p.kh;
    let k_end = i32(p.kw * p.i);
#endif
#import gemm/accumulate
    let rows = p.rows;
    let cols = p.o;
    let tile_start = tile_r0 * p.o + tile_c0;
#import gemm/store_tile
#unroll v 0 V
#import gemm/sums
    {
        let row = tile_row(tile_r0, lane, {v}u);
        if row < rows {
            let start = row * p.o + tile_col;
#import gemm/store_row
        }
    }
#end
}
