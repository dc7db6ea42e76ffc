// k[b, t, h, c] = qkv[b, t, 1, h, c],  v[b, t, h, c] = qkv[b, t, 2, h, c]  for t < T: a prompt's
// keys and values join the cache
//
// With EACH at k[s, first + t], v[s, first + t] for (s, first) = at[b], u32 [B, 2]; rows past MOST
// and sequences that the cache does not have are left out.
//
// qkv: f32 [B, T, 3, H, D]; k, v: f32 [B, MOST, H, D]. As vec4 with VEC, where D is a multiple of
// 4; a row has UNITS of them. One invocation copies one of both. Reads 8 B T H D bytes, writes as
// many.
struct Params { n: u32, t: u32, units: u32, most: u32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> qkv: array<Value>;
@group(0) @binding(1) var<storage, read_write> k: array<Value>;
@group(0) @binding(2) var<storage, read_write> v: array<Value>;
#ifdef EACH
@group(0) @binding(3) var<storage, read> at: array<vec2<u32>>;
#endif
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n { return; }
    let source = (i / p.units * 3u + 1u) * p.units + i % p.units;
    let each = p.t * p.units;
#ifdef EACH
    let place = at[i / each];
    let inside = i % each / p.units;
    if place.y >= p.most || inside >= p.most - place.y { return; }
    if place.x >= arrayLength(&k) / (p.most * p.units) { return; }
    let target_row = (place.x * p.most + place.y) * p.units + i % each;
#else
    let target_row = i / each * p.most * p.units + i % each;
#endif
    k[target_row] = qkv[source];
    v[target_row] = qkv[source + p.units];
}
