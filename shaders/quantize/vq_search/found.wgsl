// Where a search leaves the code of a row: in index, or (SPLIT) with its score, for the part of the
// codes that the workgroup walked, for vq_search_pick.
#requires p
#provides found
#ifdef SPLIT
@group(0) @binding(3) var<storage, read_write> part_score: array<f32>;
@group(0) @binding(4) var<storage, read_write> part_code: array<u32>;
#else
@group(0) @binding(3) var<storage, read_write> index: array<u32>;
#endif
fn found(part: u32, row: u32, best: f32, code: u32) {
#ifdef SPLIT
    part_score[part * p.n + row] = best;
    part_code[part * p.n + row] = code;
#else
    index[row] = code;
#endif
}
