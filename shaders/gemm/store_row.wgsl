#requires tile_col start cols store
        // Stores the sums of row v, whose first column lies at `start` of the output: through
        // store(at, col, value), four at a time with OUT_VEC.
#ifdef OUT_VEC
#unroll q 0 NC/4
        if tile_col + {4*q}u < cols {
            store(start / 4u + {q}u, tile_col / 4u + {q}u,
                vec4<f32>(acc_{v}_{4*q}, acc_{v}_{4*q+1}, acc_{v}_{4*q+2}, acc_{v}_{4*q+3}));
        }
#end
#else
#unroll c 0 NC
        if tile_col + {c}u < cols { store(start + {c}u, tile_col + {c}u, acc_{v}_{c}); }
#end
#endif
