#requires c0 mask image row0 y
#provides words
        // The words of the mask that hold the bits of this invocation's rows and the block.
        let word = image * p.mask_batch + u32(c0) / 32u * p.mask_word;
        let words = vec4<u32>(
#unroll i 0 4
            mask[word + min(row0 + y + {i*TILE_ROWS/4}u, {all} - 1u) * p.mask_row],
#end
        );
