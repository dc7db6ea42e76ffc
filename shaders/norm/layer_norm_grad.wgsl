// dx = r (g - mean(g) - h mean(g h)),  g = dy w[c],  h = (x - mu) r,  means over the C values of n
//
// x, dy, dx: f32 [N, C]; w: [C]; stats: [N, 2] = (mu, r). One workgroup of GROUP has one n. Reads
// 16 N C bytes, writes 4 N C.
struct Params { c: u32, rows: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> stats: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
#import shared/grid
#import shared/reduce

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let first = row * p.c;
    let mean = stats[2u * row];
    let r = stats[2u * row + 1u];
    var sum = 0.0;
    var along = 0.0;
    for (var i = lane; i < p.c; i += GROUP) {
        let g = dy[first + i] * w[i];
        sum += g;
        along = fma(g, (x[first + i] - mean) * r, along);
    }
    let mean_g = group_sum(sum, lane) / f32(p.c);
    let mean_gh = group_sum(along, lane) / f32(p.c);
    for (var i = lane; i < p.c; i += GROUP) {
        let g = dy[first + i] * w[i];
        dx[first + i] = r * (g - mean_g - (x[first + i] - mean) * r * mean_gh);
    }
}
