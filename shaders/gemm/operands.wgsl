// The operands of the matrix cores, see gemm/core.
#provides lhs_data rhs_data
#for (op, OP, binding) in (lhs, LHS, 0) (rhs, RHS, 1)
#ifdef {OP}_HALF
enable f16;
@group(0) @binding({binding}) var<storage, read> {op}_data: array<vec4<f16>>;
#elif {OP}_VEC
@group(0) @binding({binding}) var<storage, read> {op}_data: array<vec4<f32>>;
#else
@group(0) @binding({binding}) var<storage, read> {op}_data: array<f32>;
#endif
#end
