// What the attention kernels share: parameters, and rows of q, k and v. Row i of head h of image b
// begins at offset + b batch + h head + i row elements, so heads may lie apart ([B, H, T, D]) or
// packed ([B, T, 3, H, D]). Channels past D read as 0. With VEC D is a multiple of 4 (over
// subgroups 4 DQ), and so is what everything begins at. With MASK a bit for each pair says whether
// the query may see the key: words of 32 rows of the side that is walked over, for each row of the
// side that is owned; and from mask_blocks on a bit for 32 rows of both sides, whether there is any
// such pair among them.
struct Params {
    heads: u32, tq: u32, tk: u32, d: u32,
    q_offset: u32, q_batch: u32, q_head: u32, q_row: u32,
    k_offset: u32, k_batch: u32, k_head: u32, k_row: u32,
    v_offset: u32, o_batch: u32, o_head: u32, o_row: u32,
    row_tiles: u32, tiles: u32,
    diagonal: i32,                   // row i sees the keys j <= i + diagonal
    scale: f32,
    dq_offset: u32, dk_offset: u32, dv_offset: u32,
    // Words from one image, own row and 32 rows of the other side to the next.
    mask_batch: u32, mask_row: u32, mask_word: u32,
    // Likewise, from one image and 32 own rows to the next.
    mask_blocks: u32, mask_block_batch: u32, mask_block_row: u32,
    // Parts of the walk, rows of one, elements between the results of two.
    parts: u32, part_rows: u32, part_stride: u32,
}
var<immediate> p: Params;
const LOWEST: f32 = -3.4028234e38;
#ifndef VEC
fn channel(t: u32, j: u32) -> u32 { return min(4u * t + j, p.d - 1u); }
fn within(t: u32, x: vec4<f32>) -> vec4<f32> {
    return select(vec4<f32>(), x, vec4<u32>(4u * t) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.d));
}
#endif
#for (x, binding) in (q, 0) (k, 1) (v, 2)
#import attention/attention/rows
#end
#import shared/grid
