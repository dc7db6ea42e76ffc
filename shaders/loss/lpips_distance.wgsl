// y[n] = sum over c of w[c] (u[n,c] - v[n,c])^2,  u[n,:] = r / (|r| + eps) of r = max(a[n,:], 0),
//   v likewise of b
//
// The distance of two images' features at a place (Zhang et al. 2018, equation 1).
//
// a, b: f32 [N, C], or f16 with AB_HALF, w: f32 [C], y: [N]. One invocation makes one row, in two
// walks: the lengths first, so that near rows differ by what they differ by. Reads 16 N C bytes,
// half as many of f16, writes 4 N.
#import loss/lpips_distance/rows
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let n = linear_index(group, groups, lane, 64u);
    if n >= p.n { return; }
    let lengths = lengths_of(n) + p.eps;
    var sum = 0.0;
    for (var i = 0u; i < p.units; i += 1u) {
        let d = rectified(a[n * p.units + i]) / lengths.x
            - rectified(b[n * p.units + i]) / lengths.y;
        sum += inner(w[i] * d, d);
    }
    y[n] = sum;
}
