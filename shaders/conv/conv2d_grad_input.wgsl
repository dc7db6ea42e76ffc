// y[n,iy,ix,c] = bias[c] + g(mask) sum over ky, kx, o of dy[n,oy,ox,o] w[o,ky,kx,c],
//   oy s - p + ky = iy,  ox s - p + kx = ix
//
// dy: f32 [N, OH, OW, O] (f16 with LHS_HALF, and with OUT_HALF y, with MASK_HALF mask), w:
// [O, KH, KW, I], y: [N, H, W, I], the gradient to x; s stride, p padding. With RELU_MASK, g = 1
// where mask > 0 and 0 elsewhere: the convolution had rectified its input, which is mask
// [N, H, W, I]. The forward pass of a transposed convolution is this sum too, with BIAS [I], and
// LHS_RELU where it rectifies its input first. On the matrix core: rows are input pixels, columns
// input channels. A pixel meets only taps of its own phase ((iy + p) mod s, (ix + p) mod s), so the
// grid's z is the phase and within it the problem is dense. Reads 4 (N OH OW O + O KH KW I) bytes
// or more, writes 4 N H W I.
struct Params {
    h: u32, w: u32, i: u32,
    oh: u32, ow: u32, o: u32,
    kh: u32, kw: u32,
    stride: u32, pad: u32,
    n: u32, col_tiles: u32,
}
var<immediate> p: Params;
#import gemm/operands
#import gemm/epilogue

var<private> phase_y: u32;           // the first ky of this phase
var<private> phase_x: u32;
var<private> first_y: u32;           // the first iy of this phase
var<private> first_x: u32;
var<private> phase_w: u32;           // pixels of this phase along x
var<private> phase_rows: u32;        // pixels of this phase in all

fn row_x(row: u32) -> u32 { return first_x + row % phase_w * p.stride; }
struct Lhs { at: i32, y: i32, x: i32, valid: bool }
struct Rhs { at: i32, valid: bool }
fn lhs_begin(row: u32) -> Lhs {
#ifdef WHOLE
    let read = min(row, phase_rows - 1u);
#else
    let read = row;
#endif
    let phase_h = (p.h - first_y + p.stride - 1u) / p.stride;
    let rest = read / phase_w;
    let iy = first_y + rest % phase_h * p.stride;
    let oy = (i32(iy + p.pad) - i32(phase_y)) / i32(p.stride);
    let ox = (i32(row_x(read) + p.pad) - i32(phase_x)) / i32(p.stride);
    let at = ((i32(rest / phase_h * p.oh) + oy) * i32(p.ow) + ox) * i32(p.o);
    return Lhs(at, oy, ox, row < phase_rows);
}
fn lhs_offset(t1: u32, t0: u32) -> i32 { return -i32((t1 * p.ow + t0) * p.o); }
fn lhs_step() -> i32 { return 1; }
fn lhs_exists(line: Lhs, t1: u32, t0: u32) -> bool {
    return (u32(line.y - i32(t1)) < p.oh) & (u32(line.x - i32(t0)) < p.ow);
}
fn lhs_limits(line: Lhs, t1: u32, t0: u32) -> vec2<i32> {
    return vec2(0, select(0, i32(p.o), line.valid && lhs_exists(line, t1, t0)));
}
fn rhs_begin(col: u32) -> Rhs {
#ifdef WHOLE
    let read = min(col, p.i - 4u);
#else
    let read = col;
#endif
    return Rhs(i32(read), col < p.i);
}
fn rhs_offset(t1: u32, t0: u32) -> i32 {
    let ky = phase_y + t1 * p.stride;
    let kx = phase_x + t0 * p.stride;
    return i32((ky * p.kw + kx) * p.i);
}
fn rhs_step() -> i32 { return i32(p.kh * p.kw * p.i); }
fn rhs_limits(line: Rhs, t1: u32, t0: u32) -> vec2<i32> {
    return vec2(0, select(0, i32(p.o), line.valid));
}
#import gemm/core
#import shared/grid

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    // Whether the workgroup has work, and how long its loops are, is read from values that browsers
    // see to be the same for all of it: variables outside of functions never are.
    let phase = vec2(group.z % p.stride, group.z / p.stride);
    // iy + p = phase (mod s), the smallest such iy.
    let first = (phase + p.stride - p.pad % p.stride) % p.stride;
    if first.y >= p.h || first.x >= p.w { return; }
    let phase_h = (p.h - first.y + p.stride - 1u) / p.stride;
    let phase_across = (p.w - first.x + p.stride - 1u) / p.stride;
    let all_rows = p.n * phase_h * phase_across;
    phase_y = phase.y;
    phase_x = phase.x;
    first_y = first.y;
    first_x = first.x;
    phase_w = phase_across;
    phase_rows = all_rows;
    let tile = linear_group(group, groups);
    let tile_r0 = tile / p.col_tiles * TILE_ROWS;
    let tile_c0 = tile % p.col_tiles * TILE_COLS;
    if tile_r0 >= all_rows { return; }
    // Taps of this phase: none where the kernel is narrower than the stride.
    let t1_begin = 0u;
    let t1_end = (max(p.kh, phase.y) - phase.y + p.stride - 1u) / p.stride;
    let t0_end = (max(p.kw, phase.x) - phase.x + p.stride - 1u) / p.stride;
    let k_end = i32(p.o);
#import gemm/accumulate
    // The pixels of a phase lie side by side where there is only one.
    let rows = select(0u, all_rows, p.stride == 1u);
    let cols = p.i;
    let tile_start = tile_r0 * p.i + tile_c0;
#import gemm/store_tile
#unroll v 0 V
#import gemm/sums
    {
        let row = tile_row(tile_r0, lane, {v}u);
        if row < phase_rows {
            let rest = row / phase_w;
            let iy = first_y + rest % phase_h * p.stride;
            let start = ((rest / phase_h * p.h + iy) * p.w + row_x(row)) * p.i + tile_col;
#import gemm/store_row
        }
    }
#end
}
