// token[b] drawn from softmax(l / T) over the codes that the filters keep;
// log_prob[b] = ln softmax(l)[token], without filters or T
//   l = x[b], or with GUIDED u + w (c - u), c = x[b], u = x[B + b]
//       (Ho and Salimans 2021, equation 6)
//   filters, one after another: the K likeliest; of those the fewest whose probabilities sum to P
//   (Holtzman et al. 2020); of those
//   all of at least M times the largest probability. Equal codes are kept from the lowest index on.
// With PROBS y[b,:] is the distribution instead.
//
// x: f32 [B, V], GUIDED [2 B, V]; token: u32 [B], GUIDED [2 B] with the same token twice; log_prob:
// f32 [B]; sequence: u32 [B, LENGTH], whose column `column` becomes the token too (SEQUENCE). NaN
// and -inf are never drawn; a row of nothing else gives token 0 and NaN. With KEYED each row has a
// step and a number of its own for its noise, key: u32 [B, 2].
//
// One workgroup has one row. A filter keeps a prefix of the codes in order of
// (l descending, index ascending). Where it ends is found without sorting: floats are walked as
// integers of the same order, two bits of the bound at a time, each with one walk over the row that
// sums what lies above three candidates. The draw is the largest of l / T + Gumbel noise
// (Gumbel 1954). Reads some 36 times 4 V bytes a row with both filters, twice 4 V without.
struct Params {
    rows: u32, v: u32, row0: u32, stream: u32,
    step: vec2<u32>, seed: vec2<u32>,
    inv_t: f32,
    guidance: f32,
    top_k: u32,         // 0 for all
    top_p: f32,         // 1 for all
    floor: f32,         // T ln M, or -inf's stand-in
    index_bits: u32,    // even, and 2^index_bits > V
    column: u32, length: u32,
}
var<immediate> p: Params;
#ifdef VEC
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
#else
@group(0) @binding(0) var<storage, read> x: array<f32>;
#endif
#ifdef PROBS
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#else
@group(0) @binding(1) var<storage, read_write> token: array<u32>;
@group(0) @binding(2) var<storage, read_write> log_prob: array<f32>;
#ifdef SEQUENCE
@group(0) @binding(3) var<storage, read_write> sequence: array<u32>;
#endif
#ifdef KEYED
@group(0) @binding(4) var<storage, read> key_of: array<vec2<u32>>;
#endif
#import shared/gumbel
#endif
#import shared/grid
#import shared/reduce
#import shared/group_max

// Codes 4 i to 4 i + 3 of a row of x.
fn raw(row: u32, i: u32) -> vec4<f32> {
#ifdef VEC
    return x[row * (p.v / 4u) + i];
#else
    let k = row * p.v + min(4u * i + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.v - 1u));
    return vec4<f32>(x[k.x], x[k.y], x[k.z], x[k.w]);
#endif
}
fn codes(i: u32) -> vec4<u32> { return 4u * i + vec4<u32>(0u, 1u, 2u, 3u); }
// l, with LOWEST for what is not to be drawn or past V. Every walk must see the same bits: no sum
// here may be contracted.
fn values(row: u32, i: u32) -> vec4<f32> {
#ifdef GUIDED
    let u = raw(p.rows + row, i);
    let l = fma(vec4<f32>(p.guidance), raw(row, i) - u, u);
#else
    let l = raw(row, i);
#endif
    let nan = (bitcast<vec4<u32>>(l) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    let shown = (codes(i) < vec4<u32>(p.v)) & !nan;
    return select(vec4<f32>(LOWEST), clamp(l, vec4<f32>(LOWEST), vec4<f32>(-LOWEST)), shown);
}
// Integers in the order of the floats; both zeros are one. All are above 0.
fn keys(v: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(select(v, vec4<f32>(), v == vec4<f32>()));
    return select(bits | vec4<u32>(0x80000000u), ~bits, (bits >> vec4<u32>(31u)) == vec4<u32>(1u));
}
fn of_key(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}
fn weights(v: vec4<f32>, top: f32) -> vec4<f32> { return exp((v - top) * p.inv_t); }

// The codes whose key is above `key`, and those that have it below index `end`.
struct Kept { key: u32, end: u32 }
fn kept(k: vec4<u32>, i: u32, few: Kept) -> vec4<bool> {
    return (codes(i) < vec4<u32>(p.v)) & ((k > vec4<u32>(few.key))
        | ((k == vec4<u32>(few.key)) & (codes(i) < vec4<u32>(few.end))));
}

var<workgroup> quads: array<vec4<f32>, GROUP>;
fn group_sums(value: vec4<f32>, lane: u32) -> vec4<f32> {
    workgroupBarrier();
    quads[lane] = value;
    workgroupBarrier();
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        if lane < half { quads[lane] += quads[lane + half]; }
        workgroupBarrier();
    }
    return quads[0];
}
fn total(v: vec4<f32>) -> f32 { return (v.x + v.y) + (v.z + v.w); }
const ALL = 0xffffffffu;
var<workgroup> tied: u32;

