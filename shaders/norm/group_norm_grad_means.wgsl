// means[n,g] = the means over the S x C/G values of group g of image n of g = dy w[c], and of g
//     (x - mu) r
//
// sums, along: f32 [N, T, C] of grad_parts; w: [C]; means: [N G, 2]. One invocation has one (n, g),
// and adds slice by slice, channel by channel; with GROUP a workgroup has it, each of its
// invocations takes every GROUPth of these in turn, and a tree adds what they found.
struct Params { rows: u32, s: u32, c: u32, g: u32, slices: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> sums: array<f32>;
@group(0) @binding(1) var<storage, read> along: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> means: array<f32>;
#import shared/grid
#ifdef GROUP
#import shared/reduce
#endif

#ifdef GROUP
@compute @workgroup_size(GROUP)
#else
@compute @workgroup_size(64)
#endif
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#ifdef GROUP
    let row = linear_group(group, groups);
#else
    let row = linear_index(group, groups, lane, 64u);
#endif
    if row >= p.rows { return; }
    let width = p.c / p.g;
    let channel = row % p.g * width;
    let first = row / p.g * p.slices * p.c + channel;
    var both = vec2<f32>();
#ifdef GROUP
    for (var j = lane; j < p.slices * width; j += GROUP) {
        let k = j % width;
        let at = first + j / width * p.c + k;
        both += w[channel + k] * vec2<f32>(sums[at], along[at]);
    }
    both = vec2<f32>(group_sum(both.x, lane), group_sum(both.y, lane));
    if lane > 0u { return; }
#else
    for (var t = 0u; t < p.slices; t += 1u) {
        for (var k = 0u; k < width; k += 1u) {
            let at = first + t * p.c + k;
            both += w[channel + k] * vec2<f32>(sums[at], along[at]);
        }
    }
#endif
    means[2u * row] = both.x / f32(p.s * width);
    means[2u * row + 1u] = both.y / f32(p.s * width);
}
