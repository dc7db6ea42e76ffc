#requires lhs_run lhs_load rhs_run rhs_load
    // The `coopmat` core: 64 x 64 outputs for a workgroup of four subgroups, on cooperative
    // matrices of SIDE x SIDE: f16 operands, f32 sums. Operands are rounded to f16 on their way
    // into workgroup memory (from 65,520 on they are infinite), 32 steps along k at a time; each
    // subgroup multiplies 32 x 32 outputs of its own.
    //
    // A matrix's elements belong to no invocation in particular, so the sums go through workgroup
    // memory, STAGE rows at a time, and an invocation picks up four columns of V rows: four side by
    // side of each SUBGROUP.
#import shared/whole_subgroup
    let tile_col = tile_c0 + lane % 16u * 4u;
    // Every lane of a subgroup must name the same matrix: its first lane speaks for all.
    let subgroup = subgroupBroadcastFirst(lane) / SUBGROUP;
    // Of the 64 / SIDE blocks along the rows a subgroup has every other one, so that all four take
    // part in every stage; of those along the columns, one half.
    let block_row = subgroup / 2u * SIDE;
    let block_col = subgroup % 2u * 32u;
#unroll i 0 32/SIDE
#unroll j 0 32/SIDE
    var sum_{i}_{j} = Sum();
#end
#end
    // In loading, ROW_LANES invocations share a row (or a column), or one has ROW_EACH; or one has
    // four side by side.
#for (op, OP, first) in (lhs, LHS, tile_r0) (rhs, RHS, tile_c0)
#ifdef {OP}_M
    let {op}_0 = {op}_begin({first} + 4u * (lane % 16u));
#else
#unroll r 0 ROW_EACH
    let {op}_{r} = {op}_begin({first} + lane / ROW_LANES + {r}u * (GROUP / ROW_LANES));
#end
#endif
#end
    for (var t1 = t1_begin; t1 < t1_end; t1 += 1u) {
        for (var t0 = 0u; t0 < t0_end; t0 += 1u) {
#for (op, OP) in (lhs, LHS) (rhs, RHS)
#ifdef {OP}_M
            let {op}_run_0 = {op}_run({op}_0, t1, t0);
#else
#unroll r 0 ROW_EACH
            let {op}_run_{r} = {op}_run({op}_{r}, t1, t0);
#end
#endif
#end
            for (var k = 0; k < k_end; k += 32) {
                workgroupBarrier();
#for (op, OP) in (lhs, LHS) (rhs, RHS)
#ifdef {OP}_M
#unroll i 0 512/GROUP
                {
                    let step = lane / 16u + {i}u * (GROUP / 16u);
                    let x = vec4<f16>({op}_load({op}_run_0, k + i32(step)));
#unroll j 0 4
                    {op}_tile[(lane % 16u * 4u + {j}u) * HALVES + step] = x[{j}];
#end
                }
#end
#else
#unroll r 0 ROW_EACH
#unroll i 0 8/ROW_LANES
                {
                    let step = 4u * (lane % ROW_LANES + {i}u * ROW_LANES);
                    let x = vec4<f16>({op}_load({op}_run_{r}, k + i32(step)));
                    let line = lane / ROW_LANES + {r}u * (GROUP / ROW_LANES);
#unroll j 0 4
                    {op}_tile[line * HALVES + step + {j}u] = x[{j}];
#end
                }
#end
#end
#endif
#end
                workgroupBarrier();
#unroll s 0 32/SIDE
                {
                    // By rows of lhs_tile, and by columns of rhs_tile: both lie along k.
#unroll i 0 32/SIDE
                    let a_{i} = coopLoadT<Left>(
                        &lhs_tile[({2*i*SIDE}u + block_row) * HALVES + {s*SIDE}u], HALVES);
#end
#unroll j 0 32/SIDE
                    let b_{j} = coopLoad<Right>(
                        &rhs_tile[({j*SIDE}u + block_col) * HALVES + {s*SIDE}u], HALVES);
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
    acc_{4*(s*(STAGE/SUBGROUP)+q)+j}_{c} = select(nothing, sums[
        ({q}u * SUBGROUP + lane / 16u * 4u + {j}u) * FLOATS + lane % 16u * 4u + {c}u], whole);
#end
#end
#end
#end
