#requires group groups lane linear_group
#provides tile head image row0 q_base k_base o_base
    // Which rows this workgroup owns: a head's, from row0 on. Rows of q begin at
    // p.q_offset + q_base, and so on.
    let tile = linear_group(group, groups);
    if tile >= p.tiles { return; }
    let head = tile / p.row_tiles;
    let image = head / p.heads;
    let row0 = tile % p.row_tiles * (GROUP * V);
    let q_base = image * p.q_batch + head % p.heads * p.q_head;
    let k_base = image * p.k_batch + head % p.heads * p.k_head;
    let o_base = image * p.o_batch + head % p.heads * p.o_head;
