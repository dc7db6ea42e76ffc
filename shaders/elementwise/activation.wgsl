// y[i] = f(x[i]), with f chosen by RELU, SILU, GELU, LEAKY, SOFTPLUS or TANH
//
//   relu(x) = max(x, 0);  silu(x) = x / (1 + e^-x);
//     gelu(x) = x/2 (1 + erf(x / sqrt 2))   (Hendrycks and Gimpel 2016)
//   leaky(x) = x, below 0 x / 5;  softplus(x) = ln(1 + e^x);  tanh
//
// x, y: f32 [N]. One invocation makes four elements. Reads 4 N bytes, writes 4 N.
struct Params { n: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#import shared/grid
#import shared/activations

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let start = linear_group(group, groups) * 256u + lane;
#unroll s 0 4
    let i_{s} = start + {s}u * 64u;
    if i_{s} < p.n { y[i_{s}] = activate(x[i_{s}]); }
#end
}
