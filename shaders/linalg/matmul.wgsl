// C[b] = op(A[b]) op(B[b]) + bias,  op = identity or transposition, by the defines A_T and B_T
//
// A: f32 [batch, M, K] (or [batch, K, M]), B: [batch, K, N] (or [batch, N, K]), bias: [N], C: [batch, M, N].
// A, B and C may be f16 (LHS_HALF, RHS_HALF, OUT_HALF); sums are f32. Where C has few tiles, `splits` workgroups share each: every one
// sums k_part steps of K, and C is [splits, M, N], which split_sum adds. On the matrix core: rows are those of C, columns those of C. Reads 4 (M K + K N) bytes or more, writes 4 M N.
struct Params {
    m: u32, n: u32, k: u32,
    col_tiles: u32,
    tiles: u32,
    a_batch: u32, b_batch: u32,   // elements from one matrix to the next; 0 where all share one
    splits: u32, k_part: u32,
}
var<immediate> p: Params;
#import gemm/operands
#import gemm/stored
#ifdef BIAS
@group(0) @binding(2) var<storage, read> bias: array<Value>;
@group(0) @binding(3) var<storage, read_write> y: array<Stored>;
#else
@group(0) @binding(2) var<storage, read_write> y: array<Stored>;
#endif

// A row of C is a row of A; a column of C is a column of B. Both are one run of K.
struct Lhs { run: Run }
struct Rhs { run: Run }
var<private> batch: u32;
var<private> k_begin: u32;
fn steps() -> u32 { return min(p.k - k_begin, p.k_part); }
fn lhs_begin(row: u32) -> Lhs {
    let start = batch * p.a_batch;
    let end = select(0, i32(steps()), row < p.m);
#ifdef A_T
    return Lhs(Run(i32(start + row + k_begin * p.m), i32(p.m), 0, end));
#else
    return Lhs(Run(i32(start + row * p.k + k_begin), 1, 0, end));
#endif
}
fn lhs_run(lhs: Lhs, t1: u32, t0: u32) -> Run { return lhs.run; }
fn rhs_begin(col: u32) -> Rhs {
    let start = batch * p.b_batch;
    let end = select(0, i32(steps()), col < p.n);
#ifdef B_T
    return Rhs(Run(i32(start + col * p.k + k_begin), 1, 0, end));
#else
    return Rhs(Run(i32(start + col + k_begin * p.n), i32(p.n), 0, end));
#endif
}
fn rhs_run(rhs: Rhs, t1: u32, t0: u32) -> Run { return rhs.run; }
#import gemm/core
#import shared/grid
fn store(at: u32, col: u32, value: Value) {
#ifdef BIAS
    y[at] = Stored(value + bias[col]);
#else
    y[at] = Stored(value);
#endif
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    if tile >= p.tiles { return; }
    batch = group.z / p.splits;
    k_begin = group.z % p.splits * p.k_part;
    let tile_r0 = tile / p.col_tiles * TILE_ROWS;
    let tile_c0 = tile % p.col_tiles * TILE_COLS;
    let t1_begin = 0u; let t1_end = 1u; let t0_end = 1u;
    let k_end = i32(p.k_part);
#import gemm/accumulate
#unroll v 0 V
    {
        let row = tile_row(tile_r0, lane, {v}u);
        if row < p.m {
            let start = (group.z * p.m + row) * p.n + tile_col;
#ifdef OUT_VEC
#unroll q 0 NC/4
            if tile_col + {4*q}u < p.n {
                store(start / 4u + {q}u, tile_col / 4u + {q}u, vec4<f32>(acc_{v}_{4*q}, acc_{v}_{4*q+1}, acc_{v}_{4*q+2}, acc_{v}_{4*q+3}));
            }
#end
#else
#unroll c 0 NC
            if tile_col + {c}u < p.n { store(start + {c}u, tile_col + {c}u, acc_{v}_{c}); }
#end
#endif
        }
    }
#end
}
