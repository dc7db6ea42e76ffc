// o = sum over j <= t of p_j v_j,  p = softmax over j of scale q . k_j,  for one query at position
// t = lengths[b] of each sequence; its own key and value join the cache as row t. With MASK over
// the keys j that bit j of row t of the mask lets it see, and t itself
//
// With CROSS over j < lengths[b] of keys and values that stay, kv: f32 [B, S, 2, H, D]; q: f32
// [B, 1, H, D]. Without a key o is 0.
//
// With WINDOW row b is one of several of the sequence s at the position t, (s, t) = at[b], u32
// [B, 2] in the lengths' place: its key and value are in the cache already, and nothing joins it.
// A row past T, which pads the others, sees itself alone.
// With CROSS and WINDOW the lengths are those of the sequences. A sequence past the last is read as
// the last.
//
// qkv: f32 [B, 1, 3, H, D]; lengths: u32 [B], rows that the cache holds (at T or past it the last
// row is written again); k, v: f32 [B, T, H, D]; o: f32 [B, 1, H, D]. As vec4 with VEC, where D is
// a multiple of 4; D is at most 256. One workgroup has one head of one sequence and walks over its
// keys, KEYS at a time, with a running softmax (Milakov and Gimelshein 2018): for the scores an
// invocation has whole keys, for the weighted sum UNITS_EACH times four channels of every few-th
// key. With PARTS several workgroups have a share of the keys each, and write an o
// [PARTS, B, 1, H, D] and its lse [PARTS, B, H], which attention_parts brings together.
// Reads 8 B H t D bytes.
const KEYS = GROUP * KEYS_EACH;
const LOWEST_SCORE = -3.4e38;
struct Params {
    heads: u32, sequences: u32, most: u32, d: u32, scale: f32,
    mask_batch: u32, mask_row: u32, parts: u32
}
var<immediate> p: Params;
#ifdef VEC
alias Value = vec4<f32>;
#else
alias Value = f32;
#endif
@group(0) @binding(0) var<storage, read> qkv: array<Value>;
@group(0) @binding(1) var<storage, read> lengths: array<u32>;
#ifdef CROSS
@group(0) @binding(2) var<storage, read> kv: array<Value>;
@group(0) @binding(3) var<storage, read_write> o: array<Value>;
#ifdef WINDOW
@group(0) @binding(4) var<storage, read> at_of: array<vec2<u32>>;
#endif
#else
#ifdef WINDOW
@group(0) @binding(2) var<storage, read> k: array<Value>;
@group(0) @binding(3) var<storage, read> v: array<Value>;
#else
@group(0) @binding(2) var<storage, read_write> k: array<Value>;
@group(0) @binding(3) var<storage, read_write> v: array<Value>;
#endif
@group(0) @binding(4) var<storage, read_write> o: array<Value>;
#endif
#ifdef MASK
@group(0) @binding(5) var<storage, read> mask: array<u32>;
#endif
#ifdef PARTS
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;
#endif
#import shared/grid
#import shared/reduce
#import shared/group_max
var<workgroup> query: array<vec4<f32>, 64>;
var<workgroup> weights: array<f32, KEYS>;
var<workgroup> sums: array<vec4<f32>, GROUP>;

// Quarter u of the row that begins at element `row`; channels past D are 0.
#ifdef VEC
fn token(row: u32, u: u32) -> vec4<f32> { return qkv[row / 4u + u]; }
#ifdef CROSS
fn key(row: u32, u: u32) -> vec4<f32> { return kv[row / 4u + u]; }
fn value(row: u32, u: u32) -> vec4<f32> { return kv[(row + p.heads * p.d) / 4u + u]; }
#else
fn key(row: u32, u: u32) -> vec4<f32> { return k[row / 4u + u]; }
fn value(row: u32, u: u32) -> vec4<f32> { return v[row / 4u + u]; }
#endif
#else
fn channel(u: u32) -> vec4<u32> {
    return min(4u * u + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.d - 1u));
}
fn within(u: u32, x: vec4<f32>) -> vec4<f32> {
    return select(vec4<f32>(), x, 4u * u + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.d));
}
fn token(row: u32, u: u32) -> vec4<f32> {
    let c = row + channel(u);
    return within(u, vec4<f32>(qkv[c.x], qkv[c.y], qkv[c.z], qkv[c.w]));
}
#ifdef CROSS
fn key(row: u32, u: u32) -> vec4<f32> {
    let c = row + channel(u);
    return within(u, vec4<f32>(kv[c.x], kv[c.y], kv[c.z], kv[c.w]));
}
fn value(row: u32, u: u32) -> vec4<f32> { return key(row + p.heads * p.d, u); }
#else
fn key(row: u32, u: u32) -> vec4<f32> {
    let c = row + channel(u);
    return within(u, vec4<f32>(k[c.x], k[c.y], k[c.z], k[c.w]));
}
fn value(row: u32, u: u32) -> vec4<f32> {
    let c = row + channel(u);
    return within(u, vec4<f32>(v[c.x], v[c.y], v[c.z], v[c.w]));
}
#endif
#endif

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let all_heads = p.sequences * p.heads;
#ifdef PARTS
    let number = linear_group(group, groups);
    if number >= all_heads * p.parts { return; }
    let at = number % all_heads;
    let part = number / all_heads;
#else
    let at = linear_group(group, groups);
    if at >= all_heads { return; }
#endif
    let query_row = at / p.heads;
    let head = at % p.heads;
    let units = (p.d + 3u) / 4u;
    let width = p.heads * p.d;
#ifdef CROSS
#ifdef WINDOW
    let sequence = min(at_of[query_row].x, arrayLength(&lengths) - 1u);
#else
    let sequence = query_row;
