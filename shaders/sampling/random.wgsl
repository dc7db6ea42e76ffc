// y[i] = word i % 4 of Philox4x32-10 at counter (i / 4, stream, step), key seed:
//   BITS     the word itself, y: u32 [N]
//   UNIFORM  min(lo + scale u, top), u in [0, 1) of 24 bits, y: f32 [N]
// NORMAL standard normal, y: f32 [N] (Box and Muller 1958: words 0 and 1 make one pair, words 2 and
//       3 another)
//
// One invocation makes one block of four elements. Writes 4 N bytes.
struct Params {
    n: u32, stream: u32, step: vec2<u32>, seed: vec2<u32>, lo: f32, scale: f32, top: f32, pad: u32,
}
var<immediate> p: Params;
#ifdef BITS
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
#else
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
#endif
#import shared/grid
#import shared/philox

#ifdef NORMAL
#import shared/ln_unit
// Drivers may err by 2^-11 in cos; these stay within 2e-7 of the truth. The coefficients are those
// of S. Moshier's Cephes library (sinf, cosf).

// (cos, sin) of 2 pi k / 2^24: the nearest quarter turn is taken off exactly, in integers.
fn turn(k: u32) -> vec2<f32> {
    let quarter = (k + 0x200000u) >> 22u;
    let x = f32(i32(k) - i32(quarter << 22u)) * 3.745070282923929e-7;
    let z = x * x;
    var s = -1.9515295891e-4;
    s = s * z + 8.3321608736e-3;
    s = s * z - 1.6666654611e-1;
    let sine = x + s * z * x;
    var c = 2.443315711809948e-5;
    c = c * z - 1.388731625493765e-3;
    c = c * z + 4.166664568298827e-2;
    let cosine = 1.0 - 0.5 * z + c * z * z;
    let odd = (quarter & 1u) == 1u;
    let u = select(cosine, sine, odd);
    let v = select(sine, cosine, odd);
    return vec2<f32>(
        select(u, -u, ((quarter + 1u) & 2u) == 2u), select(v, -v, (quarter & 2u) == 2u),
    );
}
fn normal_pair(a: u32, b: u32) -> vec2<f32> {
    return sqrt(-2.0 * ln_unit((a >> 8u) + 1u)) * turn(b >> 8u);
}
#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let block = linear_index(group, groups, lane, 64u);
    let i = block * 4u;
    // The first test keeps `i` from wrapping where N is close to 2^32.
    if block > (p.n - 1u) / 4u { return; }
    let words = philox(vec4<u32>(block, p.stream, p.step.x, p.step.y), p.seed);
#ifdef BITS
    let v = words;
#endif
#ifdef UNIFORM
    let u = vec4<f32>(unit(words.x), unit(words.y), unit(words.z), unit(words.w));
    let v = min(p.lo + p.scale * u, vec4<f32>(p.top));
#endif
#ifdef NORMAL
    let v = vec4<f32>(normal_pair(words.x, words.y), normal_pair(words.z, words.w));
#endif
#unroll s 0 4
    if {s}u < p.n - i { y[i + {s}u] = v[{s}]; }
#end
}
