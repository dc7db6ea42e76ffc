// report = [norm, factor, finite]: norm = sqrt(sum of partial),
//     factor = min(1, max_norm / (norm + 1e-6))
//
// The second of two passes of a global norm. Where the sum is not finite, factor and finite are 0
// (else finite is 1) and the norm is what it is. partial: f32 [P]; report: f32 [3]. One workgroup.
// Reads 4 P bytes, writes 12.
struct Params { partials: u32, max_norm: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> report: array<f32>;
const GROUP = 64u;
#import shared/reduce

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < p.partials; i += 64u) { sum += partial[i]; }
    let total = group_sum(sum, lane);
    if lane != 0u { return; }
    // By its bits: drivers may assume that there is no NaN.
    let finite = (bitcast<u32>(total) & 0x7f800000u) != 0x7f800000u;
    let norm = sqrt(total);
    report[0] = norm;
    report[1] = select(0.0, min(1.0, p.max_norm / (norm + 1e-6)), finite);
    report[2] = select(0.0, 1.0, finite);
}
