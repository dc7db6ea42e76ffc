// dq_i = scale sum over j of ds_ij k_j,  ds_ij = p_ij (do_i . v_j - delta_i),  p_ij = exp(scale
// q_i . k_j - lse_i), delta_i = do_i . o_i:  attention's gradient to the queries on cooperative
// matrices
//
// q, k, v, do, dq: f32 as attention/operands says (do as o; dq as q), of CHANNELS channels a head
// at most, lse and delta: f32 [B, H, Tq]. As attention_grad_q.wgsl: a workgroup of four subgroups
// owns TILE_ROWS queries and walks over the keys, 32 at a time, in three products of matrices:
// q k^T, do v^T and ds k. Operands are rounded to f16 on their way into workgroup memory, ds too;
// all else is f32. With u = 2^-11 as attention_coopmat.wgsl has it, what dq loses by the rounding
// of ds is at most
//     scale (u sum over j of |ds_ij| |k_j|  +  2^-25 Tk max |k|).
//
// Reads 4 D B H (2 Tq + 3 Tk Tq / TILE_ROWS) bytes, writes 4 B H Tq D.
#import attention/attention/operands
#import attention/attention/upstream
#for (x, binding) in (dq, 6)
#import attention/attention/written
#end
#import attention/attention/coopmat/memory
#for (memory, cells) in (q_own, TILE_ROWS*OWNED) (d_o_own, TILE_ROWS*OWNED)
#import gemm/coopmat_lines
#end

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#import attention/attention/places
    // The last queries see most keys.
    let row0 = (p.row_tiles - 1u - order) * TILE_ROWS;
    let d_o_from = o_from;
    let d_o_step = p.o_row;
#import attention/attention/coopmat/subgroup
#for (own, all) in (q, p.tq) (d_o, p.tq)
#import attention/attention/coopmat/own
#end
#for out in dq_sum
#import attention/attention/coopmat/totals
#end
    let row = row0 + mine;
    let last = min(i32(row) + p.diagonal, i32(p.tk) - 1);
    let scale = p.scale * LOG2E;
    let at = head * p.tq + min(row, p.tq - 1u);
    let row_lse = lse[at] * LOG2E;
    let row_delta = delta[at];
#import attention/attention/visible_keys
    for (var c0 = first; c0 < end; c0 += i32(BLOCK)) {
#ifdef MASK
#for all in p.tq
#import attention/attention/tile/mask
#end
#endif
        let ahead = last - c0;
#for (near, all) in (<=ahead, p.tq)
#import attention/attention/coopmat/seen
#end
        let line = mine * FLOATS;
#for (own, walked, sum, most) in (q, k, score, p.tk-1u)
#import attention/attention/coopmat/product
#end
#unroll h 0 1
#for (out, across) in (score, WALKED)
#import attention/attention/coopmat/stage
#end
#end
#unroll n 0 8/(GROUP/TILE_ROWS)
#unroll c 0 4
        let p_{n}_{c} = select(0.0, exp2(sums[line + column_{n}_{c}] * scale - row_lse),
            seen_{n}_{c});
#end
#end
#for (own, walked, sum, most) in (d_o, v, dp, p.tk-1u)
#import attention/attention/coopmat/product
#end
#unroll n 0 1
#for (walked, most) in (k, p.tk-1u)
#import attention/attention/coopmat/fetch_columns
#end
#end
#unroll h 0 1
#for (out, across) in (dp, WALKED)
#import attention/attention/coopmat/stage
#end
#end
#unroll n 0 8/(GROUP/TILE_ROWS)
#unroll c 0 4
        let ds_{n}_{c} = p_{n}_{c} * (sums[line + column_{n}_{c}] - row_delta);
#end
#end
#for weight in ds
#import attention/attention/coopmat/weigh
#end
#for (walked, out, most) in (k, dq_sum, p.tk-1u)
#import attention/attention/coopmat/values
#end
    }
    let to = part * p.part_stride + p.dq_offset + image * p.q_batch + head % p.heads * p.q_head
        + row * p.q_row;
#unroll h 0 CHANNELS/32
#for (out, across) in (dq_sum, ALONG)
#import attention/attention/coopmat/stage
#end
#for (target, row, factor, inside) in (dq, to, p.scale, row<p.tq)
#import attention/attention/coopmat/store
#end
#end
}
