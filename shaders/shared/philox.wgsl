// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): 128 random
// bits from a counter and a key, so a number depends on (seed, step, stream, element) alone, and
// never on the order of work.
fn mul_high(a: u32, b: u32) -> u32 {
    let al = a & 0xffffu; let ah = a >> 16u;
    let bl = b & 0xffffu; let bh = b >> 16u;
    let low = al * bl;
    let mid = ah * bl + (low >> 16u);
    let mid2 = al * bh + (mid & 0xffffu);
    return ah * bh + (mid >> 16u) + (mid2 >> 16u);
}
fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    for (var round = 0u; round < 10u; round += 1u) {
        let h0 = mul_high(0xD2511F53u, c.x); let l0 = 0xD2511F53u * c.x;
        let h1 = mul_high(0xCD9E8D57u, c.z); let l1 = 0xCD9E8D57u * c.z;
        c = vec4<u32>(h1 ^ c.y ^ k.x, l1, h0 ^ c.w ^ k.y, l0);
        k += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}
// Uniform in [0, 1): the top 24 bits.
fn unit(bits: u32) -> f32 { return f32(bits >> 8u) * (1.0 / 16777216.0); }
// Uniform in 0..n without bias worth the name (n < 2^24 or so): the high word of bits * n.
fn below(bits: u32, n: u32) -> u32 { return mul_high(bits, n); }
