// y[i] = sum over s of parts[s, i], in the order of s; with WALKERS, of so many sums in the order
//     of w, each of parts[s, i] over s = w, w + WALKERS, ..
//
// parts: f32 [S, N], y: f32 [N], as vec4 with VEC, where N is a multiple of 4. One invocation makes
// one unit of y, or, with WALKERS, so many do. Reads 4 S N bytes, writes 4 N.
struct Params { units: u32, splits: u32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> parts: array<Value>;
@group(0) @binding(1) var<storage, read_write> y: array<Value>;
#import shared/grid
#ifdef WALKERS
const ACROSS = 64u / WALKERS;
var<workgroup> walked: array<Value, 64>;
#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    var sum = Value();
#ifdef WALKERS
    let i = linear_group(group, groups) * ACROSS + lane % ACROSS;
    let walker = lane / ACROSS;
    if i < p.units {
        for (var s = walker; s < p.splits; s += WALKERS) { sum += parts[s * p.units + i]; }
    }
    walked[lane] = sum;
    workgroupBarrier();
    if walker > 0u || i >= p.units { return; }
    for (var w = 1u; w < WALKERS; w += 1u) { sum += walked[w * ACROSS + lane]; }
#else
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.units { return; }
    for (var s = 0u; s < p.splits; s += 1u) { sum += parts[s * p.units + i]; }
#endif
    y[i] = sum;
}
