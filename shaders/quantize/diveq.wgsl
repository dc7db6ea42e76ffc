// y[n,:] = z + |z_q - z| v / |v|,  v = z_q - z + sigma noise:
//   the code, but for the direction in which it lies from the latent, which noise turns a little
//
// DiVeQ (Vali et al. 2025, "DiVeQ: differentiable vector quantization using the reparameterization
// trick", equation 6).
//
// z, z_q, noise (standard normal), y: f32 [N, D]. Lengths of v below eps count as eps. One
// invocation makes one row. Reads 24 N D bytes, writes 4 N D.
struct Params { n: u32, units: u32, sigma: f32, eps: f32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> z: array<Value>;
@group(0) @binding(1) var<storage, read> z_q: array<Value>;
@group(0) @binding(2) var<storage, read> noise: array<Value>;
@group(0) @binding(3) var<storage, read_write> y: array<Value>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let n = linear_index(group, groups, lane, 64u);
    if n >= p.n { return; }
    var rr = 0.0;
    var vv = 0.0;
    for (var i = 0u; i < p.units; i += 1u) {
        let at = n * p.units + i;
        let r = z_q[at] - z[at];
        let v = r + p.sigma * noise[at];
        rr += inner(r, r);
        vv += inner(v, v);
    }
    let scale = sqrt(rr) / max(sqrt(vv), p.eps);
    for (var i = 0u; i < p.units; i += 1u) {
        let at = n * p.units + i;
        let v = z_q[at] - z[at] + p.sigma * noise[at];
        y[at] = z[at] + scale * v;
    }
}
