// o = sum over j <= t of p_j v_j,  p = softmax over j of scale q . k_j,  for one query at position
// t = lengths[b] of each sequence; its own key and value join the cache as row t:  attention_decode
// for devices where workgroup memory and barriers are dear
//
// With WINDOW row b is one of several of the sequence s at the position t, (s, t) = at[b], u32
// [B, 2] in the lengths' place: its key and value are in the cache already, and nothing joins it. A
// sequence past the last is read as the last.
// A row past T, which pads the others, sees itself alone.
//
// qkv: f32 [B, 1, 3, H, D]; lengths: u32 [B], rows that the cache holds (at T or past it the last
// row is written again); k, v: f32 [B, T, H, D]; o: f32 [B, 1, H, D]; D a multiple of 4, at most
// 256. A workgroup is one subgroup of LANES lanes and has one head of one sequence. Each lane keeps
// UNITS_EACH quarters of the query and of the weighted sum; it scores one key at a time, of LANES,
// and queries and weights are handed round by broadcast, with a running softmax (Milakov and
// Gimelshein 2018). Reads 8 B H t D bytes.
const LOWEST_SCORE = -3.4e38;
struct Params {
    heads: u32, sequences: u32, most: u32, d: u32, scale: f32,
    mask_batch: u32, mask_row: u32, parts: u32
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> lengths: array<u32>;
#ifdef WINDOW
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
#else
@group(0) @binding(2) var<storage, read_write> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> v: array<vec4<f32>>;
#endif
@group(0) @binding(4) var<storage, read_write> o: array<vec4<f32>>;
#ifdef MASK
@group(0) @binding(5) var<storage, read> mask: array<u32>;
#endif
#import shared/grid

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(subgroup_invocation_id) lane: u32) {
    let at = linear_group(group, groups);
    if at >= p.sequences * p.heads { return; }
    let query_row = at / p.heads;
    let head = at % p.heads;
#import shared/whole_subgroup
#ifdef WINDOW
    let cached = arrayLength(&k) / (p.most * p.heads * (p.d / 4u));
    let sequence = min(lengths[2u * query_row], cached - 1u);
    let place = lengths[2u * query_row + 1u];
    let own = min(place, p.most - 1u);
    let first_key = select(0u, own, place >= p.most);
#else
    let sequence = query_row;
    let own = min(lengths[sequence], p.most - 1u);
    let first_key = 0u;
#endif
    let units = p.d / 4u;
    let row = p.heads * units;
    let q_at = query_row * 3u * row + head * units;
    let cache = sequence * p.most * row + head * units;
#ifdef MASK
    let mask_at = sequence * p.mask_batch + own * p.mask_row;
#endif
    // What this dispatch writes it does not read back: the own key and value come from where they
    // came from.
    var own_score = 0.0;
#unroll n 0 UNITS_EACH
    let unit_{n} = min(lane + {n}u * LANES, units - 1u);
    let has_{n} = lane + {n}u * LANES < units;
    let q_{n} = select(vec4<f32>(), qkv[q_at + unit_{n}] * p.scale, has_{n});
    let own_k_{n} = qkv[q_at + row + unit_{n}];
    var sum_{n} = qkv[q_at + 2u * row + unit_{n}];
#ifndef WINDOW
    if has_{n} {
        k[cache + own * row + unit_{n}] = own_k_{n};
        v[cache + own * row + unit_{n}] = sum_{n};
    }
#endif
    own_score += dot(q_{n}, own_k_{n});
#end
    var top = subgroupAdd(own_score);
    var total = select(nothing, 1.0, whole);
    for (var j0 = first_key; j0 < own; j0 += LANES) {
#ifdef MASK
        let j = min(j0 + lane, own - 1u);
        let seen = j0 + lane < own && ((mask[mask_at + j / 32u] >> (j % 32u)) & 1u) == 1u;
        if !subgroupAny(seen) { continue; }
#else
        let seen = j0 + lane < own;
#endif
        let first = cache + min(j0 + lane, own - 1u) * row;
        var score = 0.0;
#unroll n 0 UNITS_EACH
#unroll l 0 LANES
        if {n}u * LANES + {l}u < units {
            score += dot(subgroupBroadcast(q_{n}, {l}u), k[first + {n}u * LANES + {l}u]);
        }
#end
#end
        score = select(LOWEST_SCORE, score, seen);
        let all = max(top, subgroupMax(score));
        let shrink = exp(top - all);
        let weight = select(0.0, exp(score - all), seen);
        total = fma(total, shrink, subgroupAdd(weight));
#unroll n 0 UNITS_EACH
        sum_{n} *= shrink;
#end
#unroll l 0 LANES
        let weight_{l} = subgroupBroadcast(weight, {l}u);
        let row_{l} = cache + min(j0 + {l}u, own - 1u) * row;
#unroll n 0 UNITS_EACH
        sum_{n} += weight_{l} * v[row_{l} + unit_{n}];
#end
#end
        top = all;
    }
#unroll n 0 UNITS_EACH
    if has_{n} { o[query_row * row + head * units + unit_{n}] = sum_{n} / total; }
#end
}
