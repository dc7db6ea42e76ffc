// dl = y (dy - y . dy) / tau + g q (ln q - q . ln q),
//   q = softmax(l):  the gradients of the Gumbel-softmax y and of the mean
// over N rows of KL(q || uniform)
//
// l, y, dy: f32 [R, K]; dy becomes dl; g: f32 [1], times 1 / N in scale. One workgroup makes one
// row, four codes at a time to an invocation, which VEC loads and stores at once where 4 divides K.
// Reads 28 R K bytes, writes 4 R K.
const GROUP = 64u;
struct Params { rows: u32, k: u32, inv_tau: f32, scale: f32 }
var<immediate> p: Params;
#ifdef VEC
@group(0) @binding(0) var<storage, read> l: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> dy: array<vec4<f32>>;
#else
@group(0) @binding(0) var<storage, read> l: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> dy: array<f32>;
#endif
#import shared/grid
#import shared/reduce
#import shared/group_max

// Past the last code stands what adds nothing.
#for (x, past) in (l, LOWEST) (y, 0.0) (dy, 0.0)
#import quantize/gumbel/rows
#end
#for x in dy
#import quantize/gumbel/store
#end

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let base = row * p.k;
    var m = LOWEST;
    var along = 0.0;
    for (var block = lane; 4u * block < p.k; block += GROUP) {
        let logit = load_l(base, block);
        m = max(m, max(max(logit.x, logit.y), max(logit.z, logit.w)));
        along += dot(load_y(base, block), load_dy(base, block));
    }
    let m_all = group_max(m, lane, lane).value;
    let r = group_sum(along, lane);
    var z = 0.0;
    var s = 0.0;
    for (var block = lane; 4u * block < p.k; block += GROUP) {
#import quantize/gumbel/moments
    }
    let z_all = group_sum(z, lane);
    let s_all = group_sum(s, lane) / z_all;
    let pull = g[0] * p.scale / z_all;
    for (var block = lane; 4u * block < p.k; block += GROUP) {
        let t = max(load_l(base, block) - m_all, vec4<f32>(-1e4));
        let soft = load_y(base, block) * (load_dy(base, block) - r) * p.inv_tau;
        store_dy(base, block, soft + pull * exp(t) * (t - s_all));
    }
}
