// y = [exp H, H / ln 2, used],  H = - sum over k of p_k ln p_k,  p_k = counts[k] / sum of counts,  0 ln 0 = 0
//
// counts: u32 [K], y: f32 [3]: perplexity, entropy in bits, and the number of codes with a count. One workgroup; its tree
// has a fixed shape. All zero where there is no count.
const GROUP = 64u;
struct Params { k: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> counts: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#import shared/reduce

@compute @workgroup_size(GROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    var used = 0.0;
    for (var k = lane; k < p.k; k += GROUP) {
        sum += f32(counts[k]);
        used += select(0.0, 1.0, counts[k] > 0u);
    }
    let total = group_sum(sum, lane);
    let codes = group_sum(used, lane);
    var entropy = 0.0;
    for (var k = lane; k < p.k; k += GROUP) {
        let share = f32(counts[k]) / max(total, 1.0);
        entropy -= select(0.0, share * log(max(share, 1e-30)), counts[k] > 0u);
    }
    let h = group_sum(entropy, lane);
    if lane == 0u {
        y[0] = select(0.0, exp(h), total > 0.0);
        y[1] = h * 1.4426950408889634;
        y[2] = codes;
    }
}
