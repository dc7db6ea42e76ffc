#requires block_row block_col lane
    // The sums of 32 rows, the {t}th, and 64 columns, the {h}th, out of their matrices: a matrix's
    // elements belong to no invocation in particular.
    workgroupBarrier();
#ifdef EMULATE
    for (var block = 0u; block < 512u / (SIDE * SIDE); block += 1u) {
        let b = block / (32u / SIDE);
        let c = block % (32u / SIDE);
        let first = (({16*t/SIDE}u + b) * BESIDE + {32*h/SIDE}u + c) * HELD;
        let at = (b * SIDE + block_row) * FLOATS + c * SIDE + block_col;
        for (var e = 0u; e < HELD; e += 1u) {
            let one = held_at(lane, e);
            sums[at + one / SIDE * FLOATS + one % SIDE] = held[first + e];
        }
    }
#else
#unroll b 0 16/SIDE
#unroll c 0 32/SIDE
    {
        // Inline, the index and the stride of a store panic naga's SPIR-V writer.
        let at = ({b*SIDE}u + block_row) * FLOATS + {c*SIDE}u + block_col;
        let stride = FLOATS;
        coopStoreT(sum_{16*t/SIDE+b}_{32*h/SIDE+c}, &sums[at], stride);
    }
#end
#end
#endif
    workgroupBarrier();
