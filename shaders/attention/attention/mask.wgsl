#requires c0 begin mask
#provides bit
        // The words of the mask that hold the bits of the rows from c0 on, the first at `bit`: read
        // again every 32 rows.
        if c0 % 32 == 0 || c0 == begin {
#unroll v 0 V
            word_{v} = mask[mask_{v} + u32(c0) / 32u * p.mask_word];
#end
        }
        let bit = u32(c0) % 32u;
        // A block that no row of the group sees changes nothing.
        var any = 0u;
#unroll v 0 V
        any |= extractBits(word_{v}, bit, NC);
#end
        if !subgroupAny(any != 0u) { continue; }
