#requires lane c0 {walked}_at {walked}_from {walked}_step
        // The {n}th chunk of channels of the block's rows, on its way into registers.
#unroll u 0 8*CHUNK/GROUP
        let {walked}_row_{n}_{u} = {walked}_at(
            {walked}_from
                + min(u32(c0) + (lane + {u}u * GROUP) / (CHUNK / 4u), {most}) * {walked}_step,
            {n*CHUNK/4}u + (lane + {u}u * GROUP) % (CHUNK / 4u),
        );
#end
