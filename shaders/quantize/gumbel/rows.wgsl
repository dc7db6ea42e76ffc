// Four numbers of the row of `{x}` that begins at `base`, at once where VEC says that 4 divides K;
// {past} for those past the last.
#ifdef VEC
fn load_{x}(base: u32, block: u32) -> vec4<f32> { return {x}[base / 4u + block]; }
#else
fn load_{x}(base: u32, block: u32) -> vec4<f32> {
    var v = vec4<f32>({past});
#unroll j 0 4
    if 4u * block + {j}u < p.k { v[{j}] = {x}[base + 4u * block + {j}u]; }
#end
    return v;
}
#endif
