// codes[n,d] = 1 where x[n,d] > 0, else -1;
//   index[n] = the bits codes > 0 as a number, channel 0 the highest
// (lookup-free quantization, Yu et al. 2023, "Language model beats diffusion", equations 3 and 4)
//
// x, codes: f32 [N, D], D at most 24; index: u32 [N]. One invocation makes one row. Reads 4 N D
// bytes, writes 4 N (D + 1). FROM_INDEX: codes from indices alone.
struct Params { n: u32, d: u32 }
var<immediate> p: Params;
#ifdef FROM_INDEX
@group(0) @binding(0) var<storage, read> index: array<u32>;
@group(0) @binding(1) var<storage, read_write> codes: array<f32>;
#else
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> codes: array<f32>;
@group(0) @binding(2) var<storage, read_write> index: array<u32>;
#endif
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let n = linear_index(group, groups, lane, 64u);
    if n >= p.n { return; }
#ifdef FROM_INDEX
    let word = index[n];
    for (var i = 0u; i < p.d; i += 1u) {
        codes[n * p.d + i] = select(-1.0, 1.0, ((word >> (p.d - 1u - i)) & 1u) == 1u);
    }
#else
    var word = 0u;
    for (var i = 0u; i < p.d; i += 1u) {
        let on = x[n * p.d + i] > 0.0;
        codes[n * p.d + i] = select(-1.0, 1.0, on);
        word = (word << 1u) | select(0u, 1u, on);
    }
    index[n] = word;
#endif
}
