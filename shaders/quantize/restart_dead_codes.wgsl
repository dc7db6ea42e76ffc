// A code with c[k] < threshold is dead: e[k,:] <- x[r,:], a random latent of this batch, c[k] <-
// threshold, and where sums are kept m[k,:] <- threshold x[r,:], so that all three agree (Dhariwal
// et al. 2020, "Jukebox", section 3.1)
//
// x: f32 [N, D]; c, alive: f32 [K], alive the counts that are judged; m (SUMS), e: f32 [K, D]. One
// invocation looks after four elements (VEC, where D is a multiple of 4) or one. r is drawn by
// Philox from (seed; k, step), so it is the same for all elements of a code. GIVEN: x is [K, D],
// and r is k.
struct Params {
    k: u32, units: u32, n: u32,     // units of an invocation in a row
    threshold: f32,
    seed_lo: u32, seed_hi: u32, step_lo: u32, step_hi: u32,
}
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> alive: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<storage, read_write> e: array<Value>;
#ifdef SUMS
@group(0) @binding(4) var<storage, read_write> m: array<Value>;
#endif
#import shared/grid
#import shared/philox

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.k * p.units { return; }
    let k = i / p.units;
    if alive[k] >= p.threshold { return; }
#ifdef GIVEN
    let value = x[i];
#else
    let bits = philox(
        vec4<u32>(k, 0x52455649u, p.step_lo, p.step_hi),
        vec2<u32>(p.seed_lo, p.seed_hi),
    );
    let value = x[below(bits.x, p.n) * p.units + i % p.units];
#endif
    e[i] = value;
#ifdef SUMS
    m[i] = value * p.threshold;
#endif
    if i % p.units == 0u { c[k] = p.threshold; }
}
