// partial[first + group] = sum of x[i]^2 over the group's share of x: the first of two passes of a
//     global norm
//
// x: f32 [N]; partial: f32 [P]. A workgroup sums `share` elements, its invocations every 64th of
// them in four accumulators, and then one another's by a tree: the order depends on N alone. Reads
// 4 N bytes, writes 4 P.
struct Params { n: u32, share: u32, first: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> partial: array<f32>;
const GROUP = 64u;
#import shared/reduce

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = group.x * p.share;
    let end = start + min(p.share, p.n - start);
#unroll s 0 4
    var sum_{s} = 0.0;
#end
    for (var i = start + lane; i < end; i += 256u) {
#unroll s 0 4
        if i + {s}u * 64u < end {
            let x_{s} = x[i + {s}u * 64u];
            sum_{s} += x_{s} * x_{s};
        }
#end
    }
    let total = group_sum((sum_0 + sum_1) + (sum_2 + sum_3), lane);
    if lane == 0u { partial[p.first + group.x] = total; }
}
