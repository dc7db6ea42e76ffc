// partial[first + group] = sum of x[i]^2 over the group's share of x: the first of two passes of a
//     global norm
//
// x: f32 [N], as vec4 with VEC, where N is a multiple of 4; partial: f32 [P]. A workgroup sums
// `share` units of x, of which there are n: its invocations every 64th of them in four sums each,
// and then one another's by a tree. The order depends on N and VEC alone. Reads 4 N bytes, writes
// 4 P.
struct Params { n: u32, share: u32, first: u32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read_write> partial: array<f32>;
const GROUP = 64u;
#import shared/reduce

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = group.x * p.share;
    let end = start + min(p.share, p.n - start);
#unroll s 0 4
    var sum_{s} = Value();
#end
#ifdef VEC
    // Rounds that are whole: four loads on their way at a time.
    let rounds = start + (end - start) / 256u * 256u;
    for (var i = start + lane; i < rounds; i += 256u) {
#unroll s 0 4
        let x_{s} = x[i + {s}u * 64u];
#end
#unroll s 0 4
        sum_{s} = fma(x_{s}, x_{s}, sum_{s});
#end
    }
#else
    let rounds = start;
#endif
    for (var i = rounds + lane; i < end; i += 256u) {
#unroll s 0 4
        if i + {s}u * 64u < end {
            let x_{s} = x[i + {s}u * 64u];
            sum_{s} += x_{s} * x_{s};
        }
#end
    }
    let total = group_sum(across((sum_0 + sum_1) + (sum_2 + sum_3)), lane);
    if lane == 0u { partial[p.first + group.x] = total; }
}
