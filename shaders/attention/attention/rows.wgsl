// The rows of `{x}`: four channels at a time, those past D as 0.
#provides {x}_at
#ifdef VEC
@group(0) @binding({binding}) var<storage, read> {x}: array<vec4<f32>>;
#ifdef LANES
fn {x}_at(row: u32, t: u32) -> vec4<f32> { return {x}[row / 4u + t]; }
#else
fn {x}_at(row: u32, t: u32) -> vec4<f32> {
    return select(vec4<f32>(), {x}[row / 4u + min(t, p.d / 4u - 1u)], t < p.d / 4u);
}
#endif
#else
@group(0) @binding({binding}) var<storage, read> {x}: array<f32>;
fn {x}_at(row: u32, t: u32) -> vec4<f32> {
    return within(t, vec4<f32>({x}[row + channel(t, 0u)], {x}[row + channel(t, 1u)],
        {x}[row + channel(t, 2u)], {x}[row + channel(t, 3u)]));
}
#endif
