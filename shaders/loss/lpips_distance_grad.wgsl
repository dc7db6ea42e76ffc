// da[n,c] = (q[n,c] - r (q[n,:] . r) / (|r| (|r| + eps))) / (|r| + eps) where a[n,c] > 0, else 0;
//   q = 2 g[n] w (u - v)
//
// with r, u and v as lpips_distance has them; the gradient to b is that with a and b in each
// other's place.
//
// a, b, da: f32 [N, C], a and b f16 with AB_HALF, w: f32 [C], g: [N]. One invocation makes one row,
// in three walks. A row without a positive element has gradient 0. Reads 24 N C bytes, half as many
// of f16, writes 4 N C.
#import loss/lpips_distance/rows
@group(0) @binding(3) var<storage, read> g: array<f32>;
@group(0) @binding(4) var<storage, read_write> da: array<Value>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let n = linear_index(group, groups, lane, 64u);
    if n >= p.n { return; }
    let length = lengths_of(n);
    let over = length + p.eps;
    let twice = 2.0 * g[n];
    var along = 0.0;
    for (var i = 0u; i < p.units; i += 1u) {
        let r = rectified(a[n * p.units + i]);
        along += inner(twice * w[i] * (r / over.x - rectified(b[n * p.units + i]) / over.y), r);
    }
    let share = select(0.0, along / (length.x * over.x), length.x > 0.0);
    for (var i = 0u; i < p.units; i += 1u) {
        let at = n * p.units + i;
        let r = rectified(a[at]);
        let q = twice * w[i] * (r / over.x - rectified(b[at]) / over.y);
        da[at] = select((q - r * share) / over.x, Value(), Value(a[at]) <= Value());
    }
}
