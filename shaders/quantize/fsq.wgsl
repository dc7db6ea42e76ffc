// Finite scalar quantization (Mentzer et al. 2023, section 3.1 and appendix A.1): for channel d
// with L levels
//   bounded = tanh(steepness (z + shift)) half - offset,  half = (L - 1)(1 + eps) / 2,
//     offset = 1/2 for even L and 0 for odd,
//   shift = atanh(offset / half),  digit = round(bounded) + floor(L / 2),
//     code = round(bounded) / floor(L / 2)
//   index = sum over d of digit_d basis_d,  basis_d = L_0 .. L_{d-1}
// with a steepness of 1. At one of 0.8, half = (L - 1) / 2 and shift = 0 it is iFSQ: tanh(0.8 z) =
// 2 sigmoid(1.6 z) - 1 (Lin et al. 2026).
//
// z, codes: f32 [N, D]; levels: vec4 [D] = (half, offset, shift, L); index: u32 [N]. One invocation
// makes one row. Reads 4 N D bytes, writes 4 N (D + 1). FROM_INDEX: codes from indices alone.
struct Params { n: u32, d: u32, steepness: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> levels: array<vec4<f32>>;
#ifdef FROM_INDEX
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> codes: array<f32>;
#else
@group(0) @binding(1) var<storage, read> z: array<f32>;
@group(0) @binding(2) var<storage, read_write> codes: array<f32>;
@group(0) @binding(3) var<storage, read_write> index: array<u32>;
#import shared/tanh
#endif
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let n = linear_index(group, groups, lane, 64u);
    if n >= p.n { return; }
#ifdef FROM_INDEX
    var rest = index[n];
#else
    var sum = 0u;
    var basis = 1u;
#endif
    for (var i = 0u; i < p.d; i += 1u) {
        let level = levels[i];
        let count = u32(level.w);
        let half_width = count / 2u;
#ifdef FROM_INDEX
        let digit = rest % count;
        rest /= count;
        codes[n * p.d + i] = (f32(digit) - f32(half_width)) / f32(half_width);
#else
        let bounded = tanh_of(p.steepness * (z[n * p.d + i] + level.z)) * level.x - level.y;
        // Whatever a NaN becomes as an integer, the index stays in the codebook; its code stays
        // NaN.
        let whole = round(bounded);
        let digit = min(u32(max(whole + f32(half_width), 0.0)), count - 1u);
        codes[n * p.d + i] = whole / f32(half_width);
        sum += digit * basis;
        basis *= count;
#endif
    }
#ifndef FROM_INDEX
    index[n] = sum;
#endif
}