// The first codes of `few` whose counts, or with `heavy` whose weights, reach `goal`. Rounded sums
// of fewer terms are never above those of more, so that the bound that is found is one.
fn narrow(row: u32, lane: u32, few: Kept, heavy: bool, goal: f32, top: f32) -> Kept {
    let blocks = (p.v + 3u) / 4u;
    var key = 0u;
    for (var bits = 0u; bits < 32u; bits += 2u) {
        let one = 1u << (30u - bits);
        var sum = vec4<f32>();
        for (var i = lane; i < blocks; i += GROUP) {
            let l = values(row, i);
            let k = keys(l);
            var w = vec4<f32>(1.0);
            if heavy { w = weights(l, top); }
            w = select(vec4<f32>(), w, kept(k, i, few));
            sum += vec4<f32>(
                total(select(vec4<f32>(), w, k >= vec4<u32>(key + one))),
                total(select(vec4<f32>(), w, k >= vec4<u32>(key + 2u * one))),
                total(select(vec4<f32>(), w, k >= vec4<u32>(key + 3u * one))), 0.0);
        }
        let above = group_sums(sum, lane);
        key += one * (u32(above.x >= goal) + u32(above.y >= goal) + u32(above.z >= goal));
    }
    // What lies above the bound, and how many codes lie on it: as many of them as are still needed.
    var sum = vec4<f32>();
    for (var i = lane; i < blocks; i += GROUP) {
        let l = values(row, i);
        let k = keys(l);
        let inside = kept(k, i, few);
        var w = vec4<f32>(1.0);
        if heavy { w = weights(l, top); }
        sum += vec4<f32>(total(select(vec4<f32>(), w, inside & (k > vec4<u32>(key)))),
                         total(select(
                             vec4<f32>(), vec4<f32>(1.0), inside & (k == vec4<u32>(key)),
                         )), 0.0, 0.0);
    }
    let found = group_sums(sum, lane);
    let each = select(1.0, exp((of_key(key) - top) * p.inv_t), heavy);
    let needed = clamp(ceil((goal - found.x) / each), 1.0, found.y);
    if lane == 0u { tied = u32(needed < found.y); }
    if workgroupUniformLoad(&tied) == 0u { return Kept(key, select(ALL, few.end, key == few.key)); }
    // The last index below which too few of them lie.
    var end = 0u;
    for (var bits = 0u; bits < p.index_bits; bits += 2u) {
        let one = 1u << (p.index_bits - 2u - bits);
        var count = vec4<f32>();
        for (var i = lane; i < blocks; i += GROUP) {
            let k = keys(values(row, i));
            let w = select(vec4<f32>(), vec4<f32>(1.0), kept(k, i, few) & (k == vec4<u32>(key)));
            count += vec4<f32>(
                total(select(vec4<f32>(), w, codes(i) < vec4<u32>(end + one))),
                total(select(vec4<f32>(), w, codes(i) < vec4<u32>(end + 2u * one))),
                total(select(vec4<f32>(), w, codes(i) < vec4<u32>(end + 3u * one))), 0.0);
        }
        let below = group_sums(count, lane);
        end += one * (u32(below.x < needed) + u32(below.y < needed) + u32(below.z < needed));
    }
    return Kept(key, end + 1u);
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let blocks = (p.v + 3u) / 4u;
    var m = LOWEST;
    var at = 0u;
    var z = 0.0;
    for (var i = lane; i < blocks; i += GROUP) {
        let l = values(row, i);
        let before = m;
#unroll j 0 4
        if l[{j}] > m {
            m = l[{j}];
            at = 4u * i + {j}u;
        }
#end
        z = fma(z, exp(before - m), total(exp(l - m)));
    }
    let best = group_max(m, at, lane);
    let top = best.value;
    let log_z = log(group_sum(z * exp(m - top), lane));
    var few = Kept(0u, ALL);
    if p.top_k == 1u {
        few = Kept(keys(vec4<f32>(top)).x, best.index + 1u);
    } else {
        // Two filters and one text: drivers compile it for seconds.
        for (var turn = 0u; turn < 2u; turn++) {
            let heavy = turn == 1u;
            if select(p.top_k == 0u, p.top_p >= 1.0, heavy) { continue; }
            var goal = f32(p.top_k);
            if heavy {
                var sum = 0.0;
                for (var i = lane; i < blocks; i += GROUP) {
                    let l = values(row, i);
                    sum += total(select(vec4<f32>(), weights(l, top), kept(keys(l), i, few)));
                }
                // Above 0, where the product is too small for f32.
                goal = max(p.top_p * group_sum(sum, lane), 1e-30);
            }
            few = narrow(row, lane, few, heavy, goal, top);
        }
        let least = keys(vec4<f32>(max(top + p.floor, LOWEST))).x;
        if least > few.key { few = Kept(least, ALL); }
    }
#ifdef PROBS
    var sum = 0.0;
    for (var i = lane; i < blocks; i += GROUP) {
        let l = values(row, i);
        sum += total(select(vec4<f32>(), weights(l, top), kept(keys(l), i, few)));
    }
    // Of a row without a logit that can be drawn, NaN: its weights are all those of LOWEST.
    let some = f32(u32(top > LOWEST));
    let share = some / (group_sum(sum, lane) * some);
    for (var i = lane; i < blocks; i += GROUP) {
        let l = values(row, i);
        let w = select(vec4<f32>(), weights(l, top) * share, kept(keys(l), i, few));
#unroll j 0 4
        if 4u * i + {j}u < p.v { y[row * p.v + 4u * i + {j}u] = w[{j}]; }
#end
    }
#else
    var most = LOWEST;
    var drawn = best.index;
#ifdef KEYED
    let own_key = key_of[row];
#endif
    for (var i = lane; i < blocks; i += GROUP) {
        let l = values(row, i);
#ifdef KEYED
        let noise = gumbel_block_of(i, own_key.y, vec2<u32>(own_key.x, 0u));
#else
        let noise = gumbel_block(i, p.row0 + row);
#endif
        let t = (l - top) * p.inv_t + noise;
        let inside = kept(keys(l), i, few);
#unroll j 0 4
        if inside[{j}] && t[{j}] > most {
            most = t[{j}];
            drawn = 4u * i + {j}u;
        }
#end
    }
    let chosen = group_max(most, drawn, lane).index;
    if lane > 0u { return; }
    let nothing = top <= LOWEST;
    let code = select(chosen, 0u, nothing);
    token[row] = code;
#ifdef GUIDED
    token[p.rows + row] = code;
#endif
#ifdef SEQUENCE
    sequence[row * p.length + p.column] = code;
#endif
    let l = values(row, code / 4u);
    let own = l[code % 4u] - top - log_z;
    // NaN by its bits, and none that the compiler could fold.
    log_prob[row] = select(own, bitcast<f32>(0x7fc00000u | min(code, 0u)), nothing);
#endif
}
