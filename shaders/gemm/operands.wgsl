#ifdef OWN_VEC
@group(0) @binding(0) var<storage, read> own_data: array<vec4<f32>>;
#else
@group(0) @binding(0) var<storage, read> own_data: array<f32>;
#endif
#ifdef SHR_VEC
@group(0) @binding(1) var<storage, read> shr_data: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> shr_data: array<f32>;
#endif
