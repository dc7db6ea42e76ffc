// e[k,:] = sums[k,:] / counts[k], or with INIT, or where counts[k] = 0, a random latent x_r
//     (Lloyd 1982)
//
// sums, e: f32 [K, D]; counts: u32 [K]; x: f32 [N, D]. One invocation makes one element. At INIT
// code k draws from its own stratum of rows k N / K .. (k + 1) N / K, so that no two codes begin at
// one row where N >= K; r is drawn by Philox from (seed; k, round).
struct Params { k: u32, d: u32, n: u32, round: u32, seed_lo: u32, seed_hi: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
#ifndef INIT
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read> counts: array<u32>;
#endif
@group(0) @binding(3) var<storage, read_write> e: array<f32>;
#import shared/grid
#import shared/philox

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.k * p.d { return; }
    let k = i / p.d;
    let bits = philox(vec4<u32>(k, 0x4b4d4541u, p.round, 0u), vec2<u32>(p.seed_lo, p.seed_hi));
#ifdef INIT
    // k N / K without overflow: N = q K + rest.
    let q = p.n / p.k;
    let rest = p.n % p.k;
    let start = k * q + min(k, rest);
    let size = max(q + select(0u, 1u, k < rest), 1u);
    let row = min(start + below(bits.x, size), p.n - 1u);
    e[i] = x[row * p.d + i % p.d];
#else
    if counts[k] == 0u {
        e[i] = x[below(bits.x, p.n) * p.d + i % p.d];
    } else {
        e[i] = sums[i] / f32(counts[k]);
    }
#endif
}
