// What the kernels of max pooling share: the window of K x K that begins at (S i, S j), in units of
// V channels, V of 4 (VEC) or 1; with X_HALF x is f16, and V 4.
//
// p.units: units of what is made. p.height, p.width: of x. p.c: units of a pixel. p.window: K.
// p.stride: S.
struct Params {
    units: u32, height: u32, width: u32, out_height: u32, out_width: u32, c: u32, window: u32,
    stride: u32,
}
var<immediate> p: Params;
#ifdef VEC
alias T = vec4<f32>;
alias Place = vec4<u32>;
#else
alias T = f32;
alias Place = u32;
#endif
#ifdef X_HALF
enable f16;
@group(0) @binding(0) var<storage, read> x: array<vec4<f16>>;
#else
@group(0) @binding(0) var<storage, read> x: array<T>;
#endif
// The largest value of a window, and where in it that lies: the first such place, row by row. The
// window begins within x.
struct Largest { value: T, place: Place }
fn largest(n: u32, i: u32, j: u32, c: u32) -> Largest {
    let top = i * p.stride;
    let left = j * p.stride;
    let first = ((n * p.height + top) * p.width + left) * p.c + c;
    var best = Largest(T(x[first]), Place());
    for (var a = 0u; a < min(p.window, p.height - top); a += 1u) {
        for (var b = 0u; b < min(p.window, p.width - left); b += 1u) {
            let value = T(x[first + (a * p.width + b) * p.c]);
            // NaN is the largest of all, as in PyTorch.
            let nan = (bitcast<Place>(value) & Place(0x7fffffffu)) > Place(0x7f800000u);
            let better = (value > best.value) | nan;
            best.value = select(best.value, value, better);
            best.place = select(best.place, Place(a * p.window + b), better);
        }
    }
    return best;
}
