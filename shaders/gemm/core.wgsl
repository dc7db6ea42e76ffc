// The matrix cores' module-scope part: how operands are loaded.
//
// A heavy kernel computes  acc[row][col] = sum over (t1, t0, k) of own(row; t1, t0, k) * shr(col; t1, t0, k)  for a tile of
// rows and columns. It says where each operand lies by runs: at (t1, t0), the values of a row along k are
//     data[base + k * step]  for lo <= k < hi, and 0 elsewhere.
// It supplies, before importing this:
//     struct Own, fn own_begin(row) -> Own, fn own_run(own, t1, t0) -> Run          and the same for Shr (a column),
// binds the operands by importing gemm/operands, and imports gemm/accumulate in its main. How a run is read is a define per operand:
//     OWN_K: step is 1, and base, lo, hi are multiples of 4: four k's are one vec4;
//     OWN_M: four consecutive rows from a multiple of 4 share a run and lie side by side, base and step multiples of 4:
//            one vec4 holds four rows at one k;
//     neither: element by element.
// OWN_RELU and SHR_RELU rectify an operand as it is loaded. OWN_HALF and SHR_HALF say that it is stored as f16, which vec4 loads widen.

struct Run { base: i32, step: i32, lo: i32, hi: i32 }

#ifdef OWN_RELU
fn own_through(x: vec4<f32>) -> vec4<f32> { return max(x, vec4<f32>()); }
#else
fn own_through(x: vec4<f32>) -> vec4<f32> { return x; }
#endif

#ifdef SHR_RELU
fn shr_through(x: vec4<f32>) -> vec4<f32> { return max(x, vec4<f32>()); }
#else
fn shr_through(x: vec4<f32>) -> vec4<f32> { return x; }
#endif

#ifdef OWN_K
fn own_load(r: Run, k: i32) -> vec4<f32> {
    let ok = k >= r.lo && k < r.hi;
    return select(vec4<f32>(), own_through(vec4<f32>(own_data[select(0, (r.base + k) >> 2u, ok)])), ok);
}
#elif OWN_M
fn own_load(r: Run, k: i32) -> vec4<f32> {
    let ok = k >= r.lo && k < r.hi;
    return select(vec4<f32>(), own_through(vec4<f32>(own_data[select(0, (r.base + k * r.step) >> 2u, ok)])), ok);
}
#else
fn own_at(r: Run, k: i32) -> f32 {
    let ok = k >= r.lo && k < r.hi;
    return select(0.0, own_data[select(0, r.base + k * r.step, ok)], ok);
}
fn own_load(r: Run, k: i32) -> vec4<f32> {
    return own_through(vec4<f32>(own_at(r, k), own_at(r, k + 1), own_at(r, k + 2), own_at(r, k + 3)));
}
#endif

#ifdef SHR_K
fn shr_load(r: Run, k: i32) -> vec4<f32> {
    let ok = k >= r.lo && k < r.hi;
    return select(vec4<f32>(), shr_through(vec4<f32>(shr_data[select(0, (r.base + k) >> 2u, ok)])), ok);
}
#elif SHR_M
fn shr_load(r: Run, k: i32) -> vec4<f32> {
    let ok = k >= r.lo && k < r.hi;
    return select(vec4<f32>(), shr_through(vec4<f32>(shr_data[select(0, (r.base + k * r.step) >> 2u, ok)])), ok);
}
#else
fn shr_at(r: Run, k: i32) -> f32 {
    let ok = k >= r.lo && k < r.hi;
    return select(0.0, shr_data[select(0, r.base + k * r.step, ok)], ok);
}
fn shr_load(r: Run, k: i32) -> vec4<f32> {
    return shr_through(vec4<f32>(shr_at(r, k), shr_at(r, k + 1), shr_at(r, k + 2), shr_at(r, k + 3)));
}
#endif

// Row v of this invocation in the tile that starts at row r0.
#ifdef LANES
fn tile_row(r0: u32, lane: u32, v: u32) -> u32 { return r0 + 4u * (v / 4u * LANES + lane) + v % 4u; }
#elif SIDE
#import gemm/coopmat_tiles
#else
fn tile_row(r0: u32, lane: u32, v: u32) -> u32 { return r0 + lane / ACROSS * V + v; }
// Tiles of the `tiled` core in workgroup memory: TILE_K rows of TILE_ROWS own rows, and of TILE_COLS columns; four to a vec4.
var<workgroup> own_tile: array<vec4<f32>, TILE_K * TILE_ROWS / 4>;
var<workgroup> shr_tile: array<vec4<f32>, TILE_K * TILE_COLS / 4>;
#endif
