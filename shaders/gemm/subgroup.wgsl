#requires lhs_run lhs_load rhs_run rhs_load
    // The `subgroup` core. A workgroup is one subgroup of LANES lanes. Each lane owns V rows and
    // keeps V x NC sums in named variables; the columns are spread over the lanes and handed round
    // by broadcast, so that a step of four along k costs a few loads and V x NC x 4 fused
    // multiply-adds. No workgroup memory and no barrier.
#import shared/whole_subgroup
#unroll v 0 V
#unroll c 0 NC
    var acc_{v}_{c} = nothing;
#end
#end
    let tile_col = tile_c0;
#ifdef LHS_M
#unroll s 0 V/4
    let lhs_{s} = lhs_begin(tile_row(tile_r0, lane, {4*s}u));
#end
#else
#unroll v 0 V
    let lhs_{v} = lhs_begin(tile_row(tile_r0, lane, {v}u));
#end
#endif
#ifdef RHS_M
#unroll g 0 RHS_GROUPS
    let rhs_{g} = rhs_begin(tile_c0 + 4u * ({g}u * LANES + lane % RHS_LANES));
#end
#else
#unroll g 0 RHS_GROUPS
    let rhs_{g} = rhs_begin(tile_c0 + {g}u * RHS_LANES + lane % RHS_LANES);
#end
#endif
    for (var t1 = t1_begin; t1 < t1_end; t1 += 1u) {
        for (var t0 = 0u; t0 < t0_end; t0 += 1u) {
#ifdef LHS_M
#unroll s 0 V/4
            let lhs_run_{s} = lhs_run(lhs_{s}, t1, t0);
#end
#else
#unroll v 0 V
            let lhs_run_{v} = lhs_run(lhs_{v}, t1, t0);
#end
#endif
#unroll g 0 RHS_GROUPS
            let rhs_run_{g} = rhs_run(rhs_{g}, t1, t0);
#end
            for (var k = 0; k < k_end; k += 4) {
#ifdef LHS_M
#unroll s 0 V/4
#unroll j 0 4
                let x_{s}_{j} = lhs_load(lhs_run_{s}, k + {j});
#end
#end
#else
#unroll v 0 V
                let x_{v} = lhs_load(lhs_run_{v}, k);
#end
#endif
#ifdef RHS_M
#unroll g 0 RHS_GROUPS
#unroll j 0 4
                let w_{g}_{j} = rhs_load(rhs_run_{g}, k + {j});
#end
#end
#unroll q 0 NC/4
                {
#unroll j 0 4
                    let b_{j} = subgroupBroadcast(w_{q/LANES}_{j}, {q%LANES}u);
#end
#unroll c 0 4
#unroll v 0 V
#ifdef LHS_M
                    acc_{v}_{4*q+c} = fma(x_{v/4}_3[{v%4}], b_3[{c}],
                        fma(x_{v/4}_2[{v%4}], b_2[{c}],
                        fma(x_{v/4}_1[{v%4}], b_1[{c}],
                        fma(x_{v/4}_0[{v%4}], b_0[{c}], acc_{v}_{4*q+c}))));
#else
                    acc_{v}_{4*q+c} = fma(x_{v}.w, b_3[{c}], fma(x_{v}.z, b_2[{c}],
                        fma(x_{v}.y, b_1[{c}], fma(x_{v}.x, b_0[{c}], acc_{v}_{4*q+c}))));
#endif
#end
#end
                }
#end
#else
#unroll g 0 RHS_GROUPS
                let w_{g} = rhs_load(rhs_run_{g}, k);
#end
#unroll c 0 NC
                {
                    let b = subgroupBroadcast(w_{c/RHS_LANES}, {c%RHS_LANES}u);
#unroll v 0 V
#ifdef LHS_M
                    acc_{v}_{c} = fma(x_{v/4}_3[{v%4}], b.w, fma(x_{v/4}_2[{v%4}], b.z,
                        fma(x_{v/4}_1[{v%4}], b.y, fma(x_{v/4}_0[{v%4}], b.x, acc_{v}_{c}))));
#else
                    acc_{v}_{c} = fma(x_{v}.w, b.w, fma(x_{v}.z, b.z,
                        fma(x_{v}.y, b.y, fma(x_{v}.x, b.x, acc_{v}_{c}))));
#endif
#end
                }
#end
#endif
            }
        }
    }
