#requires lane block_row walked_half
            // The {h}th 32 columns of {out} back into their matrices.
            workgroupBarrier();
#ifdef EMULATE
            for (var block = 0u; block < DOWN * WALKED; block += 1u) {
                let i = block / WALKED;
                let c = block % WALKED;
                let first = (i * ({across}) + {h}u * WALKED + c) * HELD;
                let at = (i * SIDE + block_row) * FLOATS + c * SIDE + walked_half;
                for (var e = 0u; e < HELD; e += 1u) {
                    let one = held_at(lane, e);
                    {out}[first + e] = sums[at + one / SIDE * FLOATS + one % SIDE];
                }
            }
#else
#unroll i 0 TILE_ROWS/(2*SIDE)
#unroll c 0 16/SIDE
            {out}_{i}_{16/SIDE*h+c} = coopLoadT<Sum>(
                &sums[(block_row + {i*SIDE}u) * FLOATS + walked_half + {c*SIDE}u], FLOATS,
            );
#end
#end
#endif
