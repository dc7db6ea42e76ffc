// f[n,k] = -T |x_n - e_k|, or with COSINE T x_n . e_k;  q[n,:] = softmax(f[n,:])
//   PROB    s <- q
//   GRAD    of sum over k of u[k] mean over n of q[n,k]: with dq = q (u - q . u) / N,
//           s <- -T dq / |x_n - e_k| (COSINE: -T dq), sums[n] = the row's sum (COSINE: 0),
//           from which dx = sums x - s e
//   SAMPLE  index[n] = argmax of f + Gumbel noise: a draw from q
//           (Gumbel 1954; Maddison et al. 2014)
//
// s: f32 [R, K], x . e; hx: f32 [R] and he: f32 [K], half the squared norms. One workgroup makes
// one row. Distances below 1e-4 count as that, and have no gradient.
const GROUP = 64u;
struct Params {
    rows: u32, k: u32, row0: u32, stream: u32,
    step: vec2<u32>, seed: vec2<u32>,
    t: f32, scale: f32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> hx: array<f32>;
@group(0) @binding(1) var<storage, read> he: array<f32>;
#ifdef SAMPLE
@group(0) @binding(2) var<storage, read> s: array<f32>;
@group(0) @binding(3) var<storage, read_write> index: array<u32>;
#import shared/gumbel
#else
@group(0) @binding(2) var<storage, read_write> s: array<f32>;
#import shared/reduce
#endif
#ifdef GRAD
@group(0) @binding(3) var<storage, read> u: array<f32>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;
#endif
#import shared/grid
#import shared/group_max

fn distance_squared(row: u32, k: u32) -> f32 { return 2.0 * (hx[row] + he[k] - s[row * p.k + k]); }
fn score(row: u32, k: u32) -> f32 {
#ifdef COSINE
    return p.t * s[row * p.k + k];
#else
    return -p.t * sqrt(max(distance_squared(row, k), 1e-8));
#endif
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let base = row * p.k;
    var best = LOWEST;
    var best_at = 0u;
#ifdef SAMPLE
    for (var block = lane; 4u * block < p.k; block += GROUP) {
        let noise = gumbel_block(block, p.row0 + row);
        for (var j = 0u; j < min(4u, p.k - 4u * block); j += 1u) {
            let v = score(row, 4u * block + j) + noise[j];
            if v > best {
                best = v;
                best_at = 4u * block + j;
            }
        }
    }
    let top = group_max(best, best_at, lane);
    if lane == 0u { index[row] = top.index; }
#else
    for (var k = lane; k < p.k; k += GROUP) { best = max(best, score(row, k)); }
    let top = group_max(best, lane, lane).value;
    var z = 0.0;
    for (var k = lane; k < p.k; k += GROUP) { z += exp(score(row, k) - top); }
    let share = 1.0 / group_sum(z, lane);
#endif
#ifdef PROB
    for (var k = lane; k < p.k; k += GROUP) { s[base + k] = exp(score(row, k) - top) * share; }
#endif
#ifdef GRAD
    var along = 0.0;
    for (var k = lane; k < p.k; k += GROUP) { along += exp(score(row, k) - top) * share * u[k]; }
    let mean = group_sum(along, lane);
    var sum = 0.0;
    for (var k = lane; k < p.k; k += GROUP) {
        let dq = exp(score(row, k) - top) * share * (u[k] - mean) * p.scale;
#ifdef COSINE
        s[base + k] = -p.t * dq;
#else
        let d2 = distance_squared(row, k);
        let r = select(0.0, -p.t * dq / sqrt(max(d2, 1e-8)), d2 > 1e-8);
        s[base + k] = r;
        sum += r;
#endif
    }
    let total = group_sum(sum, lane);
    if lane == 0u { sums[row] = total; }
#endif
}
