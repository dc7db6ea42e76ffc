// Latents and codes as the matrix cores load them: a row is one run of D values.
#import gemm/operands
struct Lhs { run: Run }
struct Rhs { run: Run }
#ifdef WHOLE
// Rows and columns past the last are read as the last, and nobody stores their sums.
fn lhs_begin(row: u32) -> Lhs { return Lhs(Run(i32(min(row, p.n - 1u) * p.d), 1, 0, i32(p.d))); }
fn rhs_begin(col: u32) -> Rhs { return Rhs(Run(i32(min(col, p.k - 1u) * p.d), 1, 0, i32(p.d))); }
#else
fn lhs_begin(row: u32) -> Lhs {
    return Lhs(Run(i32(row * p.d), 1, 0, select(0, i32(p.d), row < p.n)));
}
fn rhs_begin(col: u32) -> Rhs {
    return Rhs(Run(i32(col * p.d), 1, 0, select(0, i32(p.d), col < p.k)));
}
#endif
fn lhs_run(lhs: Lhs, t1: u32, t0: u32) -> Run { return lhs.run; }
fn rhs_run(rhs: Rhs, t1: u32, t0: u32) -> Run { return rhs.run; }
#import gemm/core
