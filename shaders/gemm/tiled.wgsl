    // The `tiled` core: TILE_ROWS x TILE_COLS outputs for a workgroup of GROUP invocations, V x NC
    // each, ACROSS of them side by side, through tiles of TILE_K along k in workgroup memory. While
    // one tile is multiplied the next is on its way into registers. GROUP is a multiple of
    // TILE_ROWS / 4 and of TILE_COLS / 4.
    let tile_col = tile_c0 + 4u * tile_x(lane);
    let quad_y = tile_y(lane);
    let quad_x = tile_x(lane);
#unroll v 0 V
#unroll c 0 NC
    var acc_{v}_{c} = 0.0;
#end
#end
    // Which part of a tile an invocation loads, so that neighbours read what lies side by side:
    // with _K neighbours have the quads along k of one row, with _M the quads of rows at one k, and
    // otherwise rows, with a share of the steps along k.
#for (op, OP, first, SPAN) in (lhs, LHS, tile_r0, TILE_ROWS) (rhs, RHS, tile_c0, TILE_COLS)
#ifdef {OP}_K
    let {op}_k = 4u * (lane % (TILE_K / 4u));
    let {op}_line = lane / (TILE_K / 4u);
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
    let {op}_{i} = {op}_begin({first} + {op}_line + {i}u * (4u * GROUP / TILE_K));
#end
#elif {OP}_M
    let {op}_k = lane / ({SPAN} / 4u);
    let {op}_line = lane % ({SPAN} / 4u);
    let {op}_0 = {op}_begin({first} + 4u * {op}_line);
#else
    let {op}_k = 4u * (lane / {SPAN});
    let {op}_line = lane % {SPAN};
    let {op}_0 = {op}_begin({first} + {op}_line);
#endif
#end
    var t1 = t1_begin;
    var t0 = 0u;
    var k = 0;
    var more = t1_begin < t1_end && t0_end > 0u && k_end > 0;
    var loaded = false;
#for (op, OP, SPAN) in (lhs, LHS, TILE_ROWS) (rhs, RHS, TILE_COLS)
    var {op}_run_0 = {op}_run({op}_0, t1, t0);
#ifdef {OP}_K
#unroll i 1 TILE_K*{SPAN}/(4*GROUP)
    var {op}_run_{i} = {op}_run({op}_{i}, t1, t0);
#end
#endif
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
    var {op}_next_{i}: vec4<f32>;
#end
#end
    loop {
        if more {
#for (op, OP, SPAN) in (lhs, LHS, TILE_ROWS) (rhs, RHS, TILE_COLS)
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
#ifdef {OP}_K
            {op}_next_{i} = {op}_load({op}_run_{i}, k + i32({op}_k));
#elif {OP}_M
            {op}_next_{i} = {op}_load({op}_run_0, k + i32({op}_k + {i}u * (4u * GROUP / {SPAN})));
#else
            {op}_next_{i} = {op}_load({op}_run_0, k + i32({op}_k + {i}u * (4u * GROUP / {SPAN})));
#endif
#end
#end
        }
        if loaded {
#unroll kk 0 TILE_K
            {
#unroll i 0 V/4
                let a_{i} = lhs_tile[{kk}u * (TILE_ROWS / 4u)
                    + ((quad_y + {i}u * DOWN) ^ mixed({kk}u, TILE_ROWS / 4u))];
#end
#unroll i 0 NC/4
                let b_{i} = rhs_tile[{kk}u * (TILE_COLS / 4u)
                    + ((quad_x + {i}u * ACROSS) ^ mixed({kk}u, TILE_COLS / 4u))];
#end
#unroll v 0 V
#unroll c 0 NC
                acc_{v}_{c} = fma(a_{v/4}[{v%4}], b_{c/4}[{c%4}], acc_{v}_{c});
#end
#end
            }
#end
        }
        if !more { break; }
        workgroupBarrier();
#for (op, OP, SPAN) in (lhs, LHS, TILE_ROWS) (rhs, RHS, TILE_COLS)
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
        {
#ifdef {OP}_M
            let at = {op}_k + {i}u * (4u * GROUP / {SPAN});
            {op}_tile[at * ({SPAN} / 4u) + ({op}_line ^ mixed(at, {SPAN} / 4u))] = {op}_next_{i};
#else
#ifdef {OP}_K
            let at = {op}_k;
            let line = {op}_line + {i}u * (4u * GROUP / TILE_K);
#else
            let at = {op}_k + {i}u * (4u * GROUP / {SPAN});
            let line = {op}_line;
#endif
            let quad = (line / 4u) ^ mixed(at, {SPAN} / 4u);
#unroll j 0 4
            {op}_tile[(at + {j}u) * ({SPAN} / 4u) + quad][line % 4u] = {op}_next_{i}[{j}];
#end
#endif
        }
#end
#end
        workgroupBarrier();
        loaded = true;
        k += i32(TILE_K);
        if k >= k_end {
            k = 0;
            t0 += 1u;
            if t0 >= t0_end {
                t0 = 0u;
                t1 += 1u;
            }
            more = t1 < t1_end;
            if more {
#for (op, OP, SPAN) in (lhs, LHS, TILE_ROWS) (rhs, RHS, TILE_COLS)
                {op}_run_0 = {op}_run({op}_0, t1, t0);
#ifdef {OP}_K
#unroll i 1 TILE_K*{SPAN}/(4*GROUP)
                {op}_run_{i} = {op}_run({op}_{i}, t1, t0);
#end
#endif
#end
            }
        }
    }
