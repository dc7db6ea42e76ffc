// dx[n,k] = g[n] w[n] (exp(x[n,k] - max - log z) - b - a [k = t]),  the gradient of cross_entropy
//
// x: f32 [N, V]; target: u32 [N]; stats: f32 [N, 2] = (max, log z); g: f32 [N], the upstream
// gradient; w: f32 [N], 1 without WEIGHTED; dx: f32 [N, V], which IN_PLACE is x itself. One
// workgroup makes one row. An ignored row is 0, one whose target is past V is NaN. Reads 4 N V
// bytes, writes as many.
struct Params { rows: u32, v: u32, ignore: u32, ignoring: u32, a: f32, b: f32 }
var<immediate> p: Params;
#import loss/cross_entropy/logits
@group(0) @binding(1) var<storage, read> target_of: array<u32>;
@group(0) @binding(2) var<storage, read> stats: array<f32>;
@group(0) @binding(3) var<storage, read> g: array<f32>;
#ifdef WEIGHTED
@group(0) @binding(4) var<storage, read> weight: array<f32>;
#endif
#ifndef IN_PLACE
@group(0) @binding(5) var<storage, read_write> dx: array<Logits>;
#endif
#import shared/grid

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let t = target_of[row];
    let top = stats[2u * row];
    let log_z = stats[2u * row + 1u];
    var scale = g[row];
#ifdef WEIGHTED
    scale *= weight[row];
#endif
    if t >= p.v { scale = bitcast<f32>(0x7fc00000u | min(t, 0u)); }
    let ignored = p.ignoring == 1u && t == p.ignore;
    for (var i = lane; i < (p.v + 3u) / 4u; i += GROUP) {
        let k = 4u * i + vec4<u32>(0u, 1u, 2u, 3u);
        let one = select(vec4<f32>(p.b), vec4<f32>(p.a + p.b), k == vec4<u32>(t));
        let d = select((exp(logits(row, i) - top - log_z) - one) * scale, vec4<f32>(), ignored);
#ifdef VEC
#ifdef IN_PLACE
        x[row * (p.v / 4u) + i] = d;
#else
        dx[row * (p.v / 4u) + i] = d;
#endif
#else
#unroll j 0 4
#ifdef IN_PLACE
        if k[{j}] < p.v { x[row * p.v + k[{j}]] = d[{j}]; }
#else
        if k[{j}] < p.v { dx[row * p.v + k[{j}]] = d[{j}]; }
#endif
#end
#endif
    }
}
