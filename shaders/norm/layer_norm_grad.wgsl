// dx = r (g - mean(g) - h mean(g h)),  g = dy w[c],  h = (x - mu) r,  means over the C values of n
//
// x, dy, dx: f32 [N, C]; w: [C]; stats: [N, 2] = (mu, r); as vec4 with VEC, where C is a multiple
// of 4. One workgroup of GROUP has one n. Reads 16 N C bytes, writes 4 N C.
struct Params { units: u32, c: u32, rows: u32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> w: array<Value>;
@group(0) @binding(2) var<storage, read> dy: array<Value>;
@group(0) @binding(3) var<storage, read> stats: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<Value>;
#import shared/grid
#import shared/reduce

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let first = row * p.units;
    let mean = stats[2u * row];
    let r = stats[2u * row + 1u];
    var sum = Value();
    var along = Value();
    for (var i = lane; i < p.units; i += GROUP) {
        let g = dy[first + i] * w[i];
        sum += g;
        along = fma(g, (x[first + i] - mean) * r, along);
    }
    let mean_g = group_sum(across(sum), lane) / f32(p.c);
    let mean_gh = group_sum(across(along), lane) / f32(p.c);
    for (var i = lane; i < p.units; i += GROUP) {
        let g = dy[first + i] * w[i];
        dx[first + i] = r * (g - mean_g - (x[first + i] - mean) * r * mean_gh);
    }
}
