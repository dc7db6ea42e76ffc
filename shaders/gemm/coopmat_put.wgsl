            // The tile that gemm/coopmat_fetch read, into workgroup memory.
#for (op, OP, SPAN) in (lhs, LHS, TILE_ROWS) (rhs, RHS, TILE_COLS)
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
            let {op}_x_{i} = {op}_narrow({op}_raw_{i}, {op}_inside_{i});
#end
#ifdef {OP}_M
#unroll g 0 TILE_K*{SPAN}/(16*GROUP)
#unroll j 0 4
            {op}_put({op}_line + {j}u, {op}_k / 4u + {g}u,
                vec4<f16>({op}_x_{4*g}[{j}], {op}_x_{4*g+1}[{j}],
                    {op}_x_{4*g+2}[{j}], {op}_x_{4*g+3}[{j}]));
#end
#end
            // Where there are more invocations than quads of lines and steps, halves one by one.
#unroll i TILE_K*{SPAN}/(16*GROUP)*4 TILE_K*{SPAN}/(4*GROUP)
#unroll j 0 4
            {op}_put_one({op}_line + {j}u, {op}_k + {i}u, {op}_x_{i}[{j}]);
#end
#end
#else
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
            {op}_put({op}_line + {i/2}u * (GROUP / LINE_LANES),
                {op}_k / 4u + {i%2*LINE_LANES}u, {op}_x_{i});
#end
#endif
#end
