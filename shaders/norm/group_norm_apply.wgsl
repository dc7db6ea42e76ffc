// y[n,s,c] = w[c] (x[n,s,c] - mu) r + b[c]   (Wu and He 2018), or, with GRAD,
// dx[n,s,c] = r (g - m1 - (x[n,s,c] - mu) r m2),  g = dy[n,s,c] w[c],
//   (m1, m2) the means of g and of g (x - mu) r over (n, group)
//
// x, dy, y, dx: f32 [N, S, C]; w, b: [C], all as vec4 with VEC, where C is a multiple of 4; stats:
// [N G, 2] = (mu, r); means: [N G, 2] = (m1, m2). One invocation has a unit of channels of
// `positions` positions side by side; neighbours have neighbouring channels. Reads 4 N S C bytes
// (with GRAD 8), writes 4 N S C.
struct Params { n: u32, s: u32, c: u32, g: u32, positions: u32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> w: array<Value>;
@group(0) @binding(2) var<storage, read> stats: array<f32>;
#ifdef GRAD
@group(0) @binding(3) var<storage, read> dy: array<Value>;
@group(0) @binding(4) var<storage, read> means: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<Value>;
#else
@group(0) @binding(3) var<storage, read> b: array<Value>;
@group(0) @binding(4) var<storage, read_write> y: array<Value>;
#endif
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
#ifdef VEC
    let units = p.c / 4u;
#else
    let units = p.c;
#endif
    let parts = (p.s + p.positions - 1u) / p.positions;
    if i >= p.n * parts * units { return; }
    let unit = i % units;
    let n = i / units / parts;
    let begin = i / units % parts * p.positions;
    let count = min(p.positions, p.s - begin);
    let first = (n * p.s + begin) * units + unit;
    let width = p.c / p.g;
#ifdef VEC
    // Four channels may be of several groups.
#unroll j 0 4
    let row_{j} = 2u * (n * p.g + (4u * unit + {j}u) / width);
#end
    let mu = Value(stats[row_0], stats[row_1], stats[row_2], stats[row_3]);
    let r = Value(stats[row_0 + 1u], stats[row_1 + 1u], stats[row_2 + 1u], stats[row_3 + 1u]);
#else
    let row = 2u * (n * p.g + unit / width);
    let mu = stats[row];
    let r = stats[row + 1u];
#endif
#ifdef GRAD
    let factor = w[unit];
#ifdef VEC
    let m1 = Value(means[row_0], means[row_1], means[row_2], means[row_3]);
    let m2 = Value(means[row_0 + 1u], means[row_1 + 1u], means[row_2 + 1u], means[row_3 + 1u]);
#else
    let m1 = means[row];
    let m2 = means[row + 1u];
#endif
    for (var s = 0u; s < count; s += 1u) {
        let at = first + s * units;
        dx[at] = r * (dy[at] * factor - m1 - (x[at] - mu) * r * m2);
    }
#else
    let factor = r * w[unit];
    let bias = b[unit];
    for (var s = 0u; s < count; s += 1u) {
        let at = first + s * units;
        y[at] = fma(x[at] - mu, factor, bias);
    }
#endif
}
