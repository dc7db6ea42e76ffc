// The B' candidates of each vector with the least
//     score(b, k) = base[n B + b] + half_norm[k] - product[n B + b, k],
// ascending: half the squared distance of code k to the rest that beam b has left. Ties go to the
// lowest beam, then to the lowest code. A score that is NaN counts as the largest number.
//
// product: f32 [N B, K], half_norm: f32 [K], base: f32 [N B]; parent, code: u32 [N B'], where
// parent is a row of product. One workgroup walks the candidates of a vector B' times, each time
// for the first behind the one before. Reads 4 N B K B' bytes, of which all but the first walk's
// come from a cache; writes 8 N B'.
struct Params { n: u32, k: u32, beams: u32, kept: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> product: array<f32>;
@group(0) @binding(1) var<storage, read> half_norm: array<f32>;
@group(0) @binding(2) var<storage, read> base: array<f32>;
@group(0) @binding(3) var<storage, read_write> parent: array<u32>;
@group(0) @binding(4) var<storage, read_write> code: array<u32>;
#import shared/grid

const LARGEST: f32 = 3.40282346e38;
const NONE: u32 = 0xffffffffu;

var<workgroup> scores: array<f32, 64>;
var<workgroup> candidates: array<u32, 64>;

// Whether the candidate (a, i) comes before (b, j).
fn before(a: f32, i: u32, b: f32, j: u32) -> bool {
    return a < b || (a == b && i < j);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let n = linear_group(group, groups);
    if n >= p.n { return; }
    var last = -LARGEST;
    var last_candidate = 0u;
    for (var kept = 0u; kept < p.kept; kept += 1u) {
        var best = LARGEST;
        var chosen = NONE;
        for (var b = 0u; b < p.beams; b += 1u) {
            let row = n * p.beams + b;
            let rest = base[row];
            for (var k = lane; k < p.k; k += 64u) {
                var score = rest + half_norm[k] - product[row * p.k + k];
                // NaN and infinities too.
                if !(score < LARGEST) { score = LARGEST; }
                if !(score > -LARGEST) { score = -LARGEST; }
                let candidate = b * p.k + k;
                let open = kept == 0u || before(last, last_candidate, score, candidate);
                if open && before(score, candidate, best, chosen) {
                    best = score;
                    chosen = candidate;
                }
            }
        }
        scores[lane] = best;
        candidates[lane] = chosen;
        workgroupBarrier();
        for (var width = 32u; width > 0u; width /= 2u) {
            if lane < width {
                let score = scores[lane + width];
                let candidate = candidates[lane + width];
                if before(score, candidate, scores[lane], candidates[lane]) {
                    scores[lane] = score;
                    candidates[lane] = candidate;
                }
            }
            workgroupBarrier();
        }
        last = scores[0];
        last_candidate = candidates[0];
        if lane == 0u {
            // Nothing but candidates, whatever a compiler makes of NaN.
            let candidate = min(last_candidate, p.beams * p.k - 1u);
            let beam = candidate / p.k;
            parent[n * p.kept + kept] = n * p.beams + beam;
            code[n * p.kept + kept] = candidate - beam * p.k;
        }
        workgroupBarrier();
    }
}
