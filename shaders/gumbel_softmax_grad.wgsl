// dl = y (dy - y . dy) / tau + g q (ln q - q . ln q),  q = softmax(l):  the gradients of the Gumbel-softmax y and of the mean
// over N rows of KL(q || uniform)
//
// l, y, dy: f32 [R, K]; dy becomes dl; g: f32 [1], times 1 / N in scale. One workgroup makes one row. Reads 24 R K bytes,
// writes 4 R K.
const GROUP = 64u;
struct Params { rows: u32, k: u32, inv_tau: f32, scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> l: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> dy: array<f32>;
#import shared/grid
#import shared/reduce
#import shared/group_max

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let base = row * p.k;
    var m = LOWEST;
    var along = 0.0;
    for (var k = lane; k < p.k; k += GROUP) {
        m = max(m, l[base + k]);
        along += y[base + k] * dy[base + k];
    }
    let m_all = group_max(m, lane, lane).value;
    let r = group_sum(along, lane);
    var z = 0.0;
    var s = 0.0;
    for (var k = lane; k < p.k; k += GROUP) {
        let t = l[base + k] - m_all;
        z += exp(t);
        s += exp(t) * t;
    }
    let z_all = group_sum(z, lane);
    let s_all = group_sum(s, lane) / z_all;
    let pull = g[0] * p.scale;
    for (var k = lane; k < p.k; k += GROUP) {
        let t = l[base + k] - m_all;
        let soft = y[base + k] * (dy[base + k] - r) * p.inv_tau;
        dy[base + k] = soft + pull * exp(t) / z_all * (t - s_all);
    }
}
