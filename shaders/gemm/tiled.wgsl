    // The `tiled` core: 64 x 64 outputs for a workgroup of 64 invocations, 8 x 8 each, through tiles of 16 along k in
    // workgroup memory. V = NC = 8.
    //
    // From main: tile_r0, tile_c0 (first row and column), lane, t1_begin, t1_end, t0_end, k_end.
    // To main: tile_col, acc_{v}_{c} for column tile_col + c.
    let tile_col = tile_c0 + (lane % 8u) * 8u;
#unroll v 0 V
#unroll c 0 NC
    var acc_{v}_{c} = 0.0;
#end
#end
    // In loading, an invocation has one row (or four side by side) and one column of its own.
#ifdef OWN_M
    let own_0 = own_begin(tile_r0 + 4u * (lane % 16u));
#else
    let own_0 = own_begin(tile_r0 + lane);
#endif
#ifdef SHR_M
    let shr_0 = shr_begin(tile_c0 + 4u * (lane % 16u));
#else
    let shr_0 = shr_begin(tile_c0 + lane);
#endif
    for (var t1 = t1_begin; t1 < t1_end; t1 += 1u) {
        for (var t0 = 0u; t0 < t0_end; t0 += 1u) {
            let own_run_0 = own_run(own_0, t1, t0);
            let shr_run_0 = shr_run(shr_0, t1, t0);
            for (var k = 0; k < k_end; k += 16) {
                workgroupBarrier();
#unroll i 0 4
#ifdef OWN_M
                own_tile[(lane / 16u + {4*i}u) * 16u + lane % 16u] = own_load(own_run_0, k + i32(lane / 16u) + {4*i});
#else
                let own_part_{i} = own_load(own_run_0, k + {4*i});
#unroll j 0 4
                own_tile[{4*i+j}u * 16u + lane / 4u][lane % 4u] = own_part_{i}[{j}];
#end
#endif
#ifdef SHR_M
                shr_tile[(lane / 16u + {4*i}u) * 16u + lane % 16u] = shr_load(shr_run_0, k + i32(lane / 16u) + {4*i});
#else
                let shr_part_{i} = shr_load(shr_run_0, k + {4*i});
#unroll j 0 4
                shr_tile[{4*i+j}u * 16u + lane / 4u][lane % 4u] = shr_part_{i}[{j}];
#end
#endif
#end
                workgroupBarrier();
                for (var kk = 0u; kk < 16u; kk += 1u) {
                    let a_0 = own_tile[kk * 16u + (lane / 8u) * 2u];
                    let a_1 = own_tile[kk * 16u + (lane / 8u) * 2u + 1u];
                    let b_0 = shr_tile[kk * 16u + (lane % 8u) * 2u];
                    let b_1 = shr_tile[kk * 16u + (lane % 8u) * 2u + 1u];
#unroll v 0 V
#unroll c 0 NC
                    acc_{v}_{c} = fma(a_{v/4}[{v%4}], b_{c/4}[{c%4}], acc_{v}_{c});
#end
#end
                }
            }
        }
    }
