            // Multiplies a tile while the next one is loaded, which then takes the place of the
            // one before.
            workgroupBarrier();
#import gemm/tiled/load
#unroll kk 0 TILE_K
            {
#unroll i 0 V/4
                let a_{i} = lhs_read(lhs_get_{kk/4} + ({kk}u * (TILE_ROWS / 4u) + {i}u * DOWN));
#end
#unroll i 0 NC/4
                let b_{i} = rhs_read(rhs_get_{kk/4} + ({kk}u * (TILE_COLS / 4u) + {i}u * ACROSS));
#end
#unroll v 0 V
#unroll c 0 NC
                acc_{v}_{c} = fma(a_{v/4}[{v%4}], b_{c/4}[{c%4}], acc_{v}_{c});
#end
#end
            }
#end
            // The other tiles' turn.
#for (op, SPAN) in (lhs, TILE_ROWS) (rhs, TILE_COLS)
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
            {op}_put_{i} ^= TILE_K * {SPAN} / 4u;
#end
#unroll s 0 TILE_K/4
            {op}_get_{s} ^= TILE_K * {SPAN} / 4u;
#end
#end
#import gemm/tiled/store
