// y[0] = scale * sum over i of parts[i]
//
// parts: f32 [P], y: f32 [1]. One workgroup; its tree has a fixed shape. Reads 4 P bytes.
const GROUP = 64u;
struct Params { parts: u32, scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> parts: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#import shared/reduce

@compute @workgroup_size(GROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < p.parts; i += GROUP) { sum += parts[i]; }
    let total = group_sum(sum, lane);
    if lane == 0u { y[0] = total * p.scale; }
}
