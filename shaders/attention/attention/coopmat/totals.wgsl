    // {out}: sums of the owned rows and all channels, which stay in matrices over the whole walk.
#ifdef EMULATE
    var {out} = array<f32, TILE_ROWS * CHANNELS / 4u / SUBGROUP>();
#else
#unroll i 0 TILE_ROWS/(2*SIDE)
#unroll n 0 CHANNELS/(2*SIDE)
    var {out}_{i}_{n} = Sum();
#end
#end
#endif
