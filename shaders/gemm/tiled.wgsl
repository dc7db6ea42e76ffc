    // The `tiled` core: TILE_ROWS x TILE_COLS outputs for a workgroup of GROUP invocations, V x NC each, ACROSS of them
    // side by side, through tiles of TILE_K along k in workgroup memory. GROUP is a multiple of TILE_ROWS and of TILE_COLS.
    let tile_col = tile_c0 + (lane % ACROSS) * NC;
#unroll v 0 V
#unroll c 0 NC
    var acc_{v}_{c} = 0.0;
#end
#end
    // In loading, an invocation has one row (or four side by side) and one column, and a share of the steps along k.
#for (op, OP, first, SPAN) in (lhs, LHS, tile_r0, TILE_ROWS) (rhs, RHS, tile_c0, TILE_COLS)
#ifdef {OP}_M
    let {op}_0 = {op}_begin({first} + 4u * (lane % ({SPAN} / 4u)));
    let {op}_k = lane / ({SPAN} / 4u);
#else
    let {op}_0 = {op}_begin({first} + lane % {SPAN});
    let {op}_k = lane / {SPAN};
#endif
#end
    for (var t1 = t1_begin; t1 < t1_end; t1 += 1u) {
        for (var t0 = 0u; t0 < t0_end; t0 += 1u) {
            let lhs_run_0 = lhs_run(lhs_0, t1, t0);
            let rhs_run_0 = rhs_run(rhs_0, t1, t0);
            for (var k = 0; k < k_end; k += i32(TILE_K)) {
                workgroupBarrier();
#for (op, OP, SPAN) in (lhs, LHS, TILE_ROWS) (rhs, RHS, TILE_COLS)
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
                {
#ifdef {OP}_M
                    let at = {op}_k + {i}u * (4u * GROUP / {SPAN});
                    {op}_tile[at * ({SPAN} / 4u) + lane % ({SPAN} / 4u)] = {op}_load({op}_run_0, k + i32(at));
#else
                    let at = 4u * ({op}_k + {i}u * (GROUP / {SPAN}));
                    let part = {op}_load({op}_run_0, k + i32(at));
                    let line = lane % {SPAN};
#unroll j 0 4
                    {op}_tile[(at + {j}u) * ({SPAN} / 4u) + line / 4u][line % 4u] = part[{j}];
#end
#endif
                }
#end
#end
                workgroupBarrier();
                for (var kk = 0u; kk < TILE_K; kk += 1u) {
#unroll i 0 V/4
                    let a_{i} = lhs_tile[kk * (TILE_ROWS / 4u) + (lane / ACROSS) * (V / 4u) + {i}u];
#end
#unroll i 0 NC/4
                    let b_{i} = rhs_tile[kk * (TILE_COLS / 4u) + (lane % ACROSS) * (NC / 4u) + {i}u];
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
