// Latents and codes as the matrix cores load them: a row is one run of D values.
#import gemm/operands
#for (op, Op, row, n) in (lhs, Lhs, row, n) (rhs, Rhs, col, k)
struct {Op} { at: i32, end: i32 }
fn {op}_begin({row}: u32) -> {Op} {
#ifdef WHOLE
    // Those past the last are read as the last, and nobody stores their sums.
    let read = min({row}, p.{n} - 1u);
    let there = true;
#elif ACROSS
    let read = min({row}, p.{n} - 1u);
    let there = true;
#else
    let read = {row};
    let there = {row} < p.{n};
#endif
    return {Op}(i32(read * p.d), select(0, i32(p.d), there));
}
fn {op}_offset(t1: u32, t0: u32) -> i32 { return 0; }
fn {op}_step() -> i32 { return 1; }
fn {op}_limits(line: {Op}, t1: u32, t0: u32) -> vec2<i32> { return vec2(0, line.end); }
#end
#import gemm/core
