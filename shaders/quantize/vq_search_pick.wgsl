// index[n] = code[s,n] of the part s with the least score[s,n];
//   ties go to the first part, whose codes are the lowest
//
// score: f32 [S, N], code: u32 [S, N], as vq_search leaves them where several workgroups share the
// codes of a row; index: u32 [N]. One invocation walks the parts of its row. Reads 8 S N bytes,
// writes 4 N.
struct Params { n: u32, splits: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> score: array<f32>;
@group(0) @binding(1) var<storage, read> code: array<u32>;
@group(0) @binding(2) var<storage, read_write> index: array<u32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_index(group, groups, lane, 64u);
    if row >= p.n { return; }
    var best = score[row];
    var chosen = code[row];
    for (var s = 1u; s < p.splits; s += 1u) {
        let at = s * p.n + row;
        if score[at] < best {
            best = score[at];
            chosen = code[at];
        }
    }
    index[row] = chosen;
}
