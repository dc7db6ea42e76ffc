        // Does row v of this invocation see walked row c, or is seen by it? Where `near`, if the
        // mask has its bit.
#ifdef MASK
        let {seen}_{v}_{c} = near_{v}_{c} && extractBits(word_{v}, bit + {c}u, 1u) == 1u;
#else
        let {seen}_{v}_{c} = near_{v}_{c};
#endif
