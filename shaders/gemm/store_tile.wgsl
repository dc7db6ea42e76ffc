#requires tile_r0 tile_c0 rows cols tile_start y
    // The `coopmat` core's sums straight into memory, where the whole tile lies inside.
    // `tile_start` is the element of its first output, and rows are `cols` elements apart, a
    // multiple of 4.
#ifdef DIRECT
    if tile_r0 + TILE_ROWS <= rows && tile_c0 + TILE_COLS <= cols && whole {
        let stride = cols / 4u;
#ifdef EMULATE
        for (var block = 0u; block < DOWN * BESIDE; block += 1u) {
            let row = row_of(block / BESIDE) + block_row;
            let at = (tile_start + row * cols + col_of(block % BESIDE) + block_col) / 4u;
            // Matrices of 16 x 16, of which a lane holds whole quads.
            for (var e = 0u; e < HELD; e += 4u) {
                let one = held_at(lane, e);
                let sum = block * HELD + e;
                y[at + one / SIDE * stride + one % SIDE / 4u] =
                    vec4<f32>(held[sum], held[sum + 1u], held[sum + 2u], held[sum + 3u]);
            }
        }
#else
#unroll i 0 TILE_ROWS/(2*SIDE)
#unroll j 0 TILE_COLS/(2*SIDE)
        {
            let row = row_of({i}u) + block_row;
            let at = (tile_start + row * cols + col_of({j}u) + block_col) / 4u;
            coopStoreT(sum_{i}_{j}, &y[at], stride);
        }
#end
#end
#endif
        return;
    }
#endif
