// index[n] = argmin over k of  0.5 |e_k|^2 - x_n . e_k;
//   ties go to the lowest k:  vq_search for 16 channels at most, without subgroups
//
// x: f32 [N, D] (f16 with LHS_HALF, widened), e: [K, D], half_norm: [K] = 0.5 |e_k|^2, index: u32
// [N], or with SPLIT score and code [S, N] as vq_search has them. D by QUADS and VEC, as
// quantize/vq_search/quads says. A product over so few channels is shorter than what the matrix
// core does once for each tile of codes. Here an invocation keeps V latents in named variables for
// its whole walk, and reads one code after another, the same one as all others of its workgroup,
// from workgroup memory, where GROUP codes lie while the next are on their way.
//
// Of BLOCK codes in a row it notes whether one was better than all before, and not which: two
// instructions a score beside its product. The last such block has the least score, and no block
// before it has. So its codes are scored once more in the end, for the lowest with the least. Sums
// are added up in the matrix core's order, and scores are its to the bit. A score that is no number
// loses where min() returns the other operand, as GPUs do; WGSL leaves it open, here and in tiles.
// Reads 4 D (N + K N / TILE_ROWS + BLOCK N) bytes, writes 4 N, or 8 S N.
struct Params { n: u32, k: u32, d: u32, tiles: u32, k_part: u32 }
var<immediate> p: Params;
#import quantize/vq_search/quads
@group(0) @binding(2) var<storage, read> half_norm: array<f32>;
#import quantize/vq_search/found
#import shared/grid

const MAX = 3.4028234e38;
var<workgroup> codes: array<vec4<f32>, 2 * GROUP * QUADS>;
// Scalars: four invocations that store to the components of one vec4 may race, since a compiler may
// store the whole vector.
var<workgroup> halves: array<f32, 2 * GROUP>;

// GROUP codes from c0 on, into one side of workgroup memory. Past the last code comes that one
// again, which then scores the same, so that it does not win.
fn fetch(c0: u32, side: u32, lane: u32) {
#unroll i 0 QUADS
    {
        let at = lane + {i}u * GROUP;
        let col = min(c0 + at / QUADS, p.k - 1u);
        codes[side * (GROUP * QUADS) + at] = code_quad(col, at % QUADS);
    }
#end
    halves[side * GROUP + lane] = half_norm[min(c0 + lane, p.k - 1u)];
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    if tile >= p.tiles { return; }
    let codes_begin = group.z * p.k_part;
    let codes_end = min(codes_begin + p.k_part, p.k);
#unroll v 0 V
    let row_{v} = tile * TILE_ROWS + {v}u * GROUP + lane;
#unroll t 0 QUADS
    let x_{v}_{t} = latent_quad(min(row_{v}, p.n - 1u), {t}u);
#end
    var best_{v} = MAX;
    var block_{v} = codes_begin;
#end
    var side = 0u;
    fetch(codes_begin, side, lane);
    for (var c0 = codes_begin; c0 < codes_end; c0 += GROUP) {
        // The codes of this turn are there, and nobody reads those of the last one any more.
        workgroupBarrier();
        if c0 + GROUP < codes_end { fetch(c0 + GROUP, 1u - side, lane); }
        let there = min(codes_end - c0, GROUP);
        for (var b = 0u; b < there; b += BLOCK) {
            let at = (side * GROUP + b) * QUADS;
            let half_at = side * GROUP + b;
#unroll c 0 BLOCK
            let half_{c} = halves[half_at + {c}u];
#end
#unroll v 0 V
            let before_{v} = best_{v};
#end
#unroll c 0 BLOCK
            {
#unroll v 0 V
                var sum_{v} = 0.0;
#end
#unroll t 0 QUADS
                let b_{t} = codes[at + {c*QUADS+t}u];
#for j in x y z w
#unroll v 0 V
                sum_{v} = fma(x_{v}_{t}.{j}, b_{t}.{j}, sum_{v});
#end
#end
#end
#unroll v 0 V
                best_{v} = min(best_{v}, half_{c} - sum_{v});
#end
            }
#end
#unroll v 0 V
            block_{v} = select(block_{v}, c0 + b, best_{v} < before_{v});
#end
        }
        side = 1u - side;
    }
#unroll v 0 V
    best_{v} = MAX;
    var code_{v} = 0u;
#end
    for (var c = 0u; c < BLOCK; c += 1u) {
#unroll v 0 V
        {
            let col = min(block_{v} + c, p.k - 1u);
            var sum = 0.0;
#unroll t 0 QUADS
            let b_{t} = code_quad(col, {t}u);
#for j in x y z w
            sum = fma(x_{v}_{t}.{j}, b_{t}.{j}, sum);
#end
#end
            let score = half_norm[col] - sum;
            let wins = score < best_{v};
            best_{v} = select(best_{v}, score, wins);
            code_{v} = select(code_{v}, col, wins);
        }
#end
    }
#unroll v 0 V
    if row_{v} < p.n { found(group.z, row_{v}, best_{v}, code_{v}); }
#end
}
