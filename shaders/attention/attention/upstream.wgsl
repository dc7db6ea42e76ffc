// What both gradients read beside q, k and v: the gradient that arrives (`do`, which WGSL
// reserves), the logarithms of the softmax's denominators, and delta_i = do_i . o_i.
#for (x, binding) in (d_o, 3)
#import attention/attention/rows
#end
@group(0) @binding(4) var<storage, read> lse: array<f32>;
@group(0) @binding(5) var<storage, read> delta: array<f32>;
#ifdef MASK
@group(0) @binding(7) var<storage, read> mask: array<u32>;
#endif
