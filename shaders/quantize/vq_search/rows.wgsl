// Latents and codes as the matrix cores load them: a row is one run of D values.
#import gemm/operands
struct Lhs { run: Run }
struct Rhs { run: Run }
fn lhs_begin(row: u32) -> Lhs {
    return Lhs(Run(i32(row * p.d), 1, 0, select(0, i32(p.d), row < p.n)));
}
fn lhs_run(lhs: Lhs, t1: u32, t0: u32) -> Run { return lhs.run; }
fn rhs_begin(col: u32) -> Rhs {
    return Rhs(Run(i32(col * p.d), 1, 0, select(0, i32(p.d), col < p.k)));
}
fn rhs_run(rhs: Rhs, t1: u32, t0: u32) -> Run { return rhs.run; }
#import gemm/core
