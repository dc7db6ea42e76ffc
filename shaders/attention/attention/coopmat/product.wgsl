#requires lane tile_put block_row walked_half
        // {sum}: the products of the owned rows of {own} with the block's rows of {walked}, a chunk
        // of channels at a time through workgroup memory.
#ifdef EMULATE
        var {sum} = array<f32, DOWN * WALKED * HELD>();
#else
#unroll i 0 TILE_ROWS/(2*SIDE)
#unroll c 0 16/SIDE
        var {sum}_{i}_{c} = Sum();
#end
#end
#endif
#unroll n 0 1
#import attention/attention/coopmat/fetch_rows
#end
#unroll t 0 CHANNELS/CHUNK
        workgroupBarrier();
#unroll u 0 8*CHUNK/GROUP
        tile_put((lane + {u}u * GROUP) / (CHUNK / 4u) * LINE
            + (lane + {u}u * GROUP) % (CHUNK / 4u) * QUAD, vec4<f16>({walked}_row_{t}_{u}));
#end
        workgroupBarrier();
#unroll n t+1 t+1+(2*(CHANNELS/CHUNK)-2-t)/(CHANNELS/CHUNK)
#import attention/attention/coopmat/fetch_rows
#end
#ifdef EMULATE
        for (var block = 0u; block < DOWN * WALKED; block += 1u) {
            let a = (block / WALKED * SIDE + block_row) * OWNED + {t}u * CHUNK / CELL;
            let b = (block % WALKED * SIDE + walked_half) * LINE;
            for (var e = 0u; e < HELD; e += 1u) {
                let one = held_at(lane, e);
                var more = {sum}[block * HELD + e];
                for (var k = 0u; k < CHUNK; k += 1u) {
                    more += {own}_own_half(a + one / SIDE * OWNED, k)
                        * tile_half(b + one % SIDE * LINE, k);
                }
                {sum}[block * HELD + e] = more;
            }
        }
#else
#unroll s 0 CHUNK/SIDE
#unroll c 0 16/SIDE
        {
            let b = coopLoad<Right>(
                &tile[(walked_half + {c*SIDE}u) * LINE + {s*SIDE}u / CELL], LINE,
            );
#unroll i 0 TILE_ROWS/(2*SIDE)
            {sum}_{i}_{c} = coopMultiplyAdd({own}_{i}_{t*CHUNK/SIDE+s}, b, {sum}_{i}_{c});
#end
        }
#end
#end
#endif
#end
