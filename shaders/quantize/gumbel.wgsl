// y[n,:] = softmax((l[n,:] + g[n,:]) / tau),  index[n] = argmax of l + g,
//   kl[n] = KL(softmax(l[n,:]) || uniform)
//
// with standard Gumbel noise g (Jang et al. 2016, equation 2; the KL term as in Ramesh et al. 2021,
// section 2.1). PLAIN: g is 0, and y the softmax of l / tau itself.
//
// l: f32 [R, K], rows row0 .. row0 + R of the whole; y: f32 [R, K]; index: u32 [R]; kl: f32 [R].
// One workgroup makes one row, four codes at a time to an invocation, which VEC loads and stores at
// once where 4 divides K: first (l + g) / tau and the maxima, then the exponentials and their sums,
// then their share. Reads 8 R K bytes, moves y four times.
const GROUP = 64u;
struct Params {
    rows: u32, k: u32, row0: u32, stream: u32,
    step: vec2<u32>, seed: vec2<u32>,
    inv_tau: f32, log_k: f32,
}
var<immediate> p: Params;
#ifdef VEC
@group(0) @binding(0) var<storage, read> l: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
#else
@group(0) @binding(0) var<storage, read> l: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#endif
@group(0) @binding(2) var<storage, read_write> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> kl: array<f32>;
#import shared/grid
#import shared/reduce
#import shared/group_max
#ifndef PLAIN
#import shared/gumbel
#endif

// Past the last code stands what no code loses to.
#for (x, past) in (l, LOWEST) (y, LOWEST)
#import quantize/gumbel/rows
#end
#for x in y
#import quantize/gumbel/store
#end

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let base = row * p.k;
    var best = LOWEST;
    var best_at = 0u;
    var m = LOWEST;
    for (var block = lane; 4u * block < p.k; block += GROUP) {
        let logit = load_l(base, block);
#ifdef PLAIN
        let t = logit * p.inv_tau;
#else
        let t = (logit + gumbel_block(block, p.row0 + row)) * p.inv_tau;
#endif
        store_y(base, block, t);
        m = max(m, max(max(logit.x, logit.y), max(logit.z, logit.w)));
#unroll j 0 4
        {
            let wins = t[{j}] > best;
            best = select(best, t[{j}], wins);
            best_at = select(best_at, 4u * block + {j}u, wins);
        }
#end
    }
    let top = group_max(best, best_at, lane);
    let m_all = group_max(m, lane, lane).value;
    var sum = 0.0;      // of exp(y - top), and of exp(l - m) and that times l - m
    var z = 0.0;
    var s = 0.0;
    for (var block = lane; 4u * block < p.k; block += GROUP) {
        let e = exp(load_y(base, block) - top.value);
        store_y(base, block, e);
        sum += dot(e, vec4<f32>(1.0));
#import quantize/gumbel/moments
    }
    let share = 1.0 / group_sum(sum, lane);
    let z_all = group_sum(z, lane);
    let s_all = group_sum(s, lane);
    if lane == 0u {
        index[row] = top.index;
        kl[row] = s_all / z_all - log(z_all) + p.log_k;
    }
    for (var block = lane; 4u * block < p.k; block += GROUP) {
        store_y(base, block, load_y(base, block) * share);
    }
}
