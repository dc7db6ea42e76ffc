#requires lhs_run rhs_run
    // The `coopmat` core: TILE_ROWS x TILE_COLS outputs (128 x 128 or 64 x 64) for a workgroup of
    // four subgroups, on cooperative matrices of SIDE x SIDE: f16 operands, f32 sums. Operands are
    // rounded to f16 on their way into workgroup memory (from 65,520 on they are infinite), TILE_K
    // steps along k at a time; each subgroup multiplies a quarter of the outputs. While one tile is
    // multiplied, the next is on its way into registers: the last time round, what is read is
    // nothing, or with WHOLE the last tile again, so that no branch lies between.
    let tile_col = tile_c0 + lane % 16u * 4u;
#import gemm/coopmat_subgroup
    // Of every 32 rows and of every 64 columns a subgroup has one half, so that all four take part
    // when those leave the matrices.
    let block_row = subgroup / 2u * 16u;
    let block_col = subgroup % 2u * 32u;
#ifdef EMULATE
    var held = Sums();
#else
#unroll i 0 TILE_ROWS/(2*SIDE)
#unroll j 0 TILE_COLS/(2*SIDE)
    var sum_{i}_{j} = Sum();
#end
#end
#endif
    // In loading, LINE_LANES invocations side by side share a line, and have every LINE_LANES-th
    // quad along k of it; or with _M an invocation has four lines side by side, at steps along k
    // that follow each other.
#for (op, OP, first, SPAN) in (lhs, LHS, tile_r0, TILE_ROWS) (rhs, RHS, tile_c0, TILE_COLS)
#ifdef {OP}_M
    let {op}_line = lane % ({SPAN} / 4u) * 4u;
    let {op}_k = lane / ({SPAN} / 4u) * (TILE_K * {SPAN} / (4u * GROUP));
    let {op}_0 = {op}_begin({first} + {op}_line);
#else
    let {op}_line = lane / LINE_LANES;
    let {op}_k = lane % LINE_LANES * 4u;
#unroll r 0 LINE_LANES*{SPAN}/GROUP
    let {op}_{r} = {op}_begin({first} + {op}_line + {r}u * (GROUP / LINE_LANES));
#end
#endif
#end
    if t1_begin < t1_end && t0_end > 0u && k_end > 0 {
        var t1 = t1_begin;
        var t0 = 0u;
        var k = 0;
#for (op, OP, SPAN) in (lhs, LHS, TILE_ROWS) (rhs, RHS, TILE_COLS)
        var {op}_run_0: Run;
        var {op}_at_0: i32;
#ifndef {OP}_M
#unroll r 1 LINE_LANES*{SPAN}/GROUP
        var {op}_run_{r}: Run;
        var {op}_at_{r}: i32;
#end
#endif
#end
#import gemm/coopmat_runs
        // Where the matrices of the last user of the tiles are still being read.
        workgroupBarrier();
        {
#import gemm/coopmat_fetch
#import gemm/coopmat_put
        }
        workgroupBarrier();
        loop {
            var more = true;
            k += i32(TILE_K);
            if k >= k_end {
                t0 += 1u;
                if t0 >= t0_end {
                    t0 = 0u;
                    t1 += 1u;
                }
                more = t1 < t1_end;
                if more {
                    k = 0;
#import gemm/coopmat_runs
                }
            }
#import gemm/coopmat_fetch
            // By rows of lhs_tile, and by columns of rhs_tile: both lie along k.
#ifdef EMULATE
            for (var block = 0u; block < TILE_K / SIDE * DOWN * BESIDE; block += 1u) {
                let along = block / (DOWN * BESIDE) * SIDE / CELL;
                let i = block / BESIDE % DOWN;
                let j = block % BESIDE;
                let a = (row_of(i) + block_row) * PITCH + along;
                let b = (col_of(j) + block_col) * PITCH + along;
                for (var e = 0u; e < HELD; e += 1u) {
                    let one = held_at(lane, e);
                    var sum = held[(i * BESIDE + j) * HELD + e];
                    for (var step = 0u; step < SIDE; step += 1u) {
                        sum += lhs_half(a, one / SIDE, step) * rhs_half(b, one % SIDE, step);
                    }
                    held[(i * BESIDE + j) * HELD + e] = sum;
                }
            }
#else
#unroll s 0 TILE_K/SIDE
            {
#unroll i 0 TILE_ROWS/(2*SIDE)
                let a_{i} = coopLoadT<Left>(
                    &lhs_tile[(row_of({i}u) + block_row) * PITCH + {s*SIDE}u / CELL], PITCH,
                );
#end
#unroll j 0 TILE_COLS/(2*SIDE)
                {
                    let b = coopLoad<Right>(
                        &rhs_tile[(col_of({j}u) + block_col) * PITCH + {s*SIDE}u / CELL], PITCH,
                    );
#unroll i 0 TILE_ROWS/(2*SIDE)
                    sum_{i}_{j} = coopMultiplyAdd(a_{i}, b, sum_{i}_{j});
#end
                }
#end
            }
#end
#endif
            if !more { break; }
            workgroupBarrier();
#import gemm/coopmat_put
            workgroupBarrier();
        }
    }
