// loss[n] = w[n] (log z - a l_t - b sum over k of l_k),  l_k = x[n,k] - max x[n,:],
//   z = sum of exp l_k,  t = target[n]
//
// with a = 1 - s and b = s / V for label smoothing s (Szegedy et al. 2016, section 7); w is 1
//     without WEIGHTED.
//
// x: f32 [N, V]; target: u32 [N]; loss: f32 [N]; stats: f32 [N, 2] = (max, log z), whose sum is
// log-sum-exp; w: f32 [N]. One workgroup makes one row in one walk: each invocation keeps its
// maximum and the sums under it (Milakov and Gimelshein 2018), four values at a time. An ignored
// row has loss 0, a target past V NaN. Reads 4 N V bytes, writes 12 N.
struct Params { rows: u32, v: u32, ignore: u32, ignoring: u32, a: f32, b: f32 }
var<immediate> p: Params;
#import loss/cross_entropy/logits
@group(0) @binding(1) var<storage, read> target_of: array<u32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
@group(0) @binding(3) var<storage, read_write> stats: array<f32>;
#ifdef WEIGHTED
@group(0) @binding(4) var<storage, read> weight: array<f32>;
#endif
#import shared/grid
#import shared/reduce
#import shared/group_max

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    var m = LOWEST;
    var z = 0.0;
    var sum = 0.0;      // of x - m, and how many they are
    var count = 0.0;
    for (var i = lane; i < (p.v + 3u) / 4u; i += GROUP) {
        let l = logits(row, i);
        let top = max(m, max(max(l.x, l.y), max(l.z, l.w)));
        let e = exp(l - top);
        z = fma(z, exp(m - top), (e.x + e.y) + (e.z + e.w));
#ifdef SMOOTH
        let d = select(vec4<f32>(), l - top, within(i));
        sum += count * (m - top) + ((d.x + d.y) + (d.z + d.w));
        count += f32(min(p.v - 4u * i, 4u));
#endif
        m = top;
    }
    let all = group_max(m, lane, lane).value;
    let log_z = log(group_sum(z * exp(m - all), lane));
#ifdef SMOOTH
    let spread = group_sum(select(sum + count * (m - all), 0.0, count == 0.0), lane);
#else
    let spread = 0.0;
#endif
    if lane > 0u { return; }
    stats[2u * row] = all;
    stats[2u * row + 1u] = log_z;
    let t = target_of[row];
    var y = log_z - p.a * (logit(row, min(t, p.v - 1u)) - all) - p.b * spread;
#ifdef WEIGHTED
    y *= weight[row];
#endif
    // NaN by its bits, and none that the compiler could fold.
    if t >= p.v { y = bitcast<f32>(0x7fc00000u | min(t, 0u)); }
    if p.ignoring == 1u && t == p.ignore { y = 0.0; }
    loss[row] = y;
}
