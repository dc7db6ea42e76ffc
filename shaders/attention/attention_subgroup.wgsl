// o_i = sum over j of p_ij v_j,  p_ij = softmax over j of scale q_i . k_j,  over the keys
// j <= i + diagonal that the mask lets it see;  lse_i = log of the softmax's denominator:
// attention for devices where workgroup memory and barriers are dear
//
// q, k, v, o: f32 as attention/operands says, lse: f32 [B, H, Tq]. The Tq x Tk matrix never exists:
// a walk over the keys, NC at a time, keeps the largest score so far, the sum of exponentials under
// it, and the weighted sum of values, and brings the last two down whenever the largest grows
// (Milakov and Gimelshein 2018; Dao et al. 2022, algorithm 1). A row that sees no key gives 0. A
// workgroup is one subgroup of LANES lanes. Each lane owns V rows of q and their sums, and D is at
// most 4 DQ. NC keys and values at a time are handed round by broadcast; SPREAD lanes share a key
// and load every SPREAD-th quarter of it, so that no lane loads what another has. Key blocks past
// the last visible one are not walked.
// Reads 4 D (B H Tq + 2 B H Tk Tq / (V GROUP)) bytes, writes 4 B H Tq (D + 1).
#import attention/attention/operands
#import attention/attention/results

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#import attention/attention/begin
#import shared/whole_subgroup
#unroll v 0 V
    let row_{v} = row0 + {v}u * GROUP + lane;
    let last_{v} = min(i32(row_{v}) + p.diagonal, i32(p.tk) - 1);
    let from_{v} = p.q_offset + q_base + min(row_{v}, p.tq - 1u) * p.q_row;
#ifdef MASK
    let mask_{v} = image * p.mask_batch + min(row_{v}, p.tq - 1u) * p.mask_row;
    var word_{v} = 0u;
#endif
    var top_{v} = LOWEST;
    var sum_{v} = nothing;
#unroll t 0 DQ
    let q_{v}_{t} = q_at(from_{v}, {t}u) * p.scale;
#unroll j 0 4
    var o_{v}_{4*t+j} = nothing;
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
#unroll v 0 V
        var new_{v} = top_{v};
#end
#unroll c 0 NC
#unroll v 0 V
        var s_{v}_{c} = 0.0;
#end
#unroll t 0 DQ
        {
#for (x, walked) in (b, k)
#import attention/attention/handed
#end
#unroll v 0 V
            s_{v}_{c} = fma(q_{v}_{t}.w, b.w, fma(q_{v}_{t}.z, b.z,
                fma(q_{v}_{t}.y, b.y, fma(q_{v}_{t}.x, b.x, s_{v}_{c}))));
#end
        }
#end
#unroll v 0 V
        let near_{v}_{c} = c0 + {c} <= last_{v};
#for seen in sees
#import attention/attention/seen
#end
        s_{v}_{c} = select(LOWEST, s_{v}_{c}, sees_{v}_{c});
        new_{v} = max(new_{v}, s_{v}_{c});
#end
#end
#unroll v 0 V
        let shrink_{v} = exp(top_{v} - new_{v});
        top_{v} = new_{v};
        var part_{v} = 0.0;
#unroll c 0 NC
        // A row that has seen no key yet has LOWEST for its largest: its weights are 0 and not
        // exp(0).
        let p_{v}_{c} = select(0.0, exp(s_{v}_{c} - new_{v}), sees_{v}_{c});
        part_{v} += p_{v}_{c};
#end
        sum_{v} = fma(sum_{v}, shrink_{v}, part_{v});
#end
#unroll t 0 DQ
        {
#unroll c 0 NC
#for (x, walked) in (b_{c}, v)
#import attention/attention/handed
#end
#end
#unroll v 0 V
#unroll j 0 4
            var y_{v}_{j} = o_{v}_{4*t+j} * shrink_{v};
#unroll c 0 NC
            y_{v}_{j} = fma(p_{v}_{c}, b_{c}[{j}], y_{v}_{j});
#end
            o_{v}_{4*t+j} = y_{v}_{j};
#end
#end
        }
#end
    }
#unroll v 0 V
    if row_{v} < p.tq {
        let seen = sum_{v} > 0.0;
        let over = select(0.0, 1.0 / sum_{v}, seen);
        // Such that exp(score - lse) is 0 for a row without keys.
        lse[head * p.tq + row_{v}] = select(-LOWEST, top_{v} + log(sum_{v}), seen);
        let to = o_base + row_{v} * p.o_row;
#ifdef VEC
#unroll t 0 DQ
        o[to / 4u + {t}u] =
            vec4<f32>(o_{v}_{4*t}, o_{v}_{4*t+1}, o_{v}_{4*t+2}, o_{v}_{4*t+3}) * over;
#end
#else
#unroll t 0 4*DQ
        if {t}u < p.d { o[to + {t}u] = o_{v}_{t} * over; }
#end
#endif
    }
#end
}
