// T[n,j] = product over i < B of (bit i of j ? q_i : 1 - q_i),
//   q_i = sigmoid(a x[n, first + i]), bit 0 the highest of B
//
// The probabilities of B bits together. Two such tables multiply to the probabilities of all codes,
// so the codes' mean use is a matrix product of them and never an N x K matrix.
//
// x: f32 [N, D]; T: f32 [N, 2^B]. One invocation makes one element, B at most 12. GRAD:
// dx[n, first + i] = a sum over j of g[n,j] T[n,j] (bit i of j ? 1 - q_i : -q_i), other channels 0;
// g, T: f32 [N, 2^B], dx: f32 [N, D]; one invocation makes one element.
struct Params { n: u32, d: u32, first: u32, bits: u32, a: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
#ifdef GRAD
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
#else
@group(0) @binding(1) var<storage, read_write> table: array<f32>;
#endif
#import shared/grid
#import shared/sigmoid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let at = linear_index(group, groups, lane, 64u);
    let width = 1u << p.bits;
#ifdef GRAD
    if at >= p.n * p.d { return; }
    let n = at / p.d;
    let channel = at % p.d;
    if channel < p.first || channel >= p.first + p.bits {
        dx[at] = 0.0;
        return;
    }
    let i = channel - p.first;
    let on = sigmoid(p.a * x[at]);
    let off = sigmoid(-p.a * x[at]);
    var sum = 0.0;
    for (var j = 0u; j < width; j += 1u) {
        let bit = ((j >> (p.bits - 1u - i)) & 1u) == 1u;
        sum += g[n * width + j] * table[n * width + j] * select(-on, off, bit);
    }
    dx[at] = p.a * sum;
#else
    if at >= p.n * width { return; }
    let n = at / width;
    let j = at % width;
    var product = 1.0;
    for (var i = 0u; i < p.bits; i += 1u) {
        let t = p.a * x[n * p.d + p.first + i];
        product *= sigmoid(select(-t, t, ((j >> (p.bits - 1u - i)) & 1u) == 1u));
    }
    table[at] = product;
#endif
}
