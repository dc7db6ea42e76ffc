// Rows that a kernel writes, four channels at a time where they are vec4s.
#ifdef VEC
@group(0) @binding({binding}) var<storage, read_write> {x}: array<vec4<f32>>;
#else
@group(0) @binding({binding}) var<storage, read_write> {x}: array<f32>;
#endif
