// y[i] = x[i] in another float type:  NARROW f32 to 16 bits, WIDEN 16 bits to f32;
//   16 bits are f16, or bfloat16 with BRAIN
//
// x, y: [N], words of 32 bits that hold one f32 or two 16-bit floats, the first in the low half.
// Narrowing rounds to the nearest, ties to even, to infinity past the largest, and keeps subnormals
// and NaN: integers do it, so that every device gives the same bits and none needs SHADER_F16.
// Widening is exact. One invocation makes two elements. Reads and writes 6 N bytes in all.
struct Params { n: u32 }
var<immediate> p: Params;
// Two 16-bit floats. The engine knows by this name what a buffer holds.
struct Halves { bits: u32 }
#ifdef WIDEN
@group(0) @binding(0) var<storage, read> x: array<Halves>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
#else
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<Halves>;
#endif
#import shared/grid

#ifdef BRAIN
// bfloat16 is the upper half of an f32.
fn narrow(bits: u32) -> u32 {
    if (bits & 0x7fffffffu) > 0x7f800000u { return (bits >> 16u) | 0x40u; }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}
fn widen(half: u32) -> u32 { return half << 16u; }
#else
#import shared/narrow
fn widen(half: u32) -> u32 {
    let sign = (half & 0x8000u) << 16u;
    let exponent = (half >> 10u) & 31u;
    let mantissa = half & 0x3ffu;
    if exponent == 31u { return sign | 0x7f800000u | (mantissa << 13u); }
    if exponent == 0u { return sign | bitcast<u32>(f32(mantissa) * 5.9604645e-8); }
    return sign | ((exponent + 112u) << 23u) | (mantissa << 13u);
}
#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let word = linear_group(group, groups) * 64u + lane;
    let i = 2u * word;
    if i >= p.n { return; }
    let second = i + 1u < p.n;
#ifdef WIDEN
    let both = x[word].bits;
    y[i] = widen(both & 0xffffu);
    if second { y[i + 1u] = widen(both >> 16u); }
#else
    y[word].bits = narrow(x[i]) | select(0u, narrow(x[min(i + 1u, p.n - 1u)]) << 16u, second);
#endif
}
