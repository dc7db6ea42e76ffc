// y[n,s,c] = w[c] (x[n,s,c] - mu) r + b[c]   (Wu and He 2018), or, with GRAD,
// dx[n,s,c] = r (g - m1 - (x[n,s,c] - mu) r m2),  g = dy[n,s,c] w[c],
//   (m1, m2) the means of g and of g (x - mu) r over (n, group)
//
// x, dy, y, dx: f32 [N, S, C]; w, b: [C]; stats: [N G, 2] = (mu, r); means: [N G, 2] = (m1, m2).
// One invocation has a channel of eight positions; neighbours have neighbouring channels. Reads 4 N
// S C bytes (with GRAD 8), writes 4 N S C.
struct Params { n: u32, s: u32, c: u32, g: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> stats: array<f32>;
#ifdef GRAD
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read> means: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
#else
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
#endif
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    let parts = (p.s + 7u) / 8u;
    if i >= p.n * parts * p.c { return; }
    let c = i % p.c;
    let n = i / p.c / parts;
    let begin = i / p.c % parts * 8u;
    let count = min(8u, p.s - begin);
    let first = (n * p.s + begin) * p.c + c;
    let row = 2u * (n * p.g + c / (p.c / p.g));
    let mu = stats[row];
    let r = stats[row + 1u];
#ifdef GRAD
    let factor = w[c];
    let m1 = means[row];
    let m2 = means[row + 1u];
    for (var s = 0u; s < count; s += 1u) {
        let at = first + s * p.c;
        dx[at] = r * (dy[at] * factor - m1 - (x[at] - mu) * r * m2);
    }
#else
    let factor = r * w[c];
    let bias = b[c];
    for (var s = 0u; s < count; s += 1u) {
        let at = first + s * p.c;
        y[at] = fma(x[at] - mu, factor, bias);
    }
#endif
}
