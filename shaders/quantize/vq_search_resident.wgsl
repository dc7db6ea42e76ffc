// index[n] = argmin over k of  0.5 |e_k|^2 - x_n . e_k;
//   ties go to the lowest k:  vq_search for QUADS known when it is compiled, over subgroups
//
// x: f32 [N, D] (f16 with LHS_HALF, widened), e: [K, D], half_norm: [K] = 0.5 |e_k|^2, index: u32
// [N], or with SPLIT score and code [S, N] as vq_search has them. D by QUADS and VEC, as
// quantize/vq_search/quads says. A workgroup is one subgroup of LANES lanes. Each lane keeps V
// latents in named variables for the whole walk over the codes; of NC codes at a time each lane
// loads its share and hands them round by broadcast. Nothing but the best score and its code is
// carried from one step to the next, where the matrix core of vq_search carries V x NC sums: on
// llvmpipe every carried variable costs. The sums' order is the matrix core's. Reads 4 D (N +
// K N / (V LANES)) bytes, writes 4 N, or 8 S N.
struct Params { n: u32, k: u32, d: u32, tiles: u32, k_part: u32 }
var<immediate> p: Params;
#import quantize/vq_search/quads
@group(0) @binding(2) var<storage, read> half_norm: array<f32>;
#import quantize/vq_search/found
#import shared/grid

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    if tile >= p.tiles { return; }
#import shared/whole_subgroup
#unroll v 0 V
    let row_{v} = (tile * V + {v}u) * LANES + lane;
#unroll t 0 QUADS
    let x_{v}_{t} = latent_quad(min(row_{v}, p.n - 1u), {t}u);
#end
    // Nothing is below NaN, and no codebook has so many codes.
    var best_{v} = select(nothing, 3.4028234e38, whole);
    var code_{v} = select(0xffffffffu, 0u, whole);
#end
    let codes_begin = group.z * p.k_part;
    let codes_end = min(codes_begin + p.k_part, p.k);
    for (var c0 = codes_begin; c0 < codes_end; c0 += NC) {
#unroll g 0 RHS_GROUPS
        let col_{g} = min(c0 + {g}u * RHS_LANES + lane % RHS_LANES, p.k - 1u);
        let half_{g} = half_norm[col_{g}];
#unroll t 0 QUADS
        let e_{g}_{t} = code_quad(col_{g}, {t}u);
#end
#end
#unroll c 0 NC
        {
#unroll v 0 V
            var sum_{v} = 0.0;
#end
#unroll t 0 QUADS
            let b_{t} = subgroupBroadcast(e_{c/RHS_LANES}_{t}, {c%RHS_LANES}u);
#unroll v 0 V
            sum_{v} = fma(x_{v}_{t}.w, b_{t}.w, fma(x_{v}_{t}.z, b_{t}.z,
                fma(x_{v}_{t}.y, b_{t}.y, fma(x_{v}_{t}.x, b_{t}.x, sum_{v}))));
#end
#end
            // Past the last code comes that one again, which then scores the same and does not win.
            let col = c0 + {c}u;
            let half = subgroupBroadcast(half_{c/RHS_LANES}, {c%RHS_LANES}u);
#unroll v 0 V
            let score_{v} = half - sum_{v};
            let wins_{v} = score_{v} < best_{v};
            best_{v} = select(best_{v}, score_{v}, wins_{v});
            code_{v} = select(code_{v}, col, wins_{v});
#end
        }
#end
    }
#unroll v 0 V
    if row_{v} < p.n { found(group.z, row_{v}, best_{v}, code_{v}); }
#end
}
