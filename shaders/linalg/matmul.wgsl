// C[b] = op(A[b]) op(B[b]) + bias,  op = identity or transposition, by the strides
//
// A: f32 [batch, M, K] (or [batch, K, M]), B: [batch, K, N] (or [batch, N, K]), bias: [N], C:
// [batch, M, N]. A, B and C may be f16 (LHS_HALF, RHS_HALF, OUT_HALF); sums are f32. Where C has
// few tiles, `splits` workgroups share each: every one sums k_part steps of K, and C is
// [splits, M, N], which split_sum adds. On the matrix core: rows are those of C, columns those of
// C. Reads 4 (M K + K N) bytes or more, writes 4 M N.
struct Params {
    m: u32, n: u32, k: u32,
    col_tiles: u32,
    tiles: u32,
    a_batch: u32, b_batch: u32,   // elements from one matrix to the next; 0 where all share one
    splits: u32, k_part: u32,
    // Elements from one row of op(A) to the next, and from one step along K
    a_row: u32, a_k: u32,
    b_col: u32, b_k: u32,         // from one column of op(B) to the next, and from one step along K
}
var<immediate> p: Params;
#import gemm/operands
#import gemm/epilogue

// A row of C is a row of A; a column of C is a column of B. Both are one run of K.
struct Lhs { at: i32, end: i32 }
struct Rhs { at: i32, end: i32 }
var<private> batch: u32;
var<private> k_begin: u32;
fn steps() -> u32 { return min(p.k - k_begin, p.k_part); }
#for (op, OP, Op, row, a, m) in (lhs, LHS, Lhs, row, a, m) (rhs, RHS, Rhs, col, b, n)
fn {op}_begin({row}: u32) -> {Op} {
    let start = batch * p.{a}_batch + k_begin * p.{a}_k;
    let end = select(0, i32(steps()), {row} < p.{m});
#ifdef WHOLE
#ifdef {OP}_M
    let read = min({row}, p.{m} - 4u);
#else
    let read = min({row}, p.{m} - 1u);
#endif
#else
    let read = {row};
#endif
    return {Op}(i32(start + read * p.{a}_{row}), end);
}
fn {op}_offset(t1: u32, t0: u32) -> i32 { return 0; }
fn {op}_step() -> i32 { return i32(p.{a}_k); }
fn {op}_limits(line: {Op}, t1: u32, t0: u32) -> vec2<i32> { return vec2(0, line.end); }
#end
#import gemm/core
#import shared/grid

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    if tile >= p.tiles { return; }
    batch = group.z / p.splits;
    let first = group.z % p.splits * p.k_part;
    k_begin = first;
    let tile_r0 = tile / p.col_tiles * TILE_ROWS;
    let tile_c0 = tile % p.col_tiles * TILE_COLS;
    let t1_begin = 0u; let t1_end = 1u; let t0_end = 1u;
#ifdef WHOLE
    // Not by steps(): browsers take what is read of a variable outside of functions to differ.
    let k_end = i32(min(p.k - first, p.k_part));
#else
    let k_end = i32(p.k_part);
#endif
#import gemm/accumulate
    let rows = p.m;
    let cols = p.n;
    let tile_start = (group.z * p.m + tile_r0) * p.n + tile_c0;
#import gemm/store_tile
#unroll v 0 V
#import gemm/sums
    {
        let row = tile_row(tile_r0, lane, {v}u);
        if row < rows {
            let start = (group.z * p.m + row) * p.n + tile_col;
#import gemm/store_row
        }
    }
#end
}
