    // The `tiled` core: TILE_ROWS x TILE_COLS outputs for a workgroup of GROUP invocations, V x NC each, ACROSS of them side by side,
    // through tiles of TILE_K along k in workgroup memory. GROUP is a multiple of TILE_ROWS and of TILE_COLS.
    //
    // From main: tile_r0, tile_c0 (first row and column), lane, t1_begin, t1_end, t0_end, k_end.
    // To main: tile_col, acc_{v}_{c} for column tile_col + c.
    let tile_col = tile_c0 + (lane % ACROSS) * NC;
#unroll v 0 V
#unroll c 0 NC
    var acc_{v}_{c} = 0.0;
#end
#end
    // In loading, an invocation has one row (or four side by side) and one column of its own, and a share of the steps along k.
#ifdef OWN_M
    let own_0 = own_begin(tile_r0 + 4u * (lane % (TILE_ROWS / 4u)));
    let own_k = lane / (TILE_ROWS / 4u);
#else
    let own_0 = own_begin(tile_r0 + lane % TILE_ROWS);
    let own_k = lane / TILE_ROWS;
#endif
#ifdef SHR_M
    let shr_0 = shr_begin(tile_c0 + 4u * (lane % (TILE_COLS / 4u)));
    let shr_k = lane / (TILE_COLS / 4u);
#else
    let shr_0 = shr_begin(tile_c0 + lane % TILE_COLS);
    let shr_k = lane / TILE_COLS;
#endif
    for (var t1 = t1_begin; t1 < t1_end; t1 += 1u) {
        for (var t0 = 0u; t0 < t0_end; t0 += 1u) {
            let own_run_0 = own_run(own_0, t1, t0);
            let shr_run_0 = shr_run(shr_0, t1, t0);
            for (var k = 0; k < k_end; k += i32(TILE_K)) {
                workgroupBarrier();
#ifdef OWN_M
#unroll i 0 TILE_K*TILE_ROWS/(4*GROUP)
                {
                    let at = own_k + {i}u * (4u * GROUP / TILE_ROWS);
                    own_tile[at * (TILE_ROWS / 4u) + lane % (TILE_ROWS / 4u)] = own_load(own_run_0, k + i32(at));
                }
#end
#else
#unroll i 0 TILE_K*TILE_ROWS/(4*GROUP)
                {
                    let at = 4u * (own_k + {i}u * (GROUP / TILE_ROWS));
                    let part = own_load(own_run_0, k + i32(at));
                    let row = lane % TILE_ROWS;
#unroll j 0 4
                    own_tile[(at + {j}u) * (TILE_ROWS / 4u) + row / 4u][row % 4u] = part[{j}];
#end
                }
#end
#endif
#ifdef SHR_M
#unroll i 0 TILE_K*TILE_COLS/(4*GROUP)
                {
                    let at = shr_k + {i}u * (4u * GROUP / TILE_COLS);
                    shr_tile[at * (TILE_COLS / 4u) + lane % (TILE_COLS / 4u)] = shr_load(shr_run_0, k + i32(at));
                }
#end
#else
#unroll i 0 TILE_K*TILE_COLS/(4*GROUP)
                {
                    let at = 4u * (shr_k + {i}u * (GROUP / TILE_COLS));
                    let part = shr_load(shr_run_0, k + i32(at));
                    let col = lane % TILE_COLS;
#unroll j 0 4
                    shr_tile[(at + {j}u) * (TILE_COLS / 4u) + col / 4u][col % 4u] = part[{j}];
#end
                }
#end
#endif
                workgroupBarrier();
                for (var kk = 0u; kk < TILE_K; kk += 1u) {
#unroll i 0 V/4
                    let a_{i} = own_tile[kk * (TILE_ROWS / 4u) + (lane / ACROSS) * (V / 4u) + {i}u];
#end
#unroll i 0 NC/4
                    let b_{i} = shr_tile[kk * (TILE_COLS / 4u) + (lane % ACROSS) * (NC / 4u) + {i}u];
#end
#unroll v 0 V
#unroll c 0 NC
                    acc_{v}_{c} = fma(a_{v/4}[{v%4}], b_{c/4}[{c%4}], acc_{v}_{c});
#end
#end
                }
            }
        }
    }
