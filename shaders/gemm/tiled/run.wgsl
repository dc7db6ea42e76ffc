            // The run at (t1, t0): where it lies, and which of its steps there are.
#requires t1 t0
#for (op, OP, SPAN) in (lhs, LHS, TILE_ROWS) (rhs, RHS, TILE_COLS)
#ifdef {OP}_VEC
            {op}_walk = {op}_offset(t1, t0) >> 2u;
#else
            {op}_walk = {op}_offset(t1, t0);
#endif
#ifdef WHOLE
#ifdef {OP}_EMPTY
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
            {op}_some_{i} = {op}_exists({op}_{i}, t1, t0);
            // Where it is zeros, what is read lies at the buffer's beginning.
            {op}_base_{i} = select(-{op}_walk, {op}_at_{i}, {op}_some_{i});
#end
#elif {OP}_CUT
            {
                let limits = {op}_limits({op}_0, t1, t0);
                {op}_lo_0 = limits.x - {op}_k;
                {op}_steps_0 = u32(max(limits.y - limits.x, 0));
            }
#endif
#else
#ifdef {OP}_K
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
            {
                let limits = {op}_limits({op}_{i}, t1, t0);
                {op}_lo_{i} = limits.x - {op}_k;
                {op}_steps_{i} = u32(max(limits.y - limits.x, 0));
            }
#end
#else
            {
                let limits = {op}_limits({op}_0, t1, t0);
                {op}_lo_0 = limits.x - {op}_k;
                {op}_steps_0 = u32(max(limits.y - limits.x, 0));
            }
#endif
#endif
#end
