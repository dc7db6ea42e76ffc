// y[n, to + j] = x[n, from + j] for j < W; with PAD the other columns of y become 0
//
// x: [N, CX], y: [N, CY], words of any type. One invocation makes one element: of the W copied
// ones, or with PAD of all CY. Reads 4 N W bytes, writes as many or 4 N CY.
struct Params { n: u32, w: u32, cx: u32, cy: u32, at_x: u32, at_y: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
#ifdef PAD
    if i >= p.n * p.cy { return; }
    let c = i % p.cy;
    if c < p.at_y || c >= p.at_y + p.w {
        y[i] = 0u;
        return;
    }
    y[i] = x[i / p.cy * p.cx + p.at_x + c - p.at_y];
#else
    if i >= p.n * p.w { return; }
    y[i / p.w * p.cy + p.at_y + i % p.w] = x[i / p.w * p.cx + p.at_x + i % p.w];
#endif
}
