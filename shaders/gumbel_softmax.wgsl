// y[n,:] = softmax((l[n,:] + g[n,:]) / tau),  index[n] = argmax of l + g,  kl[n] = KL(softmax(l[n,:]) || uniform)
//
// with standard Gumbel noise g (Jang et al. 2016, equation 2; the KL term as in Ramesh et al. 2021, section 2.1).
//
// l: f32 [R, K], rows row0 .. row0 + R of the whole; y: f32 [R, K]; index: u32 [R]; kl: f32 [R]. One workgroup makes one row:
// first l + g, their maximum and the softmax of l as it runs, then the exponentials, then their share. Reads 4 R K bytes,
// moves y five times.
const GROUP = 64u;
struct Params {
    rows: u32, k: u32, row0: u32, stream: u32,
    step: vec2<u32>, seed: vec2<u32>,
    inv_tau: f32, log_k: f32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> l: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> kl: array<f32>;
#import shared/grid
#import shared/reduce
#import shared/group_max
#import shared/gumbel

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let base = row * p.k;
    var best = LOWEST;
    var best_at = 0u;
    var m = LOWEST;     // the largest logit so far, the sum of exp(l - m), and the sum of that times l - m
    var z = 0.0;
    var s = 0.0;
    for (var block = lane; 4u * block < p.k; block += GROUP) {
        let noise = gumbel_block(block, p.row0 + row);
        for (var j = 0u; j < min(4u, p.k - 4u * block); j += 1u) {
            let k = 4u * block + j;
            let logit = l[base + k];
            if logit > m {
                let shrink = exp(m - logit);
                s = shrink * (s + z * select(m - logit, 0.0, z == 0.0));
                z *= shrink;
                m = logit;
            }
            let e = exp(logit - m);
            z += e;
            s += e * (logit - m);
            let t = (logit + noise[j]) * p.inv_tau;
            y[base + k] = t;
            if t > best {
                best = t;
                best_at = k;
            }
        }
    }
    let top = group_max(best, best_at, lane);
    let m_all = group_max(m, lane, lane).value;
    let shrink = select(exp(m - m_all), 0.0, z == 0.0);
    let z_all = group_sum(z * shrink, lane);
    let s_all = group_sum(shrink * (s + z * select(m - m_all, 0.0, z == 0.0)), lane);
    if lane == 0u {
        index[row] = top.index;
        kl[row] = s_all / z_all - log(z_all) + p.log_k;
    }
    var sum = 0.0;
    for (var block = lane; 4u * block < p.k; block += GROUP) {
        for (var k = 4u * block; k < min(4u * block + 4u, p.k); k += 1u) {
            let e = exp(y[base + k] - top.value);
            y[base + k] = e;
            sum += e;
        }
    }
    let share = 1.0 / group_sum(sum, lane);
    for (var block = lane; 4u * block < p.k; block += GROUP) {
        for (var k = 4u * block; k < min(4u * block + 4u, p.k); k += 1u) { y[base + k] *= share; }
    }
}
