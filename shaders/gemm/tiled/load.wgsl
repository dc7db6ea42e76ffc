            // This invocation's share of the tiles from k on, into registers.
#requires k lhs_walk rhs_walk
#for (op, OP, SPAN) in (lhs, LHS, TILE_ROWS) (rhs, RHS, TILE_COLS)
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
            var {op}_next_{i}: vec4<f32>;
            {
#ifdef {OP}_EMPTY
                let at = {op}_base_{i} + {op}_walk;
#elif {OP}_K
                let at = {op}_at_{i} + {op}_walk;
#else
                let at = {op}_at_0 + ({op}_walk + {i} * {op}_beyond);
#endif
#ifdef {OP}_VEC
#ifdef WHOLE
#ifdef {OP}_EMPTY
                let x = {op}_through(vec4<f32>({op}_data[at]));
                {op}_next_{i} = select(vec4<f32>(), x, {op}_some_{i});
#elif {OP}_CUT
                let ok = u32(k + {i} * {op}_apart - {op}_lo_0) < {op}_steps_0;
                let x = {op}_through(vec4<f32>({op}_data[select(0, at, ok)]));
                {op}_next_{i} = select(vec4<f32>(), x, ok);
#else
                {op}_next_{i} = {op}_through(vec4<f32>({op}_data[at]));
#endif
#else
#ifdef {OP}_K
                let ok = u32(k - {op}_lo_{i}) < {op}_steps_{i};
#else
                let ok = u32(k + {i} * {op}_apart - {op}_lo_0) < {op}_steps_0;
#endif
                let x = {op}_through(vec4<f32>({op}_data[select(0, at, ok)]));
                {op}_next_{i} = select(vec4<f32>(), x, ok);
#endif
#else
#unroll j 0 4
                let ok_{j} = u32(k + {i} * {op}_apart + {j} - {op}_lo_0) < {op}_steps_0;
                let at_{j} = select(0, at + {j} * {op}_step(), ok_{j});
                let x_{j} = select(0.0, {op}_data[at_{j}], ok_{j});
#end
                {op}_next_{i} = {op}_through(vec4<f32>(x_0, x_1, x_2, x_3));
#endif
            }
#end
#end