#endif
    let count = min(lengths[sequence], p.most);
    let first = 0u;
    let row = 2u * width;
    let q_at = query_row * width + head * p.d;
#else
#ifdef WINDOW
#ifdef VEC
    let cached = 4u * arrayLength(&k) / (p.most * width);
#else
    let cached = arrayLength(&k) / (p.most * width);
#endif
    let sequence = min(lengths[2u * query_row], cached - 1u);
    let place = lengths[2u * query_row + 1u];
    let own = min(place, p.most - 1u);
    let first = select(0u, own, place >= p.most);
#else
    let sequence = query_row;
    let own = min(lengths[sequence], p.most - 1u);
    let first = 0u;
#endif
    let count = own + 1u - first;
    let row = width;
    let q_at = query_row * 3u * row + head * p.d;
#endif
    let cache = sequence * p.most * row + head * p.d;
#ifdef MASK
    let mask_at = sequence * p.mask_batch + own * p.mask_row;
#endif
#ifdef PARTS
    // As many for each part, in whole rounds of the invocations.
    let share = (count / p.parts + GROUP) / GROUP * GROUP;
    let begin = first + min(part * share, count);
    let end = min(begin + share, first + count);
#else
    let begin = first;
    let end = first + count;
#endif
    for (var u = lane; u < units; u += GROUP) {
        query[u] = token(q_at, u) * p.scale;
#ifdef CROSS
#else
#ifndef WINDOW
#ifdef PARTS
        if part > 0u { continue; }
#endif
#ifdef VEC
        k[(cache + own * row) / 4u + u] = token(q_at + row, u);
        v[(cache + own * row) / 4u + u] = token(q_at + 2u * row, u);
#else
        for (var c = 4u * u; c < min(4u * u + 4u, p.d); c += 1u) {
            k[cache + own * row + c] = qkv[q_at + row + c];
            v[cache + own * row + c] = qkv[q_at + 2u * row + c];
        }
#endif
#endif
#endif
    }
    workgroupBarrier();
    // Invocations that share a key's value; the others take other keys.
    let sharers = min(units, GROUP);
    let stride = GROUP / sharers;
#unroll n 0 UNITS_EACH
    let unit_{n} = min(lane % sharers + {n}u * GROUP, units - 1u);
    var sum_{n} = vec4<f32>();
#end
    var top = LOWEST_SCORE;
    var total = 0.0;
    for (var j0 = begin; j0 < end; j0 += KEYS) {
#unroll i 0 KEYS_EACH
        let j_{i} = j0 + {i}u * GROUP + lane;
        var s_{i} = LOWEST_SCORE;
#ifdef MASK
        let seen_{i} = j_{i} < end && (j_{i} == own
            || ((mask[mask_at + min(j_{i}, own) / 32u] >> (j_{i} % 32u)) & 1u) == 1u);
#else
        let seen_{i} = j_{i} < end;
#endif
        if seen_{i} {
            s_{i} = 0.0;
#ifdef CROSS
            for (var u = 0u; u < units; u += 1u) {
                s_{i} += dot(query[u], key(cache + j_{i} * row, u));
            }
#else
            // What this dispatch writes it does not read back: the own key comes from where it came
            // from.
            if j_{i} == own {
                for (var u = 0u; u < units; u += 1u) {
                    s_{i} += dot(query[u], token(q_at + row, u));
                }
            } else {
                for (var u = 0u; u < units; u += 1u) {
                    s_{i} += dot(query[u], key(cache + j_{i} * row, u));
                }
            }
#endif
        }
#end
        let all = max(top, group_max(max(max(s_0, s_1), max(s_2, s_3)), lane, lane).value);
        let shrink = exp(top - all);
        total *= shrink;
#unroll i 0 KEYS_EACH
        let w_{i} = select(0.0, exp(s_{i} - all), seen_{i});
        weights[{i}u * GROUP + lane] = w_{i};
        total += w_{i};
#end
        workgroupBarrier();
#unroll n 0 UNITS_EACH
        sum_{n} *= shrink;
#end
        if lane < stride * sharers {
            for (var j = lane / sharers; j < min(KEYS, end - j0); j += stride) {
                let w = weights[j];
#ifdef CROSS
#unroll n 0 UNITS_EACH
                sum_{n} += w * value(cache + (j0 + j) * row, unit_{n});
#end
#else
                if j0 + j == own {
#unroll n 0 UNITS_EACH
                    sum_{n} += w * token(q_at + 2u * row, unit_{n});
#end
                } else {
#unroll n 0 UNITS_EACH
                    sum_{n} += w * value(cache + (j0 + j) * row, unit_{n});
#end
                }
#endif
            }
        }
        top = all;
    }
    let all = group_sum(total, lane);
    // A sum of 0 has no key; one that is NaN has, and says so.
    let over = select(0.0, 1.0 / all, !(all == 0.0));
#ifdef PARTS
    if lane == 0u { lse[number] = select(3.4028234e38, top + log(all), !(all == 0.0)); }
    let o_at = part * all_heads * p.d + query_row * width + head * p.d;
#else
    let o_at = query_row * width + head * p.d;
#endif
#unroll n 0 UNITS_EACH
    workgroupBarrier();
    sums[lane] = sum_{n};
    workgroupBarrier();
    if lane < sharers && lane + {n}u * GROUP < units {
        var y = vec4<f32>();
        for (var s = 0u; s < stride; s += 1u) { y += sums[s * sharers + lane]; }
        y *= over;
        let u = lane + {n}u * GROUP;
#ifdef VEC
        o[o_at / 4u + u] = y;
#else
#unroll c 0 4
        if 4u * u + {c}u < p.d { o[o_at + 4u * u + {c}u] = y[{c}]; }
#end
#endif
    }
#end
}
