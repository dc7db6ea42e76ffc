// y[i] = x[i] / (1 - rate) where word i of Philox is at least rate 2^32, else 0
//     (Srivastava et al. 2014, inverted)
//
// x, y: f32 [N], from element 4 block0 of the whole on. The words are those of
// shaders/sampling/random.wgsl under the same key, so that the backward pass makes the same mask
// again. One invocation makes one block of four. Reads 4 N bytes, writes 4 N.
struct Params {
    n: u32, block0: u32, stream: u32, threshold: u32, step: vec2<u32>, seed: vec2<u32>,
    scale: f32, pad: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#import shared/grid
#import shared/philox

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let block = linear_index(group, groups, lane, 64u);
    // The first test keeps `i` from wrapping where N is close to 2^32.
    if block > (p.n - 1u) / 4u { return; }
    let i = block * 4u;
    let words = philox(vec4<u32>(p.block0 + block, p.stream, p.step.x, p.step.y), p.seed);
#unroll s 0 4
    if {s}u < p.n - i {
        y[i + {s}u] = select(0.0, x[i + {s}u] * p.scale, words[{s}] >= p.threshold);
    }
#end
}
