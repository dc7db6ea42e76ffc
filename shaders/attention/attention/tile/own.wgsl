#requires row0 y lane
#provides own_row_{u}
    // The rows that this invocation loads of those that the workgroup owns, which end at {all}.
#unroll u 0 1+15/ACROSS
    let own_row_{u} = min(row0 + (lane / 4u + {u*GROUP/4}u) % TILE_ROWS, {all} - 1u);
#end
