// dz_q[n,:] = (g . u) r / |r|,  dz = g - dz_q,
//   r = z_q - z,  u = v / |v|,  v = r + sigma noise:
//   the gradients of z + |r| u with the direction u held constant
//
// DiVeQ (Vali et al. 2025, equation 6; diveq.wgsl).
//
// z, z_q, noise, g (the gradient that arrives), dz, dz_q: f32 [N, D]. Lengths below eps count as
// eps. One invocation makes one row. Reads 28 N D bytes, writes 8 N D.
struct Params { n: u32, units: u32, sigma: f32, eps: f32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> z: array<Value>;
@group(0) @binding(1) var<storage, read> z_q: array<Value>;
@group(0) @binding(2) var<storage, read> noise: array<Value>;
@group(0) @binding(3) var<storage, read> g: array<Value>;
@group(0) @binding(4) var<storage, read_write> dz: array<Value>;
@group(0) @binding(5) var<storage, read_write> dz_q: array<Value>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let n = linear_index(group, groups, lane, 64u);
    if n >= p.n { return; }
    var rr = 0.0;
    var vv = 0.0;
    var gv = 0.0;
    for (var i = 0u; i < p.units; i += 1u) {
        let at = n * p.units + i;
        let r = z_q[at] - z[at];
        let v = r + p.sigma * noise[at];
        rr += inner(r, r);
        vv += inner(v, v);
        gv += inner(g[at], v);
    }
    let along = gv / max(sqrt(vv), p.eps) / max(sqrt(rr), p.eps);
    for (var i = 0u; i < p.units; i += 1u) {
        let at = n * p.units + i;
        let to_code = along * (z_q[at] - z[at]);
        dz_q[at] = to_code;
        dz[at] = g[at] - to_code;
    }
}
