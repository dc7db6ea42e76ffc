// y[i] = f(x[i]), with f chosen by RELU, SILU, GELU, LEAKY, SOFTPLUS or TANH
//
//   relu(x) = max(x, 0);  silu(x) = x / (1 + e^-x);
//     gelu(x) = x/2 (1 + erf(x / sqrt 2))   (Hendrycks and Gimpel 2016)
//   leaky(x) = x, below 0 x / 5;  softplus(x) = ln(1 + e^x);  tanh
//
// x, y: f32 [N], or with X_HALF f16, N a multiple of 4. One invocation makes four elements. Reads
// 4 N bytes, writes 4 N, or half as many.
struct Params { n: u32 }
var<immediate> p: Params;
#ifdef X_HALF
enable f16;
@group(0) @binding(0) var<storage, read> x: array<vec4<f16>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f16>>;
#else
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
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
        y[i] = vec4<f16>(vec4<f32>(activate(v.x), activate(v.y), activate(v.z), activate(v.w)));
    }
#else
    let start = linear_group(group, groups) * 256u + lane;
#unroll s 0 4
    let i_{s} = start + {s}u * 64u;
    if i_{s} < p.n { y[i_{s}] = activate(x[i_{s}]); }
#end
#endif
}
