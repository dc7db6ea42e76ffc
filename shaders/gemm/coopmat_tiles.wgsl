// The `coopmat` core's module scope: its matrix types and its tiles in workgroup memory, see
// gemm/coopmat.
//
// Scalar arrays, since naga counts a stride in what the pointer points to for SPIR-V and in scalars
// for MSL. Strides are padded by 8 halves or 4 floats: rows stay aligned to 16 bytes, as SPIR-V
// wants, and start in different banks.
enable f16;
// naga holds cooperative matrices to the rule for derivatives, and takes for divergent what a
// function returned or a private variable holds. Every branch around the core depends on the
// workgroup and the parameters alone.
diagnostic(off, derivative_uniformity);
enable wgpu_cooperative_matrix;
alias Left = coop_mat{SIDE}x{SIDE}<f16, A>;
alias Right = coop_mat{SIDE}x{SIDE}<f16, B>;
alias Sum = coop_mat{SIDE}x{SIDE}<f32, C>;
// From one row of lhs_tile, or column of rhs_tile, to the next: 32 k and padding.
const HALVES = 40u;
const FLOATS = 68u;                  // from one row of sums to the next: 64 columns and padding
var<workgroup> lhs_tile: array<f16, 2560>;
var<workgroup> rhs_tile: array<f16, 2560>;
var<workgroup> sums: array<f32, STAGE * FLOATS>;

fn tile_row(r0: u32, lane: u32, v: u32) -> u32 {
    return r0 + v / 4u * SUBGROUP + lane / 16u * 4u + v % 4u;
}
