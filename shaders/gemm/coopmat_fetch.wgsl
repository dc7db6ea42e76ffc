            // The next tile of the `coopmat` core, into registers.
#ifdef WHOLE
            let k_read = min(k, k_end - i32(TILE_K));
#else
            let k_read = k;
#endif
#for (op, OP, SPAN) in (lhs, LHS, TILE_ROWS) (rhs, RHS, TILE_COLS)
#ifdef {OP}_M
            let {op}_stride = {op}_run_0.step >> 2u;
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
            let {op}_step_{i} = k_read + i32({op}_k + {i}u);
            let {op}_inside_{i} = {op}_inside({op}_run_0, {op}_step_{i});
            let {op}_raw_{i} =
                {op}_fetch({op}_at_0 + (k_read + {i}) * {op}_stride, {op}_inside_{i});
#end
#elif {OP}_K
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
            let {op}_step_{i} = k_read + i32({op}_k + {i%2*4*LINE_LANES}u);
            let {op}_inside_{i} = {op}_inside({op}_run_{i/2}, {op}_step_{i});
            let {op}_raw_{i} = {op}_fetch(
                {op}_at_{i/2} + (k_read >> 2u) + {i%2*LINE_LANES}, {op}_inside_{i},
            );
#end
#else
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
            let {op}_step_{i} = k_read + i32({op}_k + {i%2*4*LINE_LANES}u);
            let {op}_inside_{i} = true;
            let {op}_raw_{i} = {op}_fetch({op}_run_{i/2}, {op}_step_{i});
#end
#endif
#end
