// dz = g s (1 - tanh(s (z + shift))^2) half / floor(L / 2): the gradient of the bounded value,
//     straight through the rounding, for a steepness s
// (Mentzer et al. 2023, section 3.1; fsq.wgsl)
//
// z, g (the gradient that arrives at the codes), dz: f32 [N, D]; levels: vec4 [D] =
// (half, offset, shift, L). One invocation makes one element. Reads 8 N D bytes, writes 4 N D.
struct Params { n: u32, d: u32, steepness: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> levels: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> z: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> dz: array<f32>;
#import shared/grid
#import shared/tanh

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n * p.d { return; }
    let level = levels[i % p.d];
    let t = tanh_of(p.steepness * (z[i] + level.z));
    dz[i] = g[i] * (p.steepness * (1.0 - t * t)) * level.x / floor(0.5 * level.w);
}
