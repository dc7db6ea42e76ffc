// Rows of logits, four at a time; those past V read as the lowest f32, whose exponential is 0. With
// VEC V is a multiple of 4.
#ifdef VEC
alias Logits = vec4<f32>;
#else
alias Logits = f32;
#endif
#ifdef IN_PLACE
@group(0) @binding(0) var<storage, read_write> x: array<Logits>;
#else
@group(0) @binding(0) var<storage, read> x: array<Logits>;
#endif
fn within(i: u32) -> vec4<bool> { return 4u * i + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.v); }
fn logit(row: u32, k: u32) -> f32 {
#ifdef VEC
    return x[row * (p.v / 4u) + k / 4u][k % 4u];
#else
    return x[row * p.v + k];
#endif
}
fn logits(row: u32, i: u32) -> vec4<f32> {
#ifdef VEC
    return x[row * (p.v / 4u) + i];
#else
    let at = row * p.v;
    let k = min(4u * i + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.v - 1u));
    return select(
        vec4<f32>(-3.4e38),
        vec4<f32>(x[at + k.x], x[at + k.y], x[at + k.z], x[at + k.w]),
        within(i),
    );
#endif
}
