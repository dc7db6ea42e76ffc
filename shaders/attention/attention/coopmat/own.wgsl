#requires lane row0 {own}_at {own}_from {own}_step {own}_own_put block_row
    // The owned rows of {own} as halves, those past the last as the last; their matrices stay in
    // registers.
    for (var i = lane; i < TILE_ROWS * CHANNELS / 4u; i += GROUP) {
        let row = min(row0 + i / (CHANNELS / 4u), {all} - 1u);
        let quad = i % (CHANNELS / 4u);
        {own}_own_put(i / (CHANNELS / 4u) * OWNED + quad * QUAD,
            vec4<f16>({own}_at({own}_from + row * {own}_step, quad)));
    }
    workgroupBarrier();
#ifndef EMULATE
#unroll s 0 CHANNELS/SIDE
#unroll i 0 TILE_ROWS/(2*SIDE)
    let {own}_{i}_{s} = coopLoadT<Left>(
        &{own}_own[(block_row + {i*SIDE}u) * OWNED + {s*SIDE}u / CELL], OWNED,
    );
#end
#end
#endif
