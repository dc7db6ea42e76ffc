#requires group groups lane linear_group
#provides part order head image quarters q_from k_from v_from o_from q_step k_step v_step
    // Which tile this workgroup owns, and which part of the walk. Tiles of the same rows of all
    // heads follow each other: `order` counts rows, so that the kernel can have those first that
    // take longest.
    let number = linear_group(group, groups);
    let part = number / p.tiles;
    if part >= p.parts { return; }
    let all_heads = p.tiles / p.row_tiles;
    let order = number % p.tiles / all_heads;
    let head = number % p.tiles % all_heads;
    let image = head / p.heads;
    let quarters = (p.d + 3u) / 4u;
    let q_from = p.q_offset + image * p.q_batch + head % p.heads * p.q_head;
    let k_from = p.k_offset + image * p.k_batch + head % p.heads * p.k_head;
    let v_from = p.v_offset + image * p.k_batch + head % p.heads * p.k_head;
    let o_from = image * p.o_batch + head % p.heads * p.o_head;
    let q_step = p.q_row;
    let k_step = p.k_row;
    let v_step = p.k_row;
