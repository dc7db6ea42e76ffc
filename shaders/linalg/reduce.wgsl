// parts[i] = sum over j = i, i + P, i + 2 P, .. of term(a[j], b[j]),
//   by default term = a, with SQUARED (a - b)^2, with ABSOLUTE |a - b|, with PRODUCT a b
//
// a, b: f32 [N] (as vec4 with VEC, where N is a multiple of 4), parts: f32 [P]. One invocation
// makes one part; with GROUP a workgroup does, whose invocations are as many of the above, and add
// what they found by a tree. Reads 4 N or 8 N bytes, writes 4 P. reduce_finish adds the parts.
struct Params { n: u32, parts: u32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> a: array<Value>;
@group(0) @binding(1) var<storage, read_write> parts: array<f32>;
#ifdef PAIR
@group(0) @binding(2) var<storage, read> b: array<Value>;
#endif
#import shared/grid
#ifdef GROUP
#import shared/reduce
#endif

#ifdef GROUP
@compute @workgroup_size(GROUP)
#else
@compute @workgroup_size(64)
#endif
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#ifdef GROUP
    let part = linear_group(group, groups);
    if part >= p.parts { return; }
    let i = part * GROUP + lane;
    let stride = p.parts * GROUP;
#else
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.parts { return; }
    let stride = p.parts;
#endif
    var sum = Value();
    for (var j = i; j < p.n; j += stride) {
#ifdef SQUARED
        let difference = a[j] - b[j];
        sum += difference * difference;
#elif ABSOLUTE
        sum += abs(a[j] - b[j]);
#elif PRODUCT
        sum += a[j] * b[j];
#else
        sum += a[j];
#endif
    }
#ifdef GROUP
    let total = group_sum(across(sum), lane);
    if lane == 0u { parts[part] = total; }
#else
    parts[i] = across(sum);
#endif
}
