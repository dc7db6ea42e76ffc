// report = [norm, factor, finite]: norm = sqrt(sum of partial),
//     factor = min(1, max_norm / (norm + 1e-6))
//
// With SCALED what was summed are squares of gradients times a loss scale: norm is that of the
// gradients themselves, factor also takes the scale off them, and report[3] is the scale. The scale
// doubles, as far as `most`, after as many finite sums in a row as `growth`, and halves, to 1 at
// least, after one that is not: state = [scale, finite sums in a row].
//
// With BESIDE, which goes with SCALED, a step counts as finite only where the squares of others are
// too, whose partial sums are `beside`: gradients by the same scale of parameters that move with
// these or not at all. With FOLLOWS these are the others: `first` is the report that they count in,
// which has the scale, and says whether the step is finite; no state is moved.
//
// The second of two passes of a global norm. Where the sum is not finite, factor and finite are 0
// (else finite is 1) and the norm is what it is. partial: f32 [P]; report: f32 [3], [4] with
// SCALED; state: f32 [2]; beside: f32 [p.beside]; first: f32 [4]. One workgroup. Reads 4 P bytes,
// writes 12.
#ifdef SCALED
struct Params {
    partials: u32, max_norm: f32, growth: f32, most: f32,
#ifdef BESIDE
    beside: u32,
#endif
}
#else
struct Params { partials: u32, max_norm: f32 }
#endif
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> report: array<f32>;
#ifdef SCALED
@group(0) @binding(2) var<storage, read_write> state: array<f32>;
#endif
#ifdef BESIDE
@group(0) @binding(3) var<storage, read> beside: array<f32>;
#endif
#ifdef FOLLOWS
@group(0) @binding(2) var<storage, read> first: array<f32>;
#endif
const GROUP = 64u;
#import shared/reduce

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < p.partials; i += 64u) { sum += partial[i]; }
    let total = group_sum(sum, lane);
#ifdef BESIDE
    var others = 0.0;
    for (var i = lane; i < p.beside; i += 64u) { others += beside[i]; }
    let all_others = group_sum(others, lane);
#endif
    if lane != 0u { return; }
#ifdef FOLLOWS
    let finite = first[2] > 0.5;
#else
    // By its bits: drivers may assume that there is no NaN.
    var finite = (bitcast<u32>(total) & 0x7f800000u) != 0x7f800000u;
#endif
#ifdef BESIDE
    finite = finite && (bitcast<u32>(all_others) & 0x7f800000u) != 0x7f800000u;
#endif
#ifdef SCALED
    let scale = state[0];
    let norm = sqrt(total) / scale;
    let factor = min(1.0, p.max_norm / (norm + 1e-6)) / scale;
    let run = select(0.0, state[1] + 1.0, finite);
    let grows = run >= p.growth;
    state[0] = select(max(0.5 * scale, 1.0),
        select(scale, max(scale, min(2.0 * scale, p.most)), grows), finite);
    state[1] = select(run, 0.0, grows);
    report[3] = scale;
#elif FOLLOWS
    let norm = sqrt(total) / first[3];
    let factor = min(1.0, p.max_norm / (norm + 1e-6)) / first[3];
#else
    let norm = sqrt(total);
    let factor = min(1.0, p.max_norm / (norm + 1e-6));
#endif
    report[0] = norm;
    report[1] = select(0.0, factor, finite);
    report[2] = select(0.0, 1.0, finite);
}
