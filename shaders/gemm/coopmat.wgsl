    // The `coopmat` core: 64 x 64 outputs for a workgroup of four subgroups, on cooperative matrices of SIDE x SIDE: f16
    // operands, f32 sums. Operands are rounded to f16 on their way into workgroup memory (from 65,520 on they are
    // infinite), 32 steps along k at a time; each subgroup multiplies 32 x 32 outputs of its own.
    //
    // A matrix's elements belong to no invocation in particular, so the sums go through workgroup memory, STAGE rows at a
    // time, and an invocation picks up four columns of V rows: four side by side of each SUBGROUP.
    // From main: tile_r0, tile_c0 (first row and column), lane, t1_begin, t1_end, t0_end, k_end.
    // To main: tile_col, acc_{v}_{c} for column tile_col + c, c < 4.
    let tile_col = tile_c0 + lane % 16u * 4u;
    // Every lane of a subgroup must name the same matrix: its first lane speaks for all.
    let subgroup = subgroupBroadcastFirst(lane) / SUBGROUP;
    // Of the 64 / SIDE blocks along the rows a subgroup has every other one, so that all four take part in every stage;
    // of those along the columns, one half.
    let block_row = subgroup / 2u * SIDE;
    let block_col = subgroup % 2u * 32u;
#unroll i 0 32/SIDE
#unroll j 0 32/SIDE
    var sum_{i}_{j} = Sum();
#end
#end
    // In loading, ROW_LANES invocations share a row (or a column), or one has ROW_EACH; or one has four side by side.
#ifdef OWN_M
    let own_0 = own_begin(tile_r0 + 4u * (lane % 16u));
#else
#unroll r 0 ROW_EACH
    let own_{r} = own_begin(tile_r0 + lane / ROW_LANES + {r}u * (GROUP / ROW_LANES));
#end
#endif
#ifdef SHR_M
    let shr_0 = shr_begin(tile_c0 + 4u * (lane % 16u));
#else
#unroll r 0 ROW_EACH
    let shr_{r} = shr_begin(tile_c0 + lane / ROW_LANES + {r}u * (GROUP / ROW_LANES));
#end
#endif
    for (var t1 = t1_begin; t1 < t1_end; t1 += 1u) {
        for (var t0 = 0u; t0 < t0_end; t0 += 1u) {
#unroll r 0 ROW_EACH
#ifndef OWN_M
            let own_run_{r} = own_run(own_{r}, t1, t0);
#endif
#ifndef SHR_M
            let shr_run_{r} = shr_run(shr_{r}, t1, t0);
#endif
#end
#ifdef OWN_M
            let own_run_0 = own_run(own_0, t1, t0);
#endif
#ifdef SHR_M
            let shr_run_0 = shr_run(shr_0, t1, t0);
#endif
            for (var k = 0; k < k_end; k += 32) {
                workgroupBarrier();
#ifdef OWN_M
#unroll i 0 512/GROUP
                {
                    let step = lane / 16u + {i}u * (GROUP / 16u);
                    let x = vec4<f16>(own_load(own_run_0, k + i32(step)));
#unroll j 0 4
                    own_tile[(lane % 16u * 4u + {j}u) * HALVES + step] = x[{j}];
#end
                }
#end
#else
#unroll r 0 ROW_EACH
#unroll i 0 8/ROW_LANES
                {
                    let step = 4u * (lane % ROW_LANES + {i}u * ROW_LANES);
                    let x = vec4<f16>(own_load(own_run_{r}, k + i32(step)));
#unroll j 0 4
                    own_tile[(lane / ROW_LANES + {r}u * (GROUP / ROW_LANES)) * HALVES + step + {j}u] = x[{j}];
#end
                }
#end
#end
#endif
#ifdef SHR_M
#unroll i 0 512/GROUP
                {
                    let step = lane / 16u + {i}u * (GROUP / 16u);
                    let x = vec4<f16>(shr_load(shr_run_0, k + i32(step)));
#unroll j 0 4
                    shr_tile[(lane % 16u * 4u + {j}u) * HALVES + step] = x[{j}];
#end
                }
#end
#else
#unroll r 0 ROW_EACH
#unroll i 0 8/ROW_LANES
                {
                    let step = 4u * (lane % ROW_LANES + {i}u * ROW_LANES);
                    let x = vec4<f16>(shr_load(shr_run_{r}, k + i32(step)));
#unroll j 0 4
                    shr_tile[(lane / ROW_LANES + {r}u * (GROUP / ROW_LANES)) * HALVES + step + {j}u] = x[{j}];
#end
                }
#end
#end
#endif
                workgroupBarrier();
#unroll s 0 32/SIDE
                {
                    // By rows of own_tile, and by columns of shr_tile: both lie along k.
#unroll i 0 32/SIDE
                    let a_{i} = coopLoadT<Left>(&own_tile[({2*i*SIDE}u + block_row) * HALVES + {s*SIDE}u], HALVES);
#end
#unroll j 0 32/SIDE
                    let b_{j} = coopLoad<Right>(&shr_tile[({j*SIDE}u + block_col) * HALVES + {s*SIDE}u], HALVES);
#unroll i 0 32/SIDE
                    sum_{i}_{j} = coopMultiplyAdd(a_{i}, b_{j}, sum_{i}_{j});
#end
#end
                }
#end
            }
        }
    }
#unroll v 0 V
#unroll c 0 4
    var acc_{v}_{c}: f32;
#end
#end
#unroll s 0 64/STAGE
    workgroupBarrier();
#unroll i 0 STAGE/(2*SIDE)
#unroll j 0 32/SIDE
    {
        // Inline, the index and the stride of a store panic naga's SPIR-V writer.
        let at = ({2*i*SIDE}u + block_row) * FLOATS + {j*SIDE}u + block_col;
        let stride = FLOATS;
        coopStoreT(sum_{s*(STAGE/(2*SIDE))+i}_{j}, &sums[at], stride);
    }
#end
#end
    workgroupBarrier();
#unroll q 0 STAGE/SUBGROUP
#unroll j 0 4
#unroll c 0 4
    acc_{4*(s*(STAGE/SUBGROUP)+q)+j}_{c} = sums[({q}u * SUBGROUP + lane / 16u * 4u + {j}u) * FLOATS + lane % 16u * 4u + {c}u];
#end
#end
#end
#end
