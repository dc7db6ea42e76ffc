// dz[n,:] = s (g - 2 (g . w) w + 2 (g . q) u),
//   u = z / |z|, q = z_q / |z_q|, w = (u + q) / |u + q|, s = |z_q| / |z|
//
// The rotation trick: z_q = s R z, where the rotation R takes u to q, with R and s held constant
// (Fifty et al. 2024, "Restructuring vector quantization with the rotation trick", section 4.2).
// This is the adjoint of s R.
//
// z, z_q, g (the gradient that arrives at z_q), dz: f32 [N, D]. Lengths below eps count as eps. One
// invocation makes one row. Reads 32 N D bytes, writes 4 N D.
struct Params { n: u32, units: u32, eps: f32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> z: array<Value>;
@group(0) @binding(1) var<storage, read> z_q: array<Value>;
@group(0) @binding(2) var<storage, read> g: array<Value>;
@group(0) @binding(3) var<storage, read_write> dz: array<Value>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let n = linear_index(group, groups, lane, 64u);
    if n >= p.n { return; }
    var zz = 0.0;
    var qq = 0.0;
    for (var i = 0u; i < p.units; i += 1u) {
        let a = z[n * p.units + i];
        let b = z_q[n * p.units + i];
        zz += inner(a, a);
        qq += inner(b, b);
    }
    let z_length = max(sqrt(zz), p.eps);
    let q_length = max(sqrt(qq), p.eps);
    // |u + q| from its elements: from 2 + 2 u.q it would cancel where the two are opposite.
    var ww = 0.0;
    var gu = 0.0;
    var gq = 0.0;
    for (var i = 0u; i < p.units; i += 1u) {
        let u = z[n * p.units + i] / z_length;
        let q = z_q[n * p.units + i] / q_length;
        ww += inner(u + q, u + q);
        gu += inner(g[n * p.units + i], u);
        gq += inner(g[n * p.units + i], q);
    }
    let w_length = max(sqrt(ww), p.eps);
    let along_w = 2.0 * (gu + gq) / (w_length * w_length);
    let s = q_length / z_length;
    for (var i = 0u; i < p.units; i += 1u) {
        let at = n * p.units + i;
        let u = z[at] / z_length;
        let q = z_q[at] / q_length;
        dz[at] = s * (g[at] - along_w * (u + q) + 2.0 * gq * u);
    }
}
