#requires share
        // What this invocation has of its owned row's block: quads share, share + SHARE, .., of
        // which the row sees, or is seen by, those that `{near}` and the mask have.
#ifdef MASK
        let word = mask[image * p.mask_batch + u32(c0) / 32u * p.mask_word
            + min(row0 + mine, {all} - 1u) * p.mask_row];
#endif
#unroll n 0 8/(GROUP/TILE_ROWS)
#unroll c 0 4
        let column_{n}_{c} = 4u * (share + {n}u * SHARE) + {c}u;
#ifdef MASK
        let seen_{n}_{c} = i32(column_{n}_{c}) {near}
            && ((word >> column_{n}_{c}) & 1u) == 1u;
#else
        let seen_{n}_{c} = i32(column_{n}_{c}) {near};
#endif
#end
#end
