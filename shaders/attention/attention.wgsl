// o_i = sum over j of p_ij v_j,  p_ij = softmax over j of scale q_i . k_j,  over the keys
// j <= i + diagonal that the mask lets it see;  lse_i = log of the softmax's denominator
//
// q, k, v, o: f32 as attention/operands says, lse: f32 [B, H, Tq]. The Tq x Tk matrix never exists:
// a workgroup owns TILE_ROWS queries and walks over the keys, 32 at a time, as two products of
// matrices in workgroup memory: scores q k^T, and p v under a running maximum (Milakov and
// Gimelshein 2018; Dao et al. 2022, algorithm 1). An invocation has four queries, 32 / ACROSS of
// the keys' scores and QUADS times four channels of the values, and keeps nothing of D's size. A
// row that sees no key gives 0. Blocks past the last visible key are not walked. Where there are
// few queries, parts of the keys go to several workgroups, each of which writes an o and an lse of
// its own:
// attention_parts brings them together.
// Reads 4 D (B H Tq Tk / 32 + 2 B H Tk Tq / TILE_ROWS) bytes, writes 4 B H Tq (D + 1).
#import attention/attention/operands
#import attention/attention/results
#import attention/attention/tile/memory
var<workgroup> weights: array<vec4<f32>, BLOCK * PITCH>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#import attention/attention/tile/begin
    // The last queries see most keys.
    let row0 = (p.row_tiles - 1u - order) * TILE_ROWS;
#for all in p.tq
#import attention/attention/tile/own
#end
    var top = vec4<f32>(LOWEST);
    var sum = vec4<f32>();
#unroll n 0 QUADS
#unroll i 0 4
    var o_{n}_{i} = vec4<f32>();
#end
#end
#import attention/attention/visible_keys
    for (var c0 = first; c0 < end; c0 += i32(BLOCK)) {
#ifdef MASK
#for all in p.tq
#import attention/attention/tile/mask
#end
#endif
#unroll u 0 1+127/GROUP
        let walked_row_{u} = min(u32(c0) + lane / 4u + {u*GROUP/4}u, p.tk - 1u);
#end
#for (own, walked, sum) in (q, k, s)
#import attention/attention/tile/product
#end
#ifdef MASK
#for all in p.tq
#import attention/attention/tile/words
#end
#endif
        var most = vec4<f32>(LOWEST);
#unroll j 0 32/ACROSS
        let key_{j} = c0 + i32(x) + {j*ACROSS};
        let near_{j} = (vec4<i32>(key_{j} - i32(row0 + y) - p.diagonal) <= DOWN)
            & vec4<bool>(key_{j} < i32(p.tk));
#import attention/attention/tile/seen
        s_{j} = select(vec4<f32>(LOWEST), s_{j} * p.scale, seen_{j});
        most = max(most, s_{j});
#end
        weights[x * PITCH + y] = most;
        workgroupBarrier();
        most = top;
        for (var n = 0u; n < ACROSS; n += 1u) { most = max(most, weights[n * PITCH + y]); }
        let shrink = exp(top - most);
        top = most;
        sum *= shrink;
        workgroupBarrier();
#unroll j 0 32/ACROSS
        // A row that has seen no key yet has LOWEST for its largest: its weights are 0 and not
        // exp(0).
        let p_{j} = select(vec4<f32>(), exp(s_{j} - top), seen_{j});
        sum += p_{j};
        weights[(x + {j*ACROSS}u) * PITCH + y] = p_{j};
#end
#unroll n 0 QUADS
#unroll i 0 4
        o_{n}_{i} *= shrink[{i}];
#end
#end
#for (walked, weights, out, most) in (v, weights, o, p.tk-1u)
#import attention/attention/tile/values
#end
    }
    // The sums of the invocations that share a row, in their order.
    workgroupBarrier();
    weights[x * PITCH + y] = sum;
    workgroupBarrier();
    var total = vec4<f32>();
    for (var n = 0u; n < ACROSS; n += 1u) { total += weights[n * PITCH + y]; }
    // A sum of 0 has no key; one that is NaN has, and says so.
    let seen = !(total == vec4<f32>());
    let over = select(vec4<f32>(), 1.0 / total, seen);
    // Such that exp(score - lse) is 0 for a row without keys.
    let logs = select(vec4<f32>(-LOWEST), top + log(total), seen);
    let to = part * p.part_stride + o_from;
#unroll i 0 4
    let row_{i} = row0 + y + {i*TILE_ROWS/4}u;
    if row_{i} < p.tq {
        if x == 0u { lse[(part * all_heads + head) * p.tq + row_{i}] = logs[{i}]; }
#unroll n 0 QUADS
#for (target, row, value) in (o, to+row_{i}*p.o_row, o_{n}_{i}*over[{i}])
#import attention/attention/tile/store
#end
#end
    }
#end
}
