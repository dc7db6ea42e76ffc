// dq_i = scale sum over j of ds_ij k_j,  ds_ij = p_ij (do_i . v_j - delta_i),  p_ij = exp(scale
// q_i . k_j - lse_i), delta_i = do_i . o_i
//
// q, k, v, do, dq: f32 as attention/operands says (do as o; dq as q), lse and delta: f32
// [B, H, Tq]. The probabilities are made again from the forward pass's lse (Dao et al. 2022,
// algorithm 2, with the loops the other way round: no atomics). Each invocation owns V rows of q,
// do and dq and walks the keys, NC at a time, as attention_subgroup.wgsl does.
// Reads 4 D (2 B H Tq + 2 B H Tk Tq / (V GROUP)) bytes, writes 4 B H Tq D.
#import attention/attention/operands
#import attention/attention/upstream
#for (x, binding) in (dq, 6)
#import attention/attention/written
#end

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#import attention/attention/begin
#import shared/whole_subgroup
#unroll v 0 V
    let row_{v} = row0 + {v}u * GROUP + lane;
    let last_{v} = min(i32(row_{v}) + p.diagonal, i32(p.tk) - 1);
    let safe_{v} = min(row_{v}, p.tq - 1u);
    let lse_{v} = lse[head * p.tq + safe_{v}];
    let delta_{v} = delta[head * p.tq + safe_{v}];
#ifdef MASK
    let mask_{v} = image * p.mask_batch + safe_{v} * p.mask_row;
    var word_{v} = 0u;
#endif
#unroll t 0 DQ
    let q_{v}_{t} = q_at(p.q_offset + q_base + safe_{v} * p.q_row, {t}u) * p.scale;
    let do_{v}_{t} = d_o_at(o_base + safe_{v} * p.o_row, {t}u);
#unroll j 0 4
    var dq_{v}_{4*t+j} = nothing;
#end
#end
#end
    let end = min(i32(min(row0 + GROUP * V, p.tq)) + p.diagonal, i32(p.tk));
    let begin = 0;
    for (var c0 = begin; c0 < end; c0 += i32(NC)) {
#ifdef MASK
#import attention/attention/mask
#endif
#import attention/attention/keys
#unroll c 0 NC
#for (own, own2, walked, walked2) in (q, do, k, v)
#import attention/attention/scores
#end
#unroll v 0 V
        let near_{v}_{c} = c0 + {c} <= last_{v};
#for seen in sees
#import attention/attention/seen
#end
        let ds_{v}_{c} =
            select(0.0, exp(s_{v}_{c} - lse_{v}), sees_{v}_{c}) * (dp_{v}_{c} - delta_{v});
#end
#end
#unroll t 0 DQ
        {
#unroll c 0 NC
#for (x, walked) in (b_{c}, k)
#import attention/attention/handed
#end
#end
#unroll v 0 V
#unroll j 0 4
            var y_{v}_{j} = dq_{v}_{4*t+j};
#unroll c 0 NC
            y_{v}_{j} = fma(ds_{v}_{c}, b_{c}[{j}], y_{v}_{j});
#end
            dq_{v}_{4*t+j} = y_{v}_{j};
#end
#end
        }
#end
    }
#unroll v 0 V
    if row_{v} < p.tq {
        let to = p.dq_offset + q_base + row_{v} * p.q_row;
#ifdef VEC
#unroll t 0 DQ
        dq[to / 4u + {t}u] =
            vec4<f32>(dq_{v}_{4*t}, dq_{v}_{4*t+1}, dq_{v}_{4*t+2}, dq_{v}_{4*t+3}) * p.scale;
#end
#else
#unroll t 0 4*DQ
        if {t}u < p.d { dq[to + {t}u] = dq_{v}_{t} * p.scale; }
#end
#endif
    }
#end
}
