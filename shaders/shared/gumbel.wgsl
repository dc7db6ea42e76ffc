// Standard Gumbel noise (Gumbel 1954; Jang et al. 2016, equation 1), by Philox from
// (seed, step, stream; row, code): four codes to a block of random words. No number is 0 or 1, so
// that both logarithms are finite.
#import shared/philox
#import shared/ln_unit
fn gumbel(bits: u32) -> f32 { return -log(-ln_unit(clamp(bits >> 8u, 1u, 16777215u))); }
fn gumbel_block(block: u32, row: u32) -> vec4<f32> { return gumbel_block_of(block, row, p.step); }
fn gumbel_block_of(block: u32, row: u32, step: vec2<u32>) -> vec4<f32> {
    let words = philox(
        vec4<u32>(block, row, step.x, step.y),
        vec2<u32>(p.seed.x, p.seed.y ^ p.stream),
    );
    return vec4<f32>(gumbel(words.x), gumbel(words.y), gumbel(words.z), gumbel(words.w));
}
