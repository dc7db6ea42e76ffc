#requires tile_col start cols store QUAD_COLS
        // Stores the sums of row v, whose first column lies at `start` of the output: through
        // store(at, col, value), four at a time with OUT_VEC.
#ifdef OUT_VEC
#unroll q 0 NC/4
        if tile_col + {q}u * QUAD_COLS < cols {
            store((start + {q}u * QUAD_COLS) / 4u, (tile_col + {q}u * QUAD_COLS) / 4u,
                vec4<f32>(acc_{v}_{4*q}, acc_{v}_{4*q+1}, acc_{v}_{4*q+2}, acc_{v}_{4*q+3}));
        }
#end
#else
#unroll c 0 NC
        {
            let beside = {c/4}u * QUAD_COLS + {c%4}u;
            if tile_col + beside < cols { store(start + beside, tile_col + beside, acc_{v}_{c}); }
        }
#end
#endif
