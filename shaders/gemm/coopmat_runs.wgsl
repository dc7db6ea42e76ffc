            // The runs at (t1, t0) of the `coopmat` core, and where in fours this invocation's part
            // of each begins.
#for (op, OP, SPAN) in (lhs, LHS, TILE_ROWS) (rhs, RHS, TILE_COLS)
#ifdef {OP}_M
            {op}_run_0 = {op}_run({op}_0, t1, t0);
            {op}_at_0 = ({op}_run_0.base + i32({op}_k) * {op}_run_0.step) >> 2u;
#else
#unroll r 0 LINE_LANES*{SPAN}/GROUP
            {op}_run_{r} = {op}_run({op}_{r}, t1, t0);
            {op}_at_{r} = ({op}_run_{r}.base + i32({op}_k)) >> 2u;
#end
#endif
#end
