// offsets[k] = sum over j < k of counts[j], for k in 0..=K
//
// counts: u32 [K], offsets: u32 [K + 1]. One workgroup; an invocation has a run of codes.
const GROUP = 64u;
struct Params { k: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> counts: array<u32>;
@group(0) @binding(1) var<storage, read_write> offsets: array<u32>;
var<workgroup> sums: array<u32, GROUP>;

@compute @workgroup_size(GROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    let run = (p.k + GROUP - 1u) / GROUP;
    let start = min(lane * run, p.k);
    let end = min(start + run, p.k);
    var sum = 0u;
    for (var k = start; k < end; k += 1u) { sum += counts[k]; }
    sums[lane] = sum;
    workgroupBarrier();
    var running = 0u;
    for (var j = 0u; j < lane; j += 1u) { running += sums[j]; }
    for (var k = start; k < end; k += 1u) {
        offsets[k] = running;
        running += counts[k];
    }
    if lane == GROUP - 1u { offsets[p.k] = running; }
}
