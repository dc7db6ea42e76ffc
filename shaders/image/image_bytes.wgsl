// y[i] = the nearest of 0..=255 to (x[i] + 1) 127.5; beyond [-1, 1] the nearest end, and 0 for NaN
//
// x: f32 [N]; y: u8 [N], four to a word, of which the last is filled up with 0. One invocation
// makes one word. Reads 4 N bytes, writes N.
struct Params { n: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<u32>;   // the bits, so that NaN is seen
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
#import shared/grid

fn byte(bits: u32) -> u32 {
    if (bits & 0x7fffffffu) > 0x7f800000u { return 0u; }
    let v = (clamp(bitcast<f32>(bits), -1.0, 1.0) + 1.0) * 127.5;
    return u32(floor(v + 0.5));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let word = linear_index(group, groups, lane, 64u);
    // The first test keeps `i` from wrapping where N is close to 2^32.
    if word > (p.n - 1u) / 4u { return; }
    let i = word * 4u;
    var v = 0u;
#unroll s 0 4
    if {s}u < p.n - i { v |= byte(x[i + {s}u]) << ({s}u * 8u); }
#end
    y[word] = v;
}
