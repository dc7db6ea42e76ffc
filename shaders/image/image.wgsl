// y[b, h, w, c] = (2 v - 255) / 255, v = images[index[b] mod 2^31, h, w or W-1-w if bit 31 of
//     index[b] is set, c]
//
// images: u8 [M, H, W, C], four to a word; index: u32 [B]; y: f32 [B, H, W, C]. An index past M
// gives NaN, which no loss overlooks. One invocation makes four elements. Reads B H W C bytes,
// writes 4 B H W C.
struct Params { n: u32, images: u32, row: u32, size: u32, channels: u32 }   // row: W C, size: H W C
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> images: array<u32>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;   // the bits, so that NaN is one
#import shared/grid

fn pixel(i: u32) -> u32 {
    let b = i / p.size;
    var at = i - b * p.size;
    let wanted = index[b];
    let image = wanted & 0x7fffffffu;
    if image >= p.images { return 0x7fc00000u; }
    if (wanted & 0x80000000u) != 0u {
        let in_row = at % p.row;
        let channel = in_row % p.channels;
        at = at - in_row + (p.row - p.channels - (in_row - channel)) + channel;
    }
    let byte = image * p.size + at;
    let v = (images[byte / 4u] >> ((byte % 4u) * 8u)) & 0xffu;
    // The numerator is a whole number and exact, and 255 / 255 is 1.
    return bitcast<u32>(f32(i32(2u * v) - 255) * (1.0 / 255.0));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let start = linear_group(group, groups) * 256u + lane;
#unroll s 0 4
    let i_{s} = start + {s}u * 64u;
    if i_{s} < p.n { y[i_{s}] = pixel(i_{s}); }
#end
}
