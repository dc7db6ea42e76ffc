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
// A NaN stays one, which max would make 0: what f16 does not hold has to reach the distance.
fn rectified(x: Feature) -> Value {
    let v = Value(x);
    return select(v, Value(), v <= Value());
}
fn lengths_of(n: u32) -> vec2<f32> {
    var squares = vec2<f32>();
    for (var i = 0u; i < p.units; i += 1u) {
        let r = rectified(a[n * p.units + i]);
        let s = rectified(b[n * p.units + i]);
        squares += vec2<f32>(inner(r, r), inner(s, s));
    }
    return sqrt(squares);
}
