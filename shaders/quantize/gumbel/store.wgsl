// Writes four numbers of the row of `{x}` that begins at `base`.
#ifdef VEC
fn store_{x}(base: u32, block: u32, v: vec4<f32>) { {x}[base / 4u + block] = v; }
#else
fn store_{x}(base: u32, block: u32, v: vec4<f32>) {
#unroll j 0 4
    if 4u * block + {j}u < p.k { {x}[base + 4u * block + {j}u] = v[{j}]; }
#end
}
#endif
