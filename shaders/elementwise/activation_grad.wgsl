// dx[i] = dy[i] f'(x[i]), with f chosen by RELU, SILU, GELU, LEAKY, SOFTPLUS or TANH
//
// x, dy, dx: f32 [N]; with X_HALF x is f16, and N a multiple of 4. One invocation makes four
// elements. Reads 8 N bytes, 6 N with X_HALF, writes 4 N.
struct Params { n: u32 }
var<immediate> p: Params;
#ifdef X_HALF
enable f16;
@group(0) @binding(0) var<storage, read> x: array<vec4<f16>>;
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;
#else
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
#endif
#import shared/grid
#import shared/activations

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#ifdef X_HALF
    let i = linear_group(group, groups) * 64u + lane;
    if 4u * i < p.n {
        let v = vec4<f32>(x[i]);
        dx[i] = dy[i] * vec4<f32>(slope(v.x), slope(v.y), slope(v.z), slope(v.w));
    }
#else
    let start = linear_group(group, groups) * 256u + lane;
#unroll s 0 4
    let i_{s} = start + {s}u * 64u;
    if i_{s} < p.n { dx[i_{s}] = dy[i_{s}] * slope(x[i_{s}]); }
#end
#endif
}
