// dv_j = sum over i of p_ij do_i,  dk_j = scale sum over i of ds_ij q_i,  with p and ds as
// attention_grad_q has them:  attention's gradients to keys and values on cooperative matrices
//
// q, k, v, do: f32 as attention/operands says (do as o), of CHANNELS channels a head at most; dkv:
// dk and dv in one buffer, from dk_offset and dv_offset, each laid out as k; lse and delta: f32
// [B, H, Tq]. As attention_grad_kv.wgsl: a workgroup of four subgroups owns TILE_ROWS keys and
// walks over the queries that see them, 32 at a time, in four products of matrices: k q^T, v do^T,
// p^T do and ds^T q. Operands are rounded to f16 on their way into workgroup memory, p and ds too;
// all else is f32. p is at most 1, and is rounded at LEAD times that, which dv is divided by. With
// u = 2^-11 as attention_coopmat.wgsl has it, what dv and dk lose by the roundings of p and ds is
// at most
//     u sum over i of p_ij |do_i|  +  2^-39 Tq max |do|,  and
//     scale (u sum over i of |ds_ij| |q_i|  +  2^-25 Tq max |q|).
//
// Reads 4 D B H (2 Tk + 4 Tq Tk / TILE_ROWS) bytes, writes 8 B H Tk D.
#import attention/attention/operands
#import attention/attention/upstream
#for (x, binding) in (dkv, 6)
#import attention/attention/written
#end
#import attention/attention/coopmat/memory
#for (memory, cells) in (k_own, TILE_ROWS*OWNED) (v_own, TILE_ROWS*OWNED)
#import gemm/coopmat_lines
#end
// The block's lse in powers of two, and its delta.
var<workgroup> row_lse: array<f32, BLOCK>;
var<workgroup> row_delta: array<f32, BLOCK>;
const LEAD = 16384.0;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#import attention/attention/places
    // The first keys are seen by most queries.
    let row0 = order * TILE_ROWS;
    let d_o_from = o_from;
    let d_o_step = p.o_row;
#import attention/attention/coopmat/subgroup
#for (own, all) in (k, p.tk) (v, p.tk)
#import attention/attention/coopmat/own
#end
#for out in dk_sum dv_sum
#import attention/attention/coopmat/totals
#end
    let row = row0 + mine;
    let scale = p.scale * LOG2E;
#import attention/attention/visible_queries
    for (var c0 = first; c0 < end; c0 += i32(BLOCK)) {
#ifdef MASK
#for all in p.tk
#import attention/attention/tile/mask
#end
#endif
        // Of the queries from c0 on, those from `behind` on see the row, and there are `ahead`.
        let behind = i32(row) - p.diagonal - c0;
        let ahead = i32(p.tq) - c0;
#for (near, all) in (>=behind, p.tk)
#import attention/attention/coopmat/seen
#end
        let line = mine * FLOATS;
#for (own, walked, sum, most) in (k, q, score, p.tq-1u)
#import attention/attention/coopmat/product
#end
        // All have passed a barrier since they read the last block's.
        if lane < BLOCK {
            let at = head * p.tq + min(u32(c0) + lane, p.tq - 1u);
            // Past the last query comes none: 2^-infinity is 0.
            row_lse[lane] = select(-LOWEST, lse[at] * LOG2E, i32(lane) < ahead);
            row_delta[lane] = delta[at];
        }
#unroll h 0 1
#for (out, across) in (score, WALKED)
#import attention/attention/coopmat/stage
#end
#end
#unroll n 0 8/(GROUP/TILE_ROWS)
#unroll c 0 4
        let p_{n}_{c} = select(0.0,
            exp2(sums[line + column_{n}_{c}] * scale - row_lse[column_{n}_{c}]), seen_{n}_{c});
#end
#end
#for (own, walked, sum, most) in (v, d_o, dp, p.tq-1u)
#import attention/attention/coopmat/product
#end
#unroll n 0 1
#for (walked, most) in (d_o, p.tq-1u)
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
        let ds_{n}_{c} =
            p_{n}_{c} * (sums[line + column_{n}_{c}] - row_delta[column_{n}_{c}]);
#end
#end
#unroll n 0 8/(GROUP/TILE_ROWS)
#unroll c 0 4
        let lead_{n}_{c} = LEAD * p_{n}_{c};
#end
#end
#for weight in lead
#import attention/attention/coopmat/weigh
#end
#for (walked, out, most) in (d_o, dv_sum, p.tq-1u)
#import attention/attention/coopmat/values
#end
#unroll n 0 1
#for (walked, most) in (q, p.tq-1u)
#import attention/attention/coopmat/fetch_columns
#end
#end
        workgroupBarrier();
#for weight in ds
#import attention/attention/coopmat/weigh
#end
#for (walked, out, most) in (q, dk_sum, p.tq-1u)
#import attention/attention/coopmat/values
#end
    }
    let to = part * p.part_stride + image * p.k_batch + head % p.heads * p.k_head + row * p.k_row;
#for (out, gradient, factor) in (dk_sum, dk, p.scale) (dv_sum, dv, 1.0/LEAD)
#unroll h 0 CHANNELS/32
#for across in ALONG
#import attention/attention/coopmat/stage
#end
#for (target, row, inside) in (dkv, to+p.{gradient}_offset, row<p.tk)
#import attention/attention/coopmat/store
#end
#end
#end
}
