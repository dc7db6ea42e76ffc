// m[k,:] <- decay m[k,:] + (1 - decay) sums[k,:]; e[k,:] <- m[k,:] / s_k; c_k <- fresh_k with
// Laplace smoothing in the division alone: s_k = (fresh_k + eps) / (total + K eps) total (van den
// Oord et al. 2017, appendix A; Razavi et al. 2019)
//
// sums, m, e: f32 [K, D]; fresh, c: f32 [K]; total: f32 [1], the sum of fresh. One invocation
// updates four elements (VEC, where D is a multiple of 4) or one.
struct Params { k: u32, units: u32, decay: f32, eps: f32 }     // units of an invocation in a row
var<immediate> p: Params;
#ifdef VEC
alias Value = vec4<f32>;
#else
alias Value = f32;
#endif
@group(0) @binding(0) var<storage, read> sums: array<Value>;
@group(0) @binding(1) var<storage, read> fresh: array<f32>;
@group(0) @binding(2) var<storage, read> total: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;
@group(0) @binding(4) var<storage, read_write> m: array<Value>;
@group(0) @binding(5) var<storage, read_write> e: array<Value>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.k * p.units { return; }
    let k = i / p.units;
    let smoothed = (fresh[k] + p.eps) / (total[0] + f32(p.k) * p.eps) * total[0];
    let sum = p.decay * m[i] + (1.0 - p.decay) * sums[i];
    m[i] = sum;
    e[i] = sum / smoothed;
    if i % p.units == 0u { c[k] = fresh[k]; }
}
