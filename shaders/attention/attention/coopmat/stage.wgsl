#requires lane block_row walked_half
        // The {h}th 32 columns of {out}, out of their matrices: a matrix's elements belong to no
        // invocation in particular. {across} matrices of a subgroup lie side by side in all.
        workgroupBarrier();
#ifdef EMULATE
        for (var block = 0u; block < DOWN * WALKED; block += 1u) {
            let i = block / WALKED;
            let c = block % WALKED;
            let first = (i * ({across}) + {h}u * WALKED + c) * HELD;
            let at = (i * SIDE + block_row) * FLOATS + c * SIDE + walked_half;
            for (var e = 0u; e < HELD; e += 1u) {
                let one = held_at(lane, e);
                sums[at + one / SIDE * FLOATS + one % SIDE] = {out}[first + e];
            }
        }
#else
#unroll i 0 TILE_ROWS/(2*SIDE)
#unroll c 0 16/SIDE
        {
            // Inline, the index and the stride of a store panic naga's SPIR-V writer.
            let at = (block_row + {i*SIDE}u) * FLOATS + walked_half + {c*SIDE}u;
            let stride = FLOATS;
            coopStoreT({out}_{i}_{16/SIDE*h+c}, &sums[at], stride);
        }
#end
#end
#endif
        workgroupBarrier();
