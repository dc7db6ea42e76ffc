// dq_i = scale sum over j of ds_ij k_j,  ds_ij = p_ij (do_i . v_j - delta_i),  p_ij = exp(scale
// q_i . k_j - lse_i), delta_i = do_i . o_i
//
// q, k, v, do, dq: f32 as attention/operands says (do as o; dq as q), lse and delta: f32
// [B, H, Tq]. The probabilities are made again from the forward pass's lse (Dao et al. 2022,
// algorithm 2, with the loops the other way round: no atomics). A workgroup owns TILE_ROWS queries
// and walks over the keys, 32 at a time, as attention.wgsl does, in three products of matrices:
// q k^T, do v^T and ds k. With several parts of the walk each writes a dq of its own, which
// split_sum adds in order.
// Reads 4 D (2 B H Tq Tk / 32 + 3 B H Tk Tq / TILE_ROWS) bytes, writes 4 B H Tq D.
#import attention/attention/operands
#import attention/attention/upstream
#for (x, binding) in (dq, 6)
#import attention/attention/written
#end
#import attention/attention/tile/memory
var<workgroup> weights: array<vec4<f32>, BLOCK * PITCH>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#import attention/attention/tile/begin
    // The last queries see most keys.
    let row0 = (p.row_tiles - 1u - order) * TILE_ROWS;
    let d_o_from = o_from;
    let d_o_step = p.o_row;
#for all in p.tq
#import attention/attention/tile/own
#end
#unroll n 0 QUADS
#unroll i 0 4
    var dq_{n}_{i} = vec4<f32>();
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
#for (own, walked, sum) in (q, k, s) (d_o, v, dp)
#import attention/attention/tile/product
#end
#ifdef MASK
#for all in p.tq
#import attention/attention/tile/words
#end
#endif
#unroll i 0 4
        let safe_{i} = head * p.tq + min(row0 + y + {i*TILE_ROWS/4}u, p.tq - 1u);
#end
        let lses = vec4<f32>(lse[safe_0], lse[safe_1], lse[safe_2], lse[safe_3]);
        let deltas = vec4<f32>(delta[safe_0], delta[safe_1], delta[safe_2], delta[safe_3]);
#unroll j 0 32/ACROSS
        let key_{j} = c0 + i32(x) + {j*ACROSS};
        let near_{j} = (vec4<i32>(key_{j} - i32(row0 + y) - p.diagonal) <= DOWN)
            & vec4<bool>(key_{j} < i32(p.tk));
#import attention/attention/tile/seen
        weights[(x + {j*ACROSS}u) * PITCH + y] =
            select(vec4<f32>(), exp(s_{j} * p.scale - lses), seen_{j}) * (dp_{j} - deltas);
#end
#for (walked, weights, out, most) in (k, weights, dq, p.tk-1u)
#import attention/attention/tile/values
#end
    }
    let to = part * p.part_stride + p.dq_offset + image * p.q_batch + head % p.heads * p.q_head;
#unroll i 0 4
    let row_{i} = row0 + y + {i*TILE_ROWS/4}u;
    if row_{i} < p.tq {
#unroll n 0 QUADS
#for (target, row, value) in (dq, to+row_{i}*p.q_row, dq_{n}_{i}*p.scale)
#import attention/attention/tile/store
#end
#end
    }
#end
}
