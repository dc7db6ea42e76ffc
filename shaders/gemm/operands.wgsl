#ifdef OWN_HALF
enable f16;
@group(0) @binding(0) var<storage, read> own_data: array<vec4<f16>>;
#elif OWN_VEC
@group(0) @binding(0) var<storage, read> own_data: array<vec4<f32>>;
#else
@group(0) @binding(0) var<storage, read> own_data: array<f32>;
#endif
#ifdef SHR_HALF
enable f16;
@group(0) @binding(1) var<storage, read> shr_data: array<vec4<f16>>;
#elif SHR_VEC
@group(0) @binding(1) var<storage, read> shr_data: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> shr_data: array<f32>;
#endif
