// The `coopmat` core's module scope: its tiles in workgroup memory, and how a value gets there, see
// gemm/coopmat.
//
// A tile's line is a row of the left operand or a column of the right one: TILE_K halves along k
// and 8 of padding, so that lines stay aligned to 16 bytes, as SPIR-V wants, and start in different
// banks.
#import gemm/coopmat_cells
const PITCH = (TILE_K + 8u) / CELL;  // from one line of a tile to the next
const FLOATS = 68u;                  // from one row of sums to the next: 64 columns and padding
var<workgroup> lhs_tile: array<Cell, TILE_ROWS * PITCH>;
var<workgroup> rhs_tile: array<Cell, TILE_COLS * PITCH>;
var<workgroup> sums: array<f32, 32u * FLOATS>;

#ifdef EMULATE
alias Sums = array<f32, TILE_ROWS * TILE_COLS / 4u / SUBGROUP>;
#for op in lhs rhs
fn {op}_half(first: u32, line: u32, k: u32) -> f32 {
#ifdef QUADS
    return f32({op}_tile[first + line * PITCH + k / 4u][k % 4u]);
#else
    return f32({op}_tile[first + line * PITCH + k]);
#endif
}
#end
#endif
// The first row and column, within the tile, of block (i, j) of the first subgroup: of every 32
// rows and of every 64 columns a subgroup has one half.
fn row_of(i: u32) -> u32 { return i * SIDE + i * SIDE / 16u * 16u; }
fn col_of(j: u32) -> u32 { return j * SIDE + j * SIDE / 32u * 32u; }
const DOWN = TILE_ROWS / (2u * SIDE);
const BESIDE = TILE_COLS / (2u * SIDE);

// Four values as they are read, whether they are values of the operand, and four halves of it:
// between the first and the last lie the products of the tile before, so that nothing waits for
// memory.
#for (op, OP) in (lhs, LHS) (rhs, RHS)
#ifdef {OP}_HALF
alias {op}_raw = vec4<f16>;
#else
alias {op}_raw = vec4<f32>;
#endif
#ifdef {OP}_VEC
fn {op}_inside(r: Run, k: i32) -> bool {
#ifdef {OP}_EMPTY
    return r.hi > 0;
#elif {OP}_CUT
    return k >= r.lo && k < r.hi;
#elif WHOLE
    return true;
#else
    return k >= r.lo && k < r.hi;
#endif
}
fn {op}_fetch(at: i32, inside: bool) -> {op}_raw { return {op}_data[select(0, at, inside)]; }
#else
fn {op}_fetch(r: Run, k: i32) -> {op}_raw {
    return vec4<f32>({op}_at(r, k), {op}_at(r, k + 1), {op}_at(r, k + 2), {op}_at(r, k + 3));
}
#endif
fn {op}_narrow(raw: {op}_raw, inside: bool) -> vec4<f16> {
#ifdef {OP}_RELU
    // NaN stays, which `max` may lose.
    let x = vec4<f16>(select({op}_raw(), raw, inside));
    return select(x, vec4<f16>(), x <= vec4<f16>());
#else
    return vec4<f16>(select({op}_raw(), raw, inside));
#endif
}
// Four halves along k, from 4 * quad on.
fn {op}_put(line: u32, quad: u32, x: vec4<f16>) {
#ifdef QUADS
    {op}_tile[line * PITCH + quad] = x;
#else
#unroll j 0 4
    {op}_tile[line * PITCH + 4u * quad + {j}u] = x[{j}];
#end
#endif
}
#ifndef QUADS
// One of them.
fn {op}_put_one(line: u32, k: u32, x: f16) { {op}_tile[line * PITCH + k] = x; }
#endif

#end
// The tile leaves by stages of 32 rows and 64 columns, see gemm/sums: of each stage an invocation
// has four columns of every (GROUP / 16)th row, and so of each 64 columns of the tile.
const QUAD_COLS = 64u;
fn tile_row(r0: u32, lane: u32, v: u32) -> u32 {
    return r0 + v / (512u / GROUP) * 32u + v % (512u / GROUP) * (GROUP / 16u) + lane / 16u;
}
