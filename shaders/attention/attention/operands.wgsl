// What the attention kernels share: parameters, and rows of q, k and v. Row i of head h of image b begins at
// offset + b batch + h head + i row elements, so heads may lie apart ([B, H, T, D]) or packed ([B, T, 3, H, D]). D is at most 4 DQ;
// channels past D read as 0. With VEC D is 4 DQ and everything begins at a multiple of 4. With MASK a bit for each pair says whether the query
// may see the key: words of 32 rows of the side that is walked over, for each row of the side that is owned.
struct Params {
    heads: u32, tq: u32, tk: u32, d: u32,
    q_offset: u32, q_batch: u32, q_head: u32, q_row: u32,
    k_offset: u32, k_batch: u32, k_head: u32, k_row: u32,
    v_offset: u32, o_batch: u32, o_head: u32, o_row: u32,
    row_tiles: u32, tiles: u32,
    diagonal: i32,                   // row i sees the keys j <= i + diagonal
    scale: f32,
    dq_offset: u32, dk_offset: u32, dv_offset: u32,
    mask_batch: u32, mask_row: u32, mask_word: u32, // words from one image, own row and 32 rows of the other side to the next
}
var<immediate> p: Params;
const LOWEST: f32 = -3.4028234e38;
#ifdef VEC
@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>;
fn q_at(row: u32, t: u32) -> vec4<f32> { return q[row / 4u + t]; }
fn k_at(row: u32, t: u32) -> vec4<f32> { return k[row / 4u + t]; }
fn v_at(row: u32, t: u32) -> vec4<f32> { return v[row / 4u + t]; }
#else
@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
fn channel(t: u32, j: u32) -> u32 { return min(4u * t + j, p.d - 1u); }
fn within(t: u32, x: vec4<f32>) -> vec4<f32> { return select(vec4<f32>(), x, vec4<u32>(4u * t) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.d)); }
fn q_at(row: u32, t: u32) -> vec4<f32> {
    return within(t, vec4<f32>(q[row + channel(t, 0u)], q[row + channel(t, 1u)], q[row + channel(t, 2u)], q[row + channel(t, 3u)]));
}
fn k_at(row: u32, t: u32) -> vec4<f32> {
    return within(t, vec4<f32>(k[row + channel(t, 0u)], k[row + channel(t, 1u)], k[row + channel(t, 2u)], k[row + channel(t, 3u)]));
}
fn v_at(row: u32, t: u32) -> vec4<f32> {
    return within(t, vec4<f32>(v[row + channel(t, 0u)], v[row + channel(t, 1u)], v[row + channel(t, 2u)], v[row + channel(t, 3u)]));
}
#endif
#import shared/grid
