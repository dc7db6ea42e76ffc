    // The `tiled` core: TILE_ROWS x TILE_COLS outputs for a workgroup of GROUP invocations, V x NC
    // each, ACROSS of them side by side, through tiles of TILE_K along k in workgroup memory. There
    // are two of each: while one is multiplied, the next is on its way into registers, and from
    // there into the other, so that a tile costs one barrier. GROUP is a multiple of TILE_ROWS / 4
    // and of TILE_COLS / 4.
    //
    // This is its beginning: what an invocation loads, stores and reads, and the first tile of the
    // first run, which is loaded and stored. Behind it come turns (gemm/tiled/turn), before each of
    // which k, lhs_walk and rhs_walk are moved on to the tile that it loads.
#requires tile_r0 tile_c0 lane t1_begin t1_end t0_end k_end lhs_begin rhs_begin
#provides tile_col acc_{v}_{c} lhs_walk rhs_walk lhs_stride rhs_stride more
    let tile_col = tile_c0 + 4u * tile_x(lane);
#unroll v 0 V
#unroll c 0 NC
    var acc_{v}_{c} = 0.0;
#end
#end
    // Which part of a tile an invocation loads, so that neighbours read what lies side by side:
    // with _K neighbours have the quads along k of one line, with _M the quads of lines at one k,
    // and otherwise lines, with a share of the steps along k. It lies at _at + _walk, the second of
    // which is the same for all invocations; both count vec4s where there are any.
#for (op, OP, first, SPAN) in (lhs, LHS, tile_r0, TILE_ROWS) (rhs, RHS, tile_c0, TILE_COLS)
#ifdef {OP}_K
    let {op}_k = i32(4u * (lane % (TILE_K / 4u)));
    let {op}_stride = i32(TILE_K / 4u);
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
    let {op}_line_{i} = lane / (TILE_K / 4u) + {i}u * (4u * GROUP / TILE_K);
    let {op}_{i} = {op}_begin({first} + {op}_line_{i});
    let {op}_at_{i} = ({op}_{i}.at + {op}_k) >> 2u;
#end
#else
    let {op}_apart = i32(4u * GROUP / {SPAN});
#ifdef {OP}_M
    let {op}_k = i32(lane / ({SPAN} / 4u));
    let {op}_quad = lane % ({SPAN} / 4u);
    let {op}_0 = {op}_begin({first} + 4u * {op}_quad);
    let {op}_at_0 = ({op}_0.at + {op}_k * {op}_step()) >> 2u;
    let {op}_stride = i32(TILE_K / 4u) * {op}_step();
    let {op}_beyond = {op}_apart * {op}_step() / 4;
#else
    let {op}_k = i32(4u * (lane / {SPAN}));
    let {op}_line = lane % {SPAN};
    let {op}_0 = {op}_begin({first} + {op}_line);
    let {op}_at_0 = {op}_0.at + {op}_k * {op}_step();
    let {op}_stride = i32(TILE_K) * {op}_step();
    let {op}_beyond = {op}_apart * {op}_step();
#endif
#endif
    var {op}_walk = 0;
    // The steps of a run that count, lo <= k < lo + steps, or whether it counts at all.
#ifdef WHOLE
#ifdef {OP}_EMPTY
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
    var {op}_some_{i} = false;
    var {op}_base_{i} = 0;
#end
#elif {OP}_CUT
    var {op}_lo_0 = 0;
    var {op}_steps_0 = 0u;
#endif
#else
#ifdef {OP}_K
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
    var {op}_lo_{i} = 0;
    var {op}_steps_{i} = 0u;
#end
#else
    var {op}_lo_0 = 0;
    var {op}_steps_0 = 0u;
#endif
#endif
    // Where it stores them. Kept from tile to tile, so that no compiler computes it in the loop.
#unroll i 0 TILE_K*{SPAN}/(4*GROUP)
#ifdef {OP}_M
    let {op}_at_k_{i} = u32({op}_k + {i} * {op}_apart);
    var {op}_put_{i} = {op}_at_k_{i} * ({SPAN} / 4u)
        + ({op}_quad ^ mixed({op}_at_k_{i}, {SPAN} / 4u));
#else
#ifdef {OP}_K
    let {op}_at_k_{i} = u32({op}_k);
#else
    let {op}_at_k_{i} = u32({op}_k + {i} * {op}_apart);
    let {op}_line_{i} = {op}_line;
#endif
    var {op}_put_{i} = {op}_at_k_{i} * ({SPAN} / 4u)
        + (({op}_line_{i} / 4u) ^ mixed({op}_at_k_{i}, {SPAN} / 4u));
#endif
#end
#end
    // And where it reads what it multiplies: quads lie DOWN and ACROSS apart, and what is mixed in
    // is less.
#unroll s 0 TILE_K/4
    var lhs_get_{s} = tile_y(lane) ^ mixed({4*s}u, TILE_ROWS / 4u);
    var rhs_get_{s} = tile_x(lane) ^ mixed({4*s}u, TILE_COLS / 4u);
#end
    var t1 = t1_begin;
    var t0 = 0u;
    var k = 0;
    var more = t1_begin < t1_end && t0_end > 0u && k_end > 0;
    if more {
#import gemm/tiled/run
#import gemm/tiled/load
            // A sum before this one may still read there.
            workgroupBarrier();
#import gemm/tiled/store
    }
