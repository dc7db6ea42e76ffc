// y[i] = a[i] + b[i], or a[i] += b[i] with IN_PLACE
//
// a, b, y: f32 [N], u32 with COUNTS. One invocation makes four elements. Reads 8 N bytes, writes 4
// N.
struct Params { n: u32 }
var<immediate> p: Params;
#ifdef COUNTS
alias Number = u32;
#else
alias Number = f32;
#endif
#ifdef IN_PLACE
@group(0) @binding(0) var<storage, read_write> a: array<Number>;
@group(0) @binding(1) var<storage, read> b: array<Number>;
#else
@group(0) @binding(0) var<storage, read> a: array<Number>;
@group(0) @binding(1) var<storage, read> b: array<Number>;
@group(0) @binding(2) var<storage, read_write> y: array<Number>;
#endif
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let start = linear_group(group, groups) * 256u + lane;
#unroll s 0 4
    let i_{s} = start + {s}u * 64u;
    if i_{s} < p.n {
#ifdef IN_PLACE
        a[i_{s}] += b[i_{s}];
#else
        y[i_{s}] = a[i_{s}] + b[i_{s}];
#endif
    }
#end
}
