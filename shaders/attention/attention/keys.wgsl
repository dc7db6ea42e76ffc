#requires c0 k_base lane k_at v_at
        // The keys and values from c0 on, NC of them, spread over the lanes as k_{u} and v_{u}.
        let key = k_base + min(u32(c0) + lane % NC, p.tk - 1u) * p.k_row;
#unroll u 0 DQ/SPREAD
        let k_{u} = k_at(p.k_offset + key, SPREAD * {u}u + lane / NC % SPREAD);
        let v_{u} = v_at(p.v_offset + key, SPREAD * {u}u + lane / NC % SPREAD);
#end
