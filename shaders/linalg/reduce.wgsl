// parts[i] = sum over j = i, i + P, i + 2 P, .. of term(a[j], b[j]),
//   by default term = a, with SQUARED (a - b)^2, with ABSOLUTE |a - b|, with PRODUCT a b
//
// a, b: f32 [N] (as vec4 with VEC, where N is a multiple of 4), parts: f32 [P]. One invocation
// makes one part. Reads 4 N or 8 N bytes, writes 4 P. reduce_finish adds the parts.
struct Params { n: u32, parts: u32 }
var<immediate> p: Params;
#ifdef VEC
alias Value = vec4<f32>;
#else
alias Value = f32;
#endif
@group(0) @binding(0) var<storage, read> a: array<Value>;
@group(0) @binding(1) var<storage, read_write> parts: array<f32>;
#ifdef PAIR
@group(0) @binding(2) var<storage, read> b: array<Value>;
#endif
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.parts { return; }
    var sum = Value();
    for (var j = i; j < p.n; j += p.parts) {
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
#ifdef VEC
    parts[i] = (sum.x + sum.y) + (sum.z + sum.w);
#else
    parts[i] = sum;
#endif
}
