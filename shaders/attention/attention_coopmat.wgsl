// o_i = sum over j of p_ij v_j,  p_ij = softmax over j of scale q_i . k_j,  over the keys
// j <= i + diagonal that the mask lets it see;  lse_i = log of the softmax's denominator:
// attention on cooperative matrices
//
// q, k, v, o: f32 as attention/operands says, of CHANNELS channels a head at most, lse: f32
// [B, H, Tq]. As attention.wgsl: a workgroup of four subgroups owns TILE_ROWS queries and walks
// over the keys, 32 at a time. Queries, keys, values and weights are rounded to f16 on their way
// into workgroup memory (from 65,520 on they are infinite); scores, weights before that, sums and o
// are f32. Scores leave their matrices for workgroup memory, where an invocation has a share of a
// row; o stays in matrices over the whole walk.
//
// Weights are 2^(score - top), with scores in powers of two and a top of each row that was LEAD
// below the row's largest score when it was set, and moves only where a score is ROOM above it:
// then the sums so far are brought down, o by a way through workgroup memory. So a weight is at
// most 2^ROOM, which f16 has, and the row's largest 2^LEAD at least; a weight below 2^-14, which
// f16 rounds to a multiple of 2^-24, changes by 2^-31 of that. With u = 2^-11, the rounding to f16
// (2^-10 where a device cuts off), what o loses by the weights' is at most
//     u sum over j of p_ij |v_j|  +  2^-31 Tk max |v|,
// beside what q, k and v lose.
//
// Reads 4 D B H (Tq + 2 Tk Tq / TILE_ROWS) bytes, writes 4 B H Tq (D + 1).
#import attention/attention/operands
#import attention/attention/results
#import attention/attention/coopmat/memory
#for (memory, cells) in (q_own, TILE_ROWS*OWNED)
#import gemm/coopmat_lines
#end
// A value of each invocation, for those that share its row.
var<workgroup> handed: array<f32, GROUP>;
// The last block, from 1 on, in which a row's top moved that had seen a key before.
var<workgroup> moved: atomic<u32>;
const LEAD = 7.0;
const ROOM = 15.0;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#import attention/attention/places
    // The last queries see most keys.
    let row0 = (p.row_tiles - 1u - order) * TILE_ROWS;
#import attention/attention/coopmat/subgroup
    if lane == 0u { atomicStore(&moved, 0u); }
#for (own, all) in (q, p.tq)
#import attention/attention/coopmat/own
#end
#for out in o_sum
#import attention/attention/coopmat/totals
#end
    let row = row0 + mine;
    let last = min(i32(row) + p.diagonal, i32(p.tk) - 1);
    let scale = p.scale * LOG2E;
    var top = LOWEST;
    var sum = 0.0;
#import attention/attention/visible_keys
    for (var c0 = first; c0 < end; c0 += i32(BLOCK)) {
#ifdef MASK
#for all in p.tq
#import attention/attention/tile/mask
#end
#endif
#for (own, walked, sum, most) in (q, k, score, p.tk-1u)
#import attention/attention/coopmat/product
#end
#unroll n 0 1
#for (walked, most) in (v, p.tk-1u)
#import attention/attention/coopmat/fetch_columns
#end
#end
#unroll h 0 1
#for (out, across) in (score, WALKED)
#import attention/attention/coopmat/stage
#end
#end
        let ahead = last - c0;
#for (near, all) in (<=ahead, p.tq)
#import attention/attention/coopmat/seen
#end
        let line = mine * FLOATS;
        var most = LOWEST;
#unroll n 0 8/(GROUP/TILE_ROWS)
#unroll c 0 4
        let s_{n}_{c} = select(LOWEST, sums[line + column_{n}_{c}] * scale, seen_{n}_{c});
        most = max(most, s_{n}_{c});
#end
#end
        handed[lane] = most;
        if most > top + ROOM && top > LOWEST { atomicStore(&moved, u32(c0) + 1u); }
        workgroupBarrier();
#unroll n 0 GROUP/TILE_ROWS
        most = max(most, handed[lane - share + {n}u]);
#end
        // A row that has seen no key yet stays at LOWEST: its weights are 0 and not 2^0.
        let next = select(top, most - LEAD, most > top + ROOM);
        let shrink = select(1.0, exp2(top - next), next > top);
        top = next;
        sum *= shrink;
#unroll n 0 8/(GROUP/TILE_ROWS)
#unroll c 0 4
        let p_{n}_{c} = select(0.0, exp2(s_{n}_{c} - top), seen_{n}_{c});
        sum += p_{n}_{c};
#end
#end
        if atomicLoad(&moved) == u32(c0) + 1u {
#unroll h 0 CHANNELS/32
#for (out, across) in (o_sum, ALONG)
#import attention/attention/coopmat/stage
#unroll n 0 8/(GROUP/TILE_ROWS)
#unroll c 0 4
            sums[line + column_{n}_{c}] *= shrink;
#end
#end
#import attention/attention/coopmat/unstage
#end
#end
        }
#for weight in p
#import attention/attention/coopmat/weigh
#end
#for (walked, out, most) in (v, o_sum, p.tk-1u)
#import attention/attention/coopmat/values
#end
    }
    // The sums of the invocations that share a row, in their order.
    workgroupBarrier();
    handed[lane] = sum;
    workgroupBarrier();
    var total = 0.0;
#unroll n 0 GROUP/TILE_ROWS
    total += handed[lane - share + {n}u];
#end
    // A sum of 0 has no key; one that is NaN has, and says so.
    let sees = !(total == 0.0);
    let over = select(0.0, 1.0 / total, sees);
    if share == 0u && row < p.tq {
        // Such that exp(score - lse) is 0 for a row without keys.
        let logs = select(-LOWEST, (top + log2(total)) * LN2, sees);
        lse[(part * all_heads + head) * p.tq + row] = select(nothing, logs, whole);
    }
    let to = part * p.part_stride + o_from + row * p.o_row;
#unroll h 0 CHANNELS/32
#for (out, across) in (o_sum, ALONG)
#import attention/attention/coopmat/stage
#end
#for (target, row, factor, inside) in (o, to, over, row<p.tq)
#import attention/attention/coopmat/store
#end
#end
}
