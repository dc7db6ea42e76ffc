#requires lane x y quarters {own}_at {own}_from {own}_step {walked}_at {walked}_from {walked}_step
#provides {sum}_{j}
        // {sum}_{j}: the products of this invocation's four owned rows (y and every TILE_ROWS/4-th)
        // with walked row x + j ACROSS of the block, 16 channels at a time through workgroup
        // memory.
#unroll j 0 32/ACROSS
        var {sum}_{j} = vec4<f32>();
#end
        for (var t0 = 0u; t0 < quarters; t0 += 4u) {
#unroll u 0 1+15/ACROSS
            let own_{u} = {own}_at({own}_from + own_row_{u} * {own}_step, t0 + lane % 4u);
#end
#unroll u 0 1+127/GROUP
            let walked_{u} = {walked}_at(
                {walked}_from + walked_row_{u} * {walked}_step, t0 + lane % 4u);
#end
            workgroupBarrier();
            if 4u * TILE_ROWS >= GROUP || lane < 4u * TILE_ROWS {
#unroll u 0 1+15/ACROSS
                chunk[(lane / 4u + {u*GROUP/4}u) * 5u + lane % 4u] = own_{u};
#end
            }
            if 4u * BLOCK >= GROUP || lane < 4u * BLOCK {
#unroll u 0 1+127/GROUP
                chunk[(TILE_ROWS + lane / 4u + {u*GROUP/4}u) * 5u + lane % 4u] = walked_{u};
#end
            }
            workgroupBarrier();
            for (var t = 0u; t < 4u; t += 1u) {
#unroll j 0 32/ACROSS
                let b_{j} = chunk[(TILE_ROWS + x) * 5u + t + {j*ACROSS*5}u];
#end
#unroll i 0 4
                let a_{i} = chunk[y * 5u + t + {i*TILE_ROWS/4*5}u];
#unroll j 0 32/ACROSS
                {sum}_{j}[{i}] = fma(a_{i}.w, b_{j}.w, fma(a_{i}.z, b_{j}.z,
                    fma(a_{i}.y, b_{j}.y, fma(a_{i}.x, b_{j}.x, {sum}_{j}[{i}]))));
#end
#end
            }
        }
