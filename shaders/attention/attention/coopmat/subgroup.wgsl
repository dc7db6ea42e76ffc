#requires lane
#provides whole nothing block_row walked_half channel_half mine share
    // What of the tile is this subgroup's: a quarter of every product, and this invocation's: a
    // share of the quads of an owned row.
#import gemm/coopmat_subgroup
    let block_row = subgroup / 2u * (TILE_ROWS / 2u);
    let walked_half = subgroup % 2u * (BLOCK / 2u);
    let channel_half = subgroup % 2u * (CHUNK / 2u);
    let mine = lane / SHARE;
    let share = lane % SHARE;
