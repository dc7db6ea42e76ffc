// Latents and codes four channels at a time, QUADS of these each: with VEC, D = 4 QUADS, and they
// lie in memory as vec4s (latents with LHS_HALF as f16, widened). Otherwise D is less than 4 QUADS,
// and the channels that there are not are 0, which changes no sum.
#requires p
#provides latent_quad code_quad
#ifdef LHS_HALF
enable f16;
@group(0) @binding(0) var<storage, read> x: array<vec4<f16>>;
#elif VEC
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
#else
@group(0) @binding(0) var<storage, read> x: array<f32>;
#endif
#ifdef VEC
@group(0) @binding(1) var<storage, read> e: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> e: array<f32>;
#endif
#for (name, data) in (latent, x) (code, e)
fn {name}_quad(row: u32, quad: u32) -> vec4<f32> {
#ifdef VEC
    return vec4<f32>({data}[row * QUADS + quad]);
#else
    let start = row * p.d;
    // Before the last quad every channel is there.
#unroll j 0 4
    let at_{j} = 4u * quad + {j}u;
    let there_{j} = (quad + 1u < QUADS) | (at_{j} < p.d);
    let x_{j} = select(0.0, {data}[start + select(0u, at_{j}, there_{j})], there_{j});
#end
    return vec4<f32>(x_0, x_1, x_2, x_3);
#endif
}
#end
