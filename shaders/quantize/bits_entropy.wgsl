// H[n] = sum over d of H(q_d),  q_d = sigmoid(a x[n,d]),  H(q) = -q ln q - (1 - q) ln(1 - q)
//
// The codes of lookup-free quantization are all sign vectors, so their softmax splits into
// independent bits, and so does its entropy: exact, where K terms would be summed.
//
// x: f32 [N, D]; GRAD: dx[n,d] = -g a^2 x q (1 - q) with g: f32 [1] times 1 / N, else H: f32 [N].
// One invocation makes one row, or with GRAD one element. Reads 4 N D bytes, writes as many or 4 N.
struct Params { n: u32, d: u32, a: f32, scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
#ifdef GRAD
@group(0) @binding(1) var<storage, read> g: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
#else
@group(0) @binding(1) var<storage, read_write> h: array<f32>;
#endif
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
#ifdef GRAD
    if i >= p.n * p.d { return; }
    let t = abs(p.a * x[i]);
    let small = exp(-min(t, 80.0));
    let spread = small / ((1.0 + small) * (1.0 + small));
    dx[i] = -g[0] * p.scale * p.a * p.a * x[i] * spread;
#else
    if i >= p.n { return; }
    var sum = 0.0;
    for (var j = 0u; j < p.d; j += 1u) {
        // With t = |a x| and e = exp(-t), H = ln(1 + e) + t e / (1 + e): nothing cancels.
        let t = abs(p.a * x[i * p.d + j]);
        let small = exp(-min(t, 80.0));
        sum += log(1.0 + small) + t * small / (1.0 + small);
    }
    h[i] = sum;
#endif
}
