// What the forward kernels write, and the mask that they read.
#for (x, binding) in (o, 3)
#import attention/attention/written
#end
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
#ifdef MASK
@group(0) @binding(5) var<storage, read> mask: array<u32>;
#endif
