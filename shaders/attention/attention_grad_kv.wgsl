// dv_j = sum over i of p_ij do_i,  dk_j = scale sum over i of ds_ij q_i,  with p and ds as
// attention_grad_q has them
//
// q, k, v, do: f32 as attention/operands says (do as o), dkv: dk and dv in one buffer, from
// dk_offset and dv_offset, each laid out as k; lse and delta: f32 [B, H, Tq]. A workgroup owns
// TILE_ROWS keys and walks over the queries that see them, 32 at a time, as attention.wgsl does
// over keys, in four products of matrices: k q^T, v do^T, p^T do and ds^T q. Every sum runs over
// the queries in their order. With several parts of the walk each writes a dk and a dv of its own,
// which split_sum adds in order.
// Reads 4 D (2 B H Tq Tk / 32 + 4 B H Tq Tk / TILE_ROWS) bytes, writes 8 B H Tk D.
#import attention/attention/operands
#import attention/attention/upstream
#for (x, binding) in (dkv, 6)
#import attention/attention/written
#end
#import attention/attention/tile/memory
// p and ds, at once where there is room, else one after the other.
var<workgroup> p_tile: array<vec4<f32>, BLOCK * PITCH>;
#ifdef BOTH
var<workgroup> ds_tile: array<vec4<f32>, BLOCK * PITCH>;
#endif

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#import attention/attention/tile/begin
    // The first keys are seen by most queries.
    let row0 = order * TILE_ROWS;
    let d_o_from = o_from;
    let d_o_step = p.o_row;
#for all in p.tk
#import attention/attention/tile/own
#end
#unroll n 0 QUADS
#unroll i 0 4
    var dk_{n}_{i} = vec4<f32>();
    var dv_{n}_{i} = vec4<f32>();
#end
#end
#import attention/attention/visible_queries
    for (var c0 = first; c0 < end; c0 += i32(BLOCK)) {
#ifdef MASK
#for all in p.tk
#import attention/attention/tile/mask
#end
#endif
#unroll u 0 1+127/GROUP
        let walked_row_{u} = min(u32(c0) + lane / 4u + {u*GROUP/4}u, p.tq - 1u);
#end
#for (own, walked, sum) in (k, q, s) (v, d_o, dp)
#import attention/attention/tile/product
#end
#ifdef MASK
#for all in p.tk
#import attention/attention/tile/words
#end
#endif
#unroll j 0 32/ACROSS
        let query_{j} = c0 + i32(x) + {j*ACROSS};
        let safe_{j} = head * p.tq + min(u32(query_{j}), p.tq - 1u);
        let near_{j} = (vec4<i32>(query_{j} - i32(row0 + y) + p.diagonal) >= DOWN)
            & vec4<bool>(query_{j} < i32(p.tq));
#import attention/attention/tile/seen
        let p_{j} = select(vec4<f32>(), exp(s_{j} * p.scale - lse[safe_{j}]), seen_{j});
        p_tile[(x + {j*ACROSS}u) * PITCH + y] = p_{j};
        dp_{j} = p_{j} * (dp_{j} - delta[safe_{j}]);
#ifdef BOTH
        ds_tile[(x + {j*ACROSS}u) * PITCH + y] = dp_{j};
#endif
#end
#for (walked, weights, out, most) in (d_o, p_tile, dv, p.tq-1u)
#import attention/attention/tile/values
#end
#ifdef BOTH
#for (walked, weights, out, most) in (q, ds_tile, dk, p.tq-1u)
#import attention/attention/tile/values
#end
#else
        workgroupBarrier();
#unroll j 0 32/ACROSS
        p_tile[(x + {j*ACROSS}u) * PITCH + y] = dp_{j};
#end
#for (walked, weights, out, most) in (q, p_tile, dk, p.tq-1u)
#import attention/attention/tile/values
#end
#endif
    }
    let to = part * p.part_stride + image * p.k_batch + head % p.heads * p.k_head;
#unroll i 0 4
    let row_{i} = row0 + y + {i*TILE_ROWS/4}u;
    if row_{i} < p.tk {
#unroll n 0 QUADS
#for (gradient, value) in (dk, dk_{n}_{i}*p.scale) (dv, dv_{n}_{i})
#for (target, row) in (dkv, to+p.{gradient}_offset+row_{i}*p.k_row)
#import attention/attention/tile/store
#end
#end
#end
    }
#end
}
