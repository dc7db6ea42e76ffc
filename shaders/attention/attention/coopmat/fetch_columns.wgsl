#requires lane c0 {walked}_at {walked}_from {walked}_step
        // The {n}th chunk of channels of the block's rows, four rows and four channels at a time,
        // on its way into registers.
#unroll u 0 1+(2*CHUNK-1)/GROUP
#unroll j 0 4
        var {walked}_column_{n}_{u}_{j} = vec4<f32>();
#end
        if BLOCK * CHUNK / 16u >= GROUP || lane < BLOCK * CHUNK / 16u {
            let quad = {n*CHUNK/4}u + (lane + {u}u * GROUP) / (BLOCK / 4u);
            let row = u32(c0) + (lane + {u}u * GROUP) % (BLOCK / 4u) * 4u;
#unroll j 0 4
            {walked}_column_{n}_{u}_{j} =
                {walked}_at({walked}_from + min(row + {j}u, {most}) * {walked}_step, quad);
#end
        }
#end
