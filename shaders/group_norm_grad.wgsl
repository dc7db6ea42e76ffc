// dx = r (g - mean(g) - h mean(g h)),  g = dy w[c],  h = (x - mu) r,  means over the S x C/G values of (n, group)
//
// x, dy, dx: f32 [N, S, C]; w: [C]; stats: [N G, 2] = (mu, r). One workgroup of GROUP has one (n, group). Reads 16 N S C bytes,
// writes 4 N S C.
struct Params { s: u32, c: u32, g: u32, rows: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> stats: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
#import shared/grid
#import shared/reduce
#import group_norm/place

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let width = p.c / p.g;
    let count = p.s * width;
    let first = row / p.g * p.s * p.c + row % p.g * width;
    let mean = stats[2u * row];
    let r = stats[2u * row + 1u];
    var sum = 0.0;
    var along = 0.0;
    for (var i = lane; i < count; i += GROUP) {
        let at = place(first, i, width);
        let g = dy[at] * w[row % p.g * width + channel(i, width)];
        sum += g;
        along = fma(g, (x[at] - mean) * r, along);
    }
    let mean_g = group_sum(sum, lane) / f32(count);
    let mean_gh = group_sum(along, lane) / f32(count);
    for (var i = lane; i < count; i += GROUP) {
        let at = place(first, i, width);
        let g = dy[at] * w[row % p.g * width + channel(i, width)];
        dx[at] = r * (g - mean_g - (x[at] - mean) * r * mean_gh);
    }
}
