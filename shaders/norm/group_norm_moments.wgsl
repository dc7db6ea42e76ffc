// means[n,t,c] and squares[n,t,c] = the mean of x[n,s,c] over the positions s of slice t, and the
//     sum of squared differences from it
//
// x: f32 [N, S, C]; means, squares: f32 [N, T, C]; as vec4 with VEC, where C is a multiple of 4.
// One invocation has a unit of channels of a slice of an image, and goes over it twice, so that
// nothing cancels; neighbours have neighbouring channels. Reads 8 N S C bytes.
struct Params { n: u32, s: u32, units: u32, per_slice: u32, slices: u32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read_write> means: array<Value>;
@group(0) @binding(2) var<storage, read_write> squares: array<Value>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n * p.slices * p.units { return; }
    let unit = i % p.units;
    let t = i / p.units % p.slices;
    let begin = t * p.per_slice;
    let count = min(begin + p.per_slice, p.s) - begin;
    let first = (i / p.units / p.slices * p.s + begin) * p.units + unit;
    var sum = Value();
    for (var s = 0u; s < count; s += 1u) { sum += x[first + s * p.units]; }
    let mean = sum / f32(count);
    var square = Value();
    for (var s = 0u; s < count; s += 1u) {
        let d = x[first + s * p.units] - mean;
        square = fma(d, d, square);
    }
    means[i] = mean;
    squares[i] = square;
}
