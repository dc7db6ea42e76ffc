// dx[n, h, w, c] = sum of dy[n, i, j, c] over the windows whose first largest value lies at (h, w),
//     the gradient of max_pool
//
// x, dx: f32 [N, H, W, C], x f16 with X_HALF, dy: f32 [N, OH, OW, C], each V at a time, V of 4 or
// 1. One invocation makes one unit of V of dx: it looks through the windows that hold the place,
// and adds in their order, row by row. An element lies in ceil(K / S)^2 windows at most, each of
// which is read whole.
#import conv/max_pool/window
@group(0) @binding(1) var<storage, read> dy: array<T>;
@group(0) @binding(2) var<storage, read_write> dx: array<T>;
#import shared/grid

// The first window that holds `at`.
fn first_of(at: u32) -> u32 { return select(0u, (at - p.window) / p.stride + 1u, at >= p.window); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let unit = linear_index(group, groups, lane, 64u);
    if unit >= p.units { return; }
    let c = unit % p.c;
    let pixel = unit / p.c;
    let w = pixel % p.width;
    let h = pixel / p.width % p.height;
    let n = pixel / p.width / p.height;
    var sum = T();
    for (var i = first_of(h); i <= min(h / p.stride, p.out_height - 1u); i += 1u) {
        for (var j = first_of(w); j <= min(w / p.stride, p.out_width - 1u); j += 1u) {
            let place = largest(n, i, j, c).place;
            let own = Place((h - i * p.stride) * p.window + (w - j * p.stride));
            sum += select(
                T(), dy[((n * p.out_height + i) * p.out_width + j) * p.c + c], place == own,
            );
        }
    }
    dx[unit] = sum;
}
