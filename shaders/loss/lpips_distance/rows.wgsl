// What the kernels of lpips_distance share: rows of features, f16 with AB_HALF, which goes with
// VEC, and their lengths once rectified.
struct Params { n: u32, units: u32, eps: f32 }
var<immediate> p: Params;
#import shared/rows
#ifdef AB_HALF
enable f16;
alias Feature = vec4<f16>;
#else
alias Feature = Value;
#endif
@group(0) @binding(0) var<storage, read> a: array<Feature>;
@group(0) @binding(1) var<storage, read> b: array<Feature>;
@group(0) @binding(2) var<storage, read> w: array<Value>;
fn rectified(x: Feature) -> Value { return max(Value(x), Value()); }
// The same, but that a NaN stays one, so that what f16 did not hold reaches the row's length.
fn kept(x: Feature) -> Value {
    let v = Value(x);
    return select(v, Value(), v <= Value());
}
fn lengths_of(n: u32) -> vec2<f32> {
    var squares = vec2<f32>();
    for (var i = 0u; i < p.units; i += 1u) {
        let r = kept(a[n * p.units + i]);
        let s = kept(b[n * p.units + i]);
        squares += vec2<f32>(inner(r, r), inner(s, s));
    }
    return sqrt(squares);
}
