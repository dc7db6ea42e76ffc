#requires x
        // Which of this invocation's rows see walked row j, or are seen by it: of those `near`, the
        // ones that the mask has a bit for.
#ifdef MASK
        let seen_{j} = near_{j}
            & (((words >> vec4<u32>(x + {j*ACROSS}u)) & vec4<u32>(1u)) == vec4<u32>(1u));
#else
        let seen_{j} = near_{j};
#endif
