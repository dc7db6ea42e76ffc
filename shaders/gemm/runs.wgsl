// How the `subgroup` and the `coopmat` core read operands: by runs, the values of a row along k at
// one (t1, t0), see gemm/core.
#requires lhs_data lhs_offset lhs_step lhs_limits lhs_through
#requires rhs_data rhs_offset rhs_step rhs_limits rhs_through
#provides Run lhs_run lhs_load rhs_run rhs_load
struct Run { base: i32, step: i32, lo: i32, hi: i32 }

#for (op, OP, Op) in (lhs, LHS, Lhs) (rhs, RHS, Rhs)
fn {op}_run(line: {Op}, t1: u32, t0: u32) -> Run {
#ifdef {OP}_EMPTY
    // Every step or none.
    let limits = vec2(0, select(0, 1, {op}_exists(line, t1, t0)));
#else
    let limits = {op}_limits(line, t1, t0);
#endif
    return Run(line.at + {op}_offset(t1, t0), {op}_step(), limits.x, limits.y);
}
#end
// Four values of a run from k on, or with LHS_M those of four rows at k.
#for (op, OP) in (lhs, LHS) (rhs, RHS)
#ifdef {OP}_K
fn {op}_load(r: Run, k: i32) -> vec4<f32> {
    let ok = k >= r.lo && k < r.hi;
    return select(
        vec4<f32>(),
        {op}_through(vec4<f32>({op}_data[select(0, (r.base + k) >> 2u, ok)])),
        ok);
}
#elif {OP}_M
fn {op}_load(r: Run, k: i32) -> vec4<f32> {
    let ok = k >= r.lo && k < r.hi;
    return select(
        vec4<f32>(),
        {op}_through(vec4<f32>({op}_data[select(0, (r.base + k * r.step) >> 2u, ok)])),
        ok);
}
#else
fn {op}_at(r: Run, k: i32) -> f32 {
    let ok = k >= r.lo && k < r.hi;
    return select(0.0, {op}_data[select(0, r.base + k * r.step, ok)], ok);
}
fn {op}_load(r: Run, k: i32) -> vec4<f32> {
    return {op}_through(
        vec4<f32>({op}_at(r, k), {op}_at(r, k + 1), {op}_at(r, k + 2), {op}_at(r, k + 3)));
}
#endif

#end
