// The bits of an f32 as those of an f16: rounded to the nearest, ties to even, to infinity past the
// largest; subnormals and NaN are kept. By integers, so that every device gives the same bits.
#provides narrow
fn narrow(bits: u32) -> u32 {
    let sign = (bits >> 16u) & 0x8000u;
    let size = bits & 0x7fffffffu;
    if size > 0x7f800000u { return sign | 0x7e00u; }
    // 65,520 lies halfway between the largest f16 and what would be the next.
    if size >= 0x477ff000u { return sign | 0x7c00u; }
    if size >= 0x38800000u {
        let rebased = size - 0x38000000u;
        return sign | ((rebased + 0xfffu + ((rebased >> 13u) & 1u)) >> 13u);
    }
    // Below 2^-14: a whole number of 2^-24; nothing from 2^-25 on down.
    if size <= 0x33000000u { return sign; }
    let mantissa = (size & 0x7fffffu) | 0x800000u;
    let shift = 126u - (size >> 23u);
    let whole = mantissa >> shift;
    let rest = mantissa & ((1u << shift) - 1u);
    let middle = 1u << (shift - 1u);
    return sign | (whole + select(0u, 1u, rest > middle || (rest == middle && (whole & 1u) == 1u)));
}
