#requires lane tile_put weights block_row channel_half
        // {out} += the owned rows' weights of the block times its rows of {walked}, a chunk of
        // channels at a time through workgroup memory, where a line is a channel. The first chunk
        // is in registers already, and the weights in their memory at the first barrier but one.
#unroll t 0 CHANNELS/CHUNK
#unroll w 0 (t+CHANNELS/CHUNK-1)/(CHANNELS/CHUNK)
        workgroupBarrier();
#end
#unroll u 0 1+(2*CHUNK-1)/GROUP
        if BLOCK * CHUNK / 16u >= GROUP || lane < BLOCK * CHUNK / 16u {
            let to = (lane + {u}u * GROUP) / (BLOCK / 4u) * (4u * COLUMN)
                + (lane + {u}u * GROUP) % (BLOCK / 4u) * QUAD;
#unroll j 0 4
            tile_put(to + {j}u * COLUMN, vec4<f16>(
                vec4<f32>({walked}_column_{t}_{u}_0[{j}], {walked}_column_{t}_{u}_1[{j}],
                    {walked}_column_{t}_{u}_2[{j}], {walked}_column_{t}_{u}_3[{j}])));
#end
        }
#end
        workgroupBarrier();
#unroll n t+1 t+1+(2*(CHANNELS/CHUNK)-2-t)/(CHANNELS/CHUNK)
#import attention/attention/coopmat/fetch_columns
#end
#ifdef EMULATE
        for (var block = 0u; block < DOWN * BESIDE; block += 1u) {
            let a = (block / BESIDE * SIDE + block_row) * COLUMN;
            let b = (block % BESIDE * SIDE + channel_half) * COLUMN;
            let first =
                (block / BESIDE * ALONG + {t}u * BESIDE + block % BESIDE) * HELD;
            for (var e = 0u; e < HELD; e += 1u) {
                let one = held_at(lane, e);
                var more = {out}[first + e];
                for (var k = 0u; k < BLOCK; k += 1u) {
                    more += weights_half(a + one / SIDE * COLUMN, k)
                        * tile_half(b + one % SIDE * COLUMN, k);
                }
                {out}[first + e] = more;
            }
        }
#else
#unroll s 0 32/SIDE
        {
#unroll i 0 TILE_ROWS/(2*SIDE)
            let a_{i} = coopLoadT<Left>(
                &weights[(block_row + {i*SIDE}u) * COLUMN + {s*SIDE}u / CELL], COLUMN,
            );
#end
#unroll c 0 CHUNK/(2*SIDE)
            {
                let b = coopLoad<Right>(
                    &tile[(channel_half + {c*SIDE}u) * COLUMN + {s*SIDE}u / CELL], COLUMN,
                );
#unroll i 0 TILE_ROWS/(2*SIDE)
                {out}_{i}_{t*CHUNK/(2*SIDE)+c} =
                    coopMultiplyAdd(a_{i}, b, {out}_{i}_{t*CHUNK/(2*SIDE)+c});
#end
            }
#end
        }
#end
#endif
#end
