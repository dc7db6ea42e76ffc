// y = - sum over i of p[i] ln max(p[i], eps)
//
// p: f32 [K], y: f32 [1]. One workgroup; its tree has a fixed shape. Reads 4 K bytes. GRAD: dp[i] =
// -g (ln max(p[i], eps) + (p[i] > eps ? 1 : 0)), g: f32 [1], dp: f32 [K]. One invocation makes one
// element.
const GROUP = 64u;
struct Params { k: u32, eps: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
#ifdef GRAD
@group(0) @binding(1) var<storage, read> g: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
#import shared/grid
#else
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#import shared/reduce
#endif

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#ifdef GRAD
    let i = linear_index(group, groups, lane, GROUP);
    if i >= p.k { return; }
    dx[i] = -g[0] * (log(max(x[i], p.eps)) + select(0.0, 1.0, x[i] > p.eps));
#else
    var sum = 0.0;
    for (var i = lane; i < p.k; i += GROUP) { sum -= x[i] * log(max(x[i], p.eps)); }
    let h = group_sum(sum, lane);
    if lane == 0u { y[0] = h; }
#endif
}
