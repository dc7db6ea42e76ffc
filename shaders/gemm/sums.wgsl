    // The sums of row v of this invocation, acc_{v}_{c}, before its first use: nothing to do, but
    // on the `coopmat` core, where the rows of a stage are picked up together.
#ifdef SIDE
#unroll t v/(512/GROUP) v/(512/GROUP)+(512/GROUP-v%(512/GROUP))/(512/GROUP)
#unroll h 0 TILE_COLS/64
#import gemm/coopmat_stage
#unroll q 0 512/GROUP
#unroll c 0 4
    let acc_{v+q}_{4*h+c} = select(nothing,
        sums[({q}u * (GROUP / 16u) + lane / 16u) * FLOATS + lane % 16u * 4u + {c}u], whole);
#end
#end
#end
#end
#endif
