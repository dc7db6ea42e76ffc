#requires row0 part
#provides first end
    // The queries of this part of the walk, from the first on that sees the tile's first key, on a
    // multiple of a block, so that every sum has one order.
    let first = max(
        max(i32(row0) - p.diagonal, 0) / i32(BLOCK) * i32(BLOCK),
        i32(part * p.part_rows));
    let end = min(i32(p.tq), i32((part + 1u) * p.part_rows));
