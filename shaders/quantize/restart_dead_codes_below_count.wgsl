// y = how many of x are below a threshold, or NaN
//
// x: f32 [K], y: f32 [1]. One workgroup. Reads 4 K bytes.
const GROUP = 64u;
struct Params { k: u32, threshold: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#import shared/reduce

@compute @workgroup_size(GROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    var count = 0.0;
    for (var i = lane; i < p.k; i += GROUP) { count += select(1.0, 0.0, x[i] >= p.threshold); }
    let total = group_sum(count, lane);
    if lane == 0u { y[0] = total; }
}
