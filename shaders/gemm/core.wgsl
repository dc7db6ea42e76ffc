// The matrix cores' part outside of functions: how operands are loaded.
//
// A kernel on the cores computes
//     acc[row][col] = sum over (t1, t0, k) of lhs(row; t1, t0, k) * rhs(col; t1, t0, k)
// for a tile of rows and columns.
// It says where each operand lies by runs: at (t1, t0), the values of a row along k are
//     data[at + offset + k * step]  for lo <= k < hi, and 0 elsewhere,
// of which `at` depends on the row alone, and offset and step are the same for every row.
//
// What it supplies, in this order:
//     #import gemm/operands                       binds lhs_data and rhs_data
//     struct Lhs { at: i32, .. }                  what is known of a row for all its runs
//     fn lhs_begin(row: u32) -> Lhs
//     fn lhs_offset(t1: u32, t0: u32) -> i32
//     fn lhs_step() -> i32
//     fn lhs_limits(line: Lhs, t1: u32, t0: u32) -> vec2<i32>    lo and hi
//     and the same of a column, rhs for lhs
//     #import gemm/core
// and in main, before it imports gemm/accumulate:
//     tile_r0, tile_c0: u32                    the tile's first row and column
//     lane: u32                                local_invocation_index
//     t1_begin, t1_end, t0_end: u32            the sum runs over t1_begin <= t1 < t1_end and
//                                              t0 < t0_end
//     k_end: i32                               and over k < k_end, the same for every workgroup:
//                                              runs end by hi
// What it gets: fn tile_row(tile_r0, lane, v) -> u32, row v of this invocation, and QUAD_COLS,
// here; from gemm/accumulate tile_col: u32; and from gemm/sums, imported for each v < V in order,
// the sums acc_{v}_{c} of row v and column tile_col + c / 4 * QUAD_COLS + c % 4, for c < NC:
// columns come four side by side, and but for the `coopmat` core so do rows. There, gemm/store_tile
// before it stores a whole tile straight from its matrices, with DIRECT.
//
// How a run is read is a define for each operand (here LHS, and likewise RHS):
//     LHS_K: step is 1, and at, offset, lo, hi are multiples of 4: four k's are one vec4;
//     LHS_M: four consecutive rows from a multiple of 4 share a run and lie side by side, at,
//            offset and step multiples of 4: one vec4 holds four rows at one k;
//     neither: element by element.
// LHS_RELU rectifies an operand as it is loaded. LHS_HALF says that it is stored as f16, which vec4
// loads widen.
//
// The `tiled` and the `coopmat` core ask for more, to compare less. RUNS, of `tiled`, says that
// there may be more than one (t1, t0). WHOLE says that k_end is a multiple of TILE_K, and that rows
// and columns past the last, whose sums nobody stores, are read as some that exist. Every value is
// then there, but
//     LHS_EMPTY: a run of lhs, which is read with LHS_K, is zeros where
//                fn lhs_exists(line: Lhs, t1: u32, t0: u32) -> bool, which the kernel supplies
//                then, says that it does not exist;
//     LHS_CUT: lo <= k < hi is held of lhs as without WHOLE.
#requires lhs_data Lhs lhs_begin lhs_offset lhs_step lhs_limits
#requires rhs_data Rhs rhs_begin rhs_offset rhs_step rhs_limits
#provides lhs_through rhs_through tile_row QUAD_COLS

#for (op, OP) in (lhs, LHS) (rhs, RHS)
#ifdef {OP}_RELU
// NaN stays, which `max` may lose.
fn {op}_through(x: vec4<f32>) -> vec4<f32> { return select(x, vec4<f32>(), x <= vec4<f32>()); }
#else
fn {op}_through(x: vec4<f32>) -> vec4<f32> { return x; }
#endif
#end
#ifdef LANES
#import gemm/runs
const QUAD_COLS = 4u;
fn tile_row(r0: u32, lane: u32, v: u32) -> u32 {
    return r0 + 4u * (v / 4u * LANES + lane) + v % 4u;
}
#elif SIDE
#import gemm/runs
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
// Two tiles of each operand in workgroup memory, one that is read and one that is written: TILE_K
// steps of TILE_ROWS rows, and of TILE_COLS columns, in quads of lines. At step k quad q lies at
// q ^ mixed(k, quads of a step), so that the lanes that store different k's of one row do so into
// different banks.
//
// With _M an invocation stores whole quads, as vec4s. Otherwise those of a quad are stored by four
// invocations, and it is four scalars: WGSL lets a store to a component of a vector write all of
// the vector, over what another invocation stores beside it, and Metal's specification calls two
// of them at a time undefined. Compilers that join loads, as those of Mesa for GeForce, Radeon and
// Adreno do, make the same code of either.
#for (op, OP, SPAN) in (lhs, LHS, TILE_ROWS) (rhs, RHS, TILE_COLS)
#ifdef {OP}_M
var<workgroup> {op}_tile: array<vec4<f32>, 2 * TILE_K * {SPAN} / 4>;
fn {op}_read(at: u32) -> vec4<f32> { return {op}_tile[at]; }
#else
var<workgroup> {op}_tile: array<array<f32, 4>, 2 * TILE_K * {SPAN} / 4>;
fn {op}_read(at: u32) -> vec4<f32> {
    return vec4<f32>({op}_tile[at][0], {op}_tile[at][1], {op}_tile[at][2], {op}_tile[at][3]);
}
#endif
#end
fn mixed(k: u32, quads: u32) -> u32 { return (k / 4u * (32u / TILE_K)) & (quads - 1u); }
#endif
