#requires row0 part
#provides first end
    // The keys of this part of the walk that some query of the tile sees.
    let first = i32(part * p.part_rows);
    let end = min(
        min(i32(min(row0 + TILE_ROWS, p.tq)) + p.diagonal, i32(p.tk)),
        first + i32(p.part_rows));
