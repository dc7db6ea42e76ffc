// dv_j = sum over i of p_ij do_i,  dk_j = scale sum over i of ds_ij q_i,  with p and ds as
// attention_grad_q has them
//
// q, k, v, do: f32 as attention/operands says (do as o), dkv: dk and dv in one buffer, from
// dk_offset and dv_offset, each laid out as k; lse and delta: f32 [B, H, Tq]. Each invocation owns
// V rows of k and v and their gradients and walks the queries that see them, NC at a time, handed
// round as the keys are in attention_subgroup.wgsl. Every sum runs over the queries in their order.
// Reads 4 D (2 B H Tk + 2 B H Tq Tk / (V GROUP)) bytes, writes 8 B H Tk D.
#import attention/attention/operands
#import attention/attention/upstream
#for (x, binding) in (dkv, 6)
#import attention/attention/written
#end

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#import attention/attention/begin
#import shared/whole_subgroup
#unroll v 0 V
    let row_{v} = row0 + {v}u * GROUP + lane;
    let first_{v} = i32(row_{v}) - p.diagonal;
#ifdef MASK
    let mask_{v} = image * p.mask_batch + min(row_{v}, p.tk - 1u) * p.mask_row;
    var word_{v} = 0u;
#endif
    let safe_{v} = k_base + min(row_{v}, p.tk - 1u) * p.k_row;
#unroll t 0 DQ
    let k_{v}_{t} = k_at(p.k_offset + safe_{v}, {t}u);
    let v_{v}_{t} = v_at(p.v_offset + safe_{v}, {t}u);
#unroll j 0 4
    var dk_{v}_{4*t+j} = nothing;
    var dv_{v}_{4*t+j} = nothing;
#end
#end
#end
    // The first query that sees the tile's first key, on a multiple of NC so that every sum has one
    // order.
    let begin = max(i32(row0) - p.diagonal, 0) / i32(NC) * i32(NC);
    for (var c0 = begin; c0 < i32(p.tq); c0 += i32(NC)) {
#ifdef MASK
#import attention/attention/mask
#endif
        let query = min(u32(c0) + lane % NC, p.tq - 1u);
        let lse_own = lse[head * p.tq + query];
        let delta_own = delta[head * p.tq + query];
#unroll u 0 DQ/SPREAD
        let q_{u} = q_at(
            p.q_offset + q_base + query * p.q_row, SPREAD * {u}u + lane / NC % SPREAD) * p.scale;
        let do_{u} = d_o_at(o_base + query * p.o_row, SPREAD * {u}u + lane / NC % SPREAD);
#end
#unroll c 0 NC
        let l_{c} = subgroupBroadcast(lse_own, {c}u);
        let e_{c} = subgroupBroadcast(delta_own, {c}u);
#for (own, own2, walked, walked2) in (k, v, q, do)
#import attention/attention/scores
#end
#unroll v 0 V
        let near_{v}_{c} = c0 + {c} >= first_{v} && c0 + {c} < i32(p.tq);
#for seen in seen
#import attention/attention/seen
#end
        let p_{v}_{c} = select(0.0, exp(s_{v}_{c} - l_{c}), seen_{v}_{c});
        let ds_{v}_{c} = p_{v}_{c} * (dp_{v}_{c} - e_{c});
#end
#end
#unroll t 0 DQ
        {
#unroll c 0 NC
#for (x, walked) in (b_{c}, q) (w_{c}, do)
#import attention/attention/handed
#end
#end
#unroll v 0 V
#unroll j 0 4
            var y_{v}_{j} = dk_{v}_{4*t+j};
            var z_{v}_{j} = dv_{v}_{4*t+j};
#unroll c 0 NC
            y_{v}_{j} = fma(ds_{v}_{c}, b_{c}[{j}], y_{v}_{j});
            z_{v}_{j} = fma(p_{v}_{c}, w_{c}[{j}], z_{v}_{j});
#end
            dk_{v}_{4*t+j} = y_{v}_{j};
            dv_{v}_{4*t+j} = z_{v}_{j};
#end
#end
        }
#end
    }
#unroll v 0 V
    if row_{v} < p.tk {
        let to = k_base + row_{v} * p.k_row;
#ifdef VEC
#unroll t 0 DQ
        dkv[(p.dk_offset + to) / 4u + {t}u] =
            vec4<f32>(dk_{v}_{4*t}, dk_{v}_{4*t+1}, dk_{v}_{4*t+2}, dk_{v}_{4*t+3});
        dkv[(p.dv_offset + to) / 4u + {t}u] =
            vec4<f32>(dv_{v}_{4*t}, dv_{v}_{4*t+1}, dv_{v}_{4*t+2}, dv_{v}_{4*t+3});
#end
#else
#unroll t 0 4*DQ
        if {t}u < p.d {
            dkv[p.dk_offset + to + {t}u] = dk_{v}_{t};
            dkv[p.dv_offset + to + {t}u] = dv_{v}_{t};
        }
#end
#endif
    }
#end
}
