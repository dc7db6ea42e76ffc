// {memory}: lines of halves in workgroup memory, and how four side by side get there.
#provides {memory} {memory}_put
var<workgroup> {memory}: array<Cell, {cells}>;
fn {memory}_put(at: u32, x: vec4<f16>) {
#ifdef QUADS
    {memory}[at] = x;
#else
#unroll j 0 4
    {memory}[at + {j}u] = x[{j}];
#end
#endif
}
#ifdef EMULATE
fn {memory}_half(first: u32, k: u32) -> f32 {
#ifdef QUADS
    return f32({memory}[first + k / 4u][k % 4u]);
#else
    return f32({memory}[first + k]);
#endif
}
#endif
