#requires c0 mask image row0
        // Blocks of which no owned row sees any row, or is seen by one, change nothing.
        let blocks = p.mask_blocks + image * p.mask_block_batch + u32(c0) / 1024u * p.mask_word;
        let any = mask[blocks + row0 / 32u * p.mask_block_row]
            | mask[blocks + min(row0 + TILE_ROWS - 1u, {all} - 1u) / 32u * p.mask_block_row];
        if ((any >> (u32(c0) / 32u % 32u)) & 1u) == 0u { continue; }
