// What kernels on cooperative matrices keep in workgroup memory, and the types of their matrices.
//
// Operands are halves there. With QUADS a cell is four of them: naga counts a stride in what the
// pointer points to for SPIR-V and in scalars for MSL, so only matrices of 16 x 16, which Metal
// lacks, are read so; and one invocation stores all four, since a compiler may store the whole
// vector where the text names a component, over what others store beside it.
//
// With EMULATE the operations on matrices are plain WGSL: a matrix in workgroup memory is the place
// of its first element, and a lane keeps HELD of the sums. It is for tests: every index, mask,
// split and store runs on any device with f16. Loops stand where matrices have names of their own,
// since software drivers compile for seconds otherwise.
enable f16;
#ifdef QUADS
alias Cell = vec4<f16>;
const CELL = 4u;                     // halves in a cell
#else
alias Cell = f16;
const CELL = 1u;
#endif
#ifdef EMULATE
const HELD = SIDE * SIDE / SUBGROUP; // sums of a matrix that a lane keeps
// Which they are, by rows: of runs of up to four side by side (with HELD_DOWN one below the other),
// every SUBGROUP-th.
const HELD_RUN = min(HELD, 4u);
fn held_at(lane: u32, e: u32) -> u32 {
    let one = (e / HELD_RUN * SUBGROUP + lane % SUBGROUP) * HELD_RUN + e % HELD_RUN;
#ifdef HELD_DOWN
    return one % SIDE * SIDE + one / SIDE;
#else
    return one;
#endif
}
#else
// naga holds cooperative matrices to the rule for derivatives, and takes for divergent what a
// function returned or a private variable holds. Every branch around them depends on the workgroup
// and the parameters alone, or on what all of a workgroup read alike.
diagnostic(off, derivative_uniformity);
enable wgpu_cooperative_matrix;
alias Left = coop_mat{SIDE}x{SIDE}<f16, A>;
alias Right = coop_mat{SIDE}x{SIDE}<f16, B>;
alias Sum = coop_mat{SIDE}x{SIDE}<f32, C>;
#endif
