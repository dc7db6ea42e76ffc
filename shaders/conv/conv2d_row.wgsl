// y[n,oy,ox,o] = bias[o] + residual[n,oy,ox,o] + sum over ky, kx, c
//     of f(x[n, oy - py + ky, ox - px + kx, c]) w[o,ky,kx,c]
//
// conv2d at stride 1 for kernels KW wide; with FLIP its gradient to the input, which is a
// convolution too: x is dy, y is dx, and w'[c,ky,kx,o] = w[o,KH-1-ky,KW-1-kx,c] stands for w.
// x: f32 [N, H, W, I] (f16 with LHS_HALF, and with OUT_HALF y and residual, with
// MASK_HALF mask), y: [N, OH, OW, O], I and O multiples of 4; f is the identity, or max(., 0) with
// LHS_RELU; with RELU_MASK y is 0 where mask, of y's shape, is not above 0. A workgroup is one
// subgroup of LANES lanes. Each lane owns V pixels side by side and NC channels of each: the
// V + KW - 1 values of x that it loads for a row of taps serve all KW of them, where the matrix
// core would load V for each. Weights are handed round by broadcast.
// Reads 4 (N H W I KH (V + KW - 1) / V O / NC + O KH KW I) bytes or more, writes 4 N OH OW O.
struct Params {
    h: u32, w: u32, i: u32,
    oh: u32, ow: u32, o: u32,
    kh: u32, pad_y: u32, pad_x: u32,
    units: u32, row_units: u32,      // runs of V pixels in all, and in a row of y
    col_tiles: u32, tiles: u32,
}
var<immediate> p: Params;
#ifdef LHS_HALF
enable f16;
alias Loaded = vec4<f16>;
#else
alias Loaded = vec4<f32>;
#endif
@group(0) @binding(0) var<storage, read> x: array<Loaded>;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
#import gemm/epilogue
const QUAD_COLS = 4u;                // as gemm/store_row has it
#import shared/grid

fn load(base: i32, k: u32, inside: bool) -> vec4<f32> {
    let value = select(vec4<f32>(), vec4<f32>(x[select(0u, u32(base) + k / 4u, inside)]), inside);
#ifdef LHS_RELU
    // NaN stays, which `max` may lose.
    return select(value, vec4<f32>(), value <= vec4<f32>());
#else
    return value;
#endif
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    if tile >= p.tiles { return; }
    let unit = tile / p.col_tiles * LANES + lane;
    let tile_col = tile % p.col_tiles * NC;
    let ox = unit % p.row_units * V;
    let row = unit / p.row_units;
    let iy0 = i32(row % p.oh) - i32(p.pad_y);
    let ix0 = i32(ox) - i32(p.pad_x);
    let image = i32(row / p.oh * p.h);
#import shared/whole_subgroup
#unroll v 0 V
#unroll c 0 NC
    var acc_{v}_{c} = nothing;
#end
#end
    for (var ky = 0u; ky < p.kh; ky += 1u) {
        let iy = iy0 + i32(ky);
        let in_y = unit < p.units && iy >= 0 && iy < i32(p.h);
#unroll j 0 V+KW-1
        let in_{j} = in_y && ix0 + {j} >= 0 && ix0 + {j} < i32(p.w);
        let base_{j} = ((image + iy) * i32(p.w) + ix0 + {j}) * i32(p.i / 4u);
#end
        for (var k = 0u; k < p.i; k += 4u) {
#unroll j 0 V+KW-1
            let x_{j} = load(base_{j}, k, in_{j});
#end
#ifdef FLIP
            // Four columns side by side, at one k of four.
#unroll t 0 KW
#unroll g 0 NC/(4*RHS_LANES)
#unroll j 0 4
            let w_{t}_{g}_{j} = w[
                (((k + {j}u) * p.kh + p.kh - 1u - ky) * KW + {KW-1-t}u) * (p.o / 4u)
                + min(tile_col / 4u + {g}u * RHS_LANES + lane % RHS_LANES, p.o / 4u - 1u)];
#end
#end
#end
#unroll q 0 NC/4
            {
#unroll t 0 KW
#unroll j 0 4
                let b_{t}_{j} = subgroupBroadcast(w_{t}_{q/RHS_LANES}_{j}, {q%RHS_LANES}u);
#end
#end
#unroll c 0 4
#unroll v 0 V
                var s_{v}_{c} = acc_{v}_{4*q+c};
#unroll t 0 KW
                s_{v}_{c} = fma(x_{v+t}.w, b_{t}_3[{c}], fma(x_{v+t}.z, b_{t}_2[{c}],
                    fma(x_{v+t}.y, b_{t}_1[{c}], fma(x_{v+t}.x, b_{t}_0[{c}], s_{v}_{c}))));
#end
                acc_{v}_{4*q+c} = s_{v}_{c};
#end
#end
            }
#end
#else
            // Four steps along k, of one column.
#unroll t 0 KW
#unroll g 0 NC/RHS_LANES
            let w_{t}_{g} = w[
                ((min(tile_col + {g}u * RHS_LANES + lane % RHS_LANES, p.o - 1u) * p.kh + ky) * KW
                + {t}u) * (p.i / 4u) + k / 4u];
#end
#end
#unroll c 0 NC
            {
#unroll t 0 KW
                let b_{t} = subgroupBroadcast(w_{t}_{c/RHS_LANES}, {c%RHS_LANES}u);
#end
#unroll v 0 V
                var s_{v} = acc_{v}_{c};
#unroll t 0 KW
                s_{v} = fma(x_{v+t}.w, b_{t}.w, fma(x_{v+t}.z, b_{t}.z,
                    fma(x_{v+t}.y, b_{t}.y, fma(x_{v+t}.x, b_{t}.x, s_{v}))));
#end
                acc_{v}_{c} = s_{v};
#end
            }
#end
#endif
        }
    }
    if unit >= p.units { return; }
    let cols = p.o;
#unroll v 0 V
    if ox + {v}u < p.ow {
        let start = (row * p.ow + ox + {v}u) * p.o + tile_col;
#import gemm/store_row
    }
#end
}
