// y[n, i, j, c] = max of x[n, S i + a, S j + b, c] over 0 <= a, b < K, those that lie in x
//
// x: f32 [N, H, W, C], y: [N, OH, OW, C], both f16 with X_HALF, each V at a time, V of 4 or 1. One
// invocation makes one unit of V of y. Reads 4 K K bytes an element of y, writes 4.
#import conv/max_pool/window
#ifdef X_HALF
alias Stored = vec4<f16>;
#else
alias Stored = T;
#endif
@group(0) @binding(1) var<storage, read_write> y: array<Stored>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let unit = linear_index(group, groups, lane, 64u);
    if unit >= p.units { return; }
    let pixel = unit / p.c;
    let row = pixel / p.out_width;
    y[unit] = Stored(
        largest(row / p.out_height, row % p.out_height, pixel % p.out_width, unit % p.c).value);
}
