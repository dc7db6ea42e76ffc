// The matrix cores' part outside of functions: how operands are loaded.
//
// A kernel on the cores computes
//     acc[row][col] = sum over (t1, t0, k) of lhs(row; t1, t0, k) * rhs(col; t1, t0, k)
// for a tile of rows and columns.
// It says where each operand lies by runs: at (t1, t0), the values of a row along k are
//     data[base + k * step]  for lo <= k < hi, and 0 elsewhere.
//
// What it supplies, in this order:
//     #import gemm/operands                    binds lhs_data and rhs_data
//     struct Lhs, fn lhs_begin(row: u32) -> Lhs, fn lhs_run(lhs: Lhs, t1: u32, t0: u32) -> Run
//                                              what is known of a row for all its runs, and a run
//     struct Rhs, fn rhs_begin(col: u32) -> Rhs, fn rhs_run(rhs: Rhs, t1: u32, t0: u32) -> Run
//                                              the same for a column
//     #import gemm/core
// and in main, before it imports gemm/accumulate:
//     tile_r0, tile_c0: u32                    the tile's first row and column
//     lane: u32                                local_invocation_index
//     t1_begin, t1_end, t0_end: u32            the sum runs over t1_begin <= t1 < t1_end and
//                                              t0 < t0_end
//     k_end: i32                               and over k < k_end, the same for every workgroup:
//                                              runs end by hi
// What it gets: struct Run, fn tile_row(tile_r0, lane, v) -> u32, row v of this invocation, and
// QUAD_COLS, here; and from gemm/accumulate tile_col: u32 and the sums acc_{v}_{c} of row v and
// column tile_col + c / 4 * QUAD_COLS + c % 4, for v < V and c < NC: columns come four side by
// side, and so do rows.
//
// How a run is read is a define for each operand (here LHS, and likewise RHS):
//     LHS_K: step is 1, and base, lo, hi are multiples of 4: four k's are one vec4;
//     LHS_M: four consecutive rows from a multiple of 4 share a run and lie side by side, base and
//            step multiples of 4: one vec4 holds four rows at one k;
//     neither: element by element.
// LHS_RELU rectifies an operand as it is loaded. LHS_HALF says that it is stored as f16, which vec4
// loads widen. WHOLE says that lo <= k < hi holds wherever a tile reads: hi is k_end, a multiple of
// TILE_K, and rows and columns past the last, whose sums nobody stores, are read as some that
// exist. Nothing is then compared in the loop.
#requires lhs_data Lhs lhs_begin lhs_run
#requires rhs_data Rhs rhs_begin rhs_run
#provides Run lhs_load rhs_load tile_row QUAD_COLS

struct Run { base: i32, step: i32, lo: i32, hi: i32 }

#for (op, OP) in (lhs, LHS) (rhs, RHS)
#ifdef {OP}_RELU
fn {op}_through(x: vec4<f32>) -> vec4<f32> { return max(x, vec4<f32>()); }
#else
fn {op}_through(x: vec4<f32>) -> vec4<f32> { return x; }
#endif

#end
// Four values of a run from k on, or with LHS_M those of four rows at k.
#for (op, OP) in (lhs, LHS) (rhs, RHS)
#ifdef WHOLE
#ifdef {OP}_K
fn {op}_load(r: Run, k: i32) -> vec4<f32> {
    return {op}_through(vec4<f32>({op}_data[u32(r.base + k) / 4u]));
}
#else
fn {op}_load(r: Run, k: i32) -> vec4<f32> {
    return {op}_through(vec4<f32>({op}_data[u32(r.base + k * r.step) / 4u]));
}
#endif
#elif {OP}_K
fn {op}_load(r: Run, k: i32) -> vec4<f32> {
    let ok = k >= r.lo && k < r.hi;
    return select(
        vec4<f32>(),
        {op}_through(vec4<f32>({op}_data[select(0, (r.base + k) >> 2u, ok)])),
        ok);
}
#elif {OP}_M
fn {op}_load(r: Run, k: i32) -> vec4<f32> {
    let ok = k >= r.lo && k < r.hi;
    return select(
        vec4<f32>(),
        {op}_through(vec4<f32>({op}_data[select(0, (r.base + k * r.step) >> 2u, ok)])),
        ok);
}
#else
fn {op}_at(r: Run, k: i32) -> f32 {
    let ok = k >= r.lo && k < r.hi;
    return select(0.0, {op}_data[select(0, r.base + k * r.step, ok)], ok);
}
fn {op}_load(r: Run, k: i32) -> vec4<f32> {
    return {op}_through(
        vec4<f32>({op}_at(r, k), {op}_at(r, k + 1), {op}_at(r, k + 2), {op}_at(r, k + 3)));
}
#endif

#end
#ifdef LANES
const QUAD_COLS = 4u;
fn tile_row(r0: u32, lane: u32, v: u32) -> u32 {
    return r0 + 4u * (v / 4u * LANES + lane) + v % 4u;
}
#elif SIDE
const QUAD_COLS = 4u;
#import gemm/coopmat_tiles
#else
// Where an invocation of the `tiled` core stands among DOWN x ACROSS: 32 lanes side by side are
// 4 x 8 (8 x 4 where there are 4 across) in Morton order, so that neighbours share what they read.
// Each has V rows and NC columns in quads that lie DOWN and ACROSS quads apart.
const DOWN = GROUP / ACROSS;
const QUAD_COLS = 4u * ACROSS;
fn tile_x(lane: u32) -> u32 {
    let x = (lane & 1u) | ((lane >> 1u) & 2u) | ((lane >> 2u) & 4u);
    return (x & (ACROSS - 1u)) + 8u * (lane / 32u % max(ACROSS / 8u, 1u));
}
fn tile_y(lane: u32) -> u32 {
    let y = ((lane >> 1u) & 1u) | ((lane >> 2u) & 2u);
    let tall = select(0u, (lane >> 2u) & 4u, ACROSS == 4u);
    return (y | tall) + select(4u, 8u, ACROSS == 4u) * (lane / 32u / max(ACROSS / 8u, 1u));
}
fn tile_row(r0: u32, lane: u32, v: u32) -> u32 {
    return r0 + 4u * (v / 4u * DOWN + tile_y(lane)) + v % 4u;
}
// Tiles in workgroup memory: TILE_K steps of TILE_ROWS rows, and of TILE_COLS columns, a vec4 to a
// quad. At step k quad q lies at q ^ mixed(k, quads of a step), so that the lanes that store
// different k's of one row do so into different banks.
var<workgroup> lhs_tile: array<vec4<f32>, TILE_K * TILE_ROWS / 4>;
var<workgroup> rhs_tile: array<vec4<f32>, TILE_K * TILE_COLS / 4>;
fn mixed(k: u32, quads: u32) -> u32 { return (k / 4u * (32u / TILE_K)) & (quads - 1u); }
#endif
