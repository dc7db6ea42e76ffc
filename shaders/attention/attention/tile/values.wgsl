#requires lane x y {walked}_at {walked}_from {walked}_step {weights} c0
        // {out}_n_i += sum over the block's rows r of weight(r, i) {walked}(r, n), for owned row i
        // of this invocation's four and its channels' quarter x + n ACROSS, DEPTH rows at a time
        // through workgroup memory.
        for (var r0 = 0u; r0 < BLOCK; r0 += DEPTH) {
#unroll u 0 DEPTH*ACROSS*QUADS/GROUP
            let value_{u} = {walked}_at({walked}_from
                + min(u32(c0) + r0 + (lane + {u}u * GROUP) / WIDTH, {most}) * {walked}_step,
                (lane + {u}u * GROUP) % WIDTH);
#end
            workgroupBarrier();
#unroll u 0 DEPTH*ACROSS*QUADS/GROUP
            chunk[lane + {u}u * GROUP] = value_{u};
#end
            workgroupBarrier();
            for (var r = 0u; r < DEPTH; r += 1u) {
                let w = {weights}[(r0 + r) * PITCH + y];
#unroll n 0 QUADS
                let b_{n} = chunk[r * WIDTH + x + {n}u * ACROSS];
#unroll i 0 4
                {out}_{n}_{i} = fma(vec4<f32>(w[{i}]), b_{n}, {out}_{n}_{i});
#end
#end
            }
        }
