// What becomes of the sums of a product or a convolution: a value for each column, a tensor of the
// output's shape, and 0 where another such tensor is not above 0 (BIAS, RESIDUAL, RELU_MASK);
// stored as f16 with OUT_HALF, and with it the residual; MASK_HALF says that the mask is f16. Four
// columns at a time with OUT_VEC, where `at` and `col` count in fours.
#provides y store Value
// An output's elements: Value in registers, Stored in memory, where OUT_HALF rounds them to f16
// (four side by side, with OUT_VEC).
#ifdef OUT_VEC
alias Value = vec4<f32>;
#else
alias Value = f32;
#endif
#ifdef OUT_HALF
enable f16;
alias Stored = vec4<f16>;
#else
alias Stored = Value;
#endif
#ifdef MASK_HALF
enable f16;
alias Mask = vec4<f16>;
#else
alias Mask = Value;
#endif
@group(0) @binding(2) var<storage, read_write> y: array<Stored>;
#ifdef BIAS
@group(0) @binding(3) var<storage, read> bias: array<Value>;
#endif
#ifdef RESIDUAL
@group(0) @binding(4) var<storage, read> residual: array<Stored>;
#endif
#ifdef RELU_MASK
@group(0) @binding(5) var<storage, read> mask: array<Mask>;
#endif
fn store(at: u32, col: u32, sum: Value) {
    var value = sum;
#ifdef BIAS
    value += bias[col];
#endif
#ifdef RESIDUAL
    value += Value(residual[at]);
#endif
#ifdef RELU_MASK
    // Behind a NaN the gradient stays what it is, so that it is seen.
    value = select(value, Value(), Value(mask[at]) <= Value());
#endif
    y[at] = Stored(value);
}
