// y[0] = factor clamp(a[0] / (b[0] + 1e-4), 0, 1e4),  0 where a norm is not finite
//
// a, b: f32 [3], reports of a global norm: norm, factor, finite. y: f32 [1]. One invocation works.
struct Params { factor: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(1)
fn main() {
    let finite = a[2] > 0.0 && b[2] > 0.0;
    y[0] = select(0.0, p.factor * clamp(a[0] / (b[0] + 1e-4), 0.0, 1e4), finite);
}
