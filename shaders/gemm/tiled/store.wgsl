            // What gemm/tiled/load has read, into workgroup memory: quads of lines at a step of k.
#requires lhs_tile rhs_tile
#for (op, OP, SPAN) in (lhs, LHS, TILE_ROWS) (rhs, RHS, TILE_COLS)
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
#ifdef {OP}_M
            {op}_tile[{op}_put_{i}] = {op}_next_{i};
#else
#unroll j 0 4
            {op}_tile[{op}_put_{i} + {j}u * ({SPAN} / 4u)][{op}_line_{i} % 4u] = {op}_next_{i}[{j}];
#end
#endif
#end
#end
