    // The `tiled` core, see gemm/tiled/begin.
#import gemm/tiled/begin
#ifdef RUNS
    // Loads are a tile ahead of what is multiplied, and so is the run: while the last tile of one
    // is multiplied, the first of the next is loaded. The loop over a run's tiles has nothing in it
    // that a run needs once.
    let tiles = (k_end + i32(TILE_K) - 1) / i32(TILE_K);
    var left = tiles - 1;               // tiles of the run that are still to be loaded
    while more {
        if left > 0 {
            loop {
                k += i32(TILE_K);
                lhs_walk += lhs_stride;
                rhs_walk += rhs_stride;
#import gemm/tiled/turn
                continuing {
                    left -= 1;
                    break if left == 0;
                }
            }
        }
        // Behind the last run there is one more turn, for its last tile, which is loaded again and
        // not read.
        more = t1 < t1_end;
        left = 1;
        t0 += 1u;
        if t0 >= t0_end {
            t0 = 0u;
            t1 += 1u;
        }
        if t1 < t1_end {
            k = 0;
            left = tiles;
#import gemm/tiled/run
        }
        k -= i32(TILE_K);
        lhs_walk -= lhs_stride;
        rhs_walk -= rhs_stride;
    }
#else
    while more {
        // Behind the last tile the last is loaded again, which nobody reads.
        k += i32(TILE_K);
        more = k < k_end;
        lhs_walk += select(0, lhs_stride, more);
        rhs_walk += select(0, rhs_stride, more);
#import gemm/tiled/turn
    }
#endif
