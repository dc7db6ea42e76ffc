// For each codebook q: H = - sum over k of p_k ln p_k, p_k = counts[q,k] / sum of counts[q,:], 0 ln
// 0 = 0
// y = [mean exp H, mean H / ln 2, used]: means over the codebooks that were used at all, and the
//     codes used of all of them
//
// counts: u32 [Q, K], y: f32 [3]: perplexity, entropy in bits, and the number of codes with a
// count. One workgroup; its tree has a fixed shape. All zero where there is no count.
const GROUP = 64u;
struct Params { q: u32, k: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> counts: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#import shared/reduce

@compute @workgroup_size(GROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    var perplexity = 0.0;
    var entropies = 0.0;
    var codes = 0.0;
    var books = 0.0;
    for (var q = 0u; q < p.q; q += 1u) {
        let base = q * p.k;
        var sum = 0.0;
        var used = 0.0;
        for (var k = lane; k < p.k; k += GROUP) {
            sum += f32(counts[base + k]);
            used += select(0.0, 1.0, counts[base + k] > 0u);
        }
        let total = group_sum(sum, lane);
        codes += group_sum(used, lane);
        var entropy = 0.0;
        for (var k = lane; k < p.k; k += GROUP) {
            let share = f32(counts[base + k]) / max(total, 1.0);
            entropy -= select(0.0, share * log(max(share, 1e-30)), counts[base + k] > 0u);
        }
        let h = group_sum(entropy, lane);
        perplexity += select(0.0, exp(h), total > 0.0);
        entropies += h;
        books += select(0.0, 1.0, total > 0.0);
    }
    if lane == 0u {
        y[0] = perplexity / max(books, 1.0);
        y[1] = entropies / max(books, 1.0) * 1.4426950408889634;
        y[2] = codes;
    }
}
