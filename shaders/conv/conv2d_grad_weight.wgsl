// dw[o,ky,kx,c] = sum over n, oy, ox of dy[n,oy,ox,o] f(x[n, oy s - p + ky, ox s - p + kx, c])
//
// x: f32 [N, H, W, I], dy: [N, OH, OW, O], dw: [parts, O, KH, KW, I]; s stride, p padding; f is the
// identity, or max(., 0) with LHS_RELU; RHS_RELU does the same to dy, which a transposed
// convolution has in its place. On the matrix core: rows are (ky, kx, c), columns output channels,
// and the sum runs over output pixels. The grid's z has parts of it, some images each, or some rows
// of them; split_sum adds the parts in a fixed order. Reads 4 (N H W I + N OH OW O) bytes or more,
// writes 4 parts O KH KW I.
struct Params {
    n: u32,
    h: u32, w: u32, i: u32,
    oh: u32, ow: u32, o: u32,
    kh: u32, kw: u32,
    stride: u32, pad: u32,
    // Images of a part, rows of dy of a part, and how many parts have the same images
    images_per_part: u32, rows_per_part: u32, row_parts: u32,
    col_tiles: u32, tiles: u32,
}
var<immediate> p: Params;
#import gemm/operands
#ifdef LHS_VEC
@group(0) @binding(2) var<storage, read_write> dw: array<vec4<f32>>;
#else
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;
#endif

var<private> row_begin: u32;         // the first row of dy of this part

// A row is one weight of each output channel; along k it meets the pixels of one output row.
struct Lhs { at: i32, y: i32, lo: i32, hi: i32 }
struct Rhs { at: i32, end: i32 }
fn lhs_begin(row: u32) -> Lhs {
    let run = p.kw * p.i;
#ifdef WHOLE
    let read = min(row, p.kh * run - 4u);
#else
    let read = row;
#endif
    let ky = read / run;
    let kx = i32(read % run / p.i);
    let c = i32(read % p.i);
    // ix = ox s - p + kx lies in the image for lo <= ox < hi.
    let s = i32(p.stride);
    let before = max(0, i32(p.pad) - kx);
    let lo = (before + s - 1) / s;
    let room = i32(p.w) + i32(p.pad) - kx;
    let hi = min(select(0, (room + s - 1) / s, room > 0), i32(p.ow));
    let y = i32(ky) - i32(p.pad);
    let at = (y * i32(p.w) + kx - i32(p.pad)) * i32(p.i) + c;
    return Lhs(at, y, lo, select(0, hi, ky < p.kh));
}
fn lhs_offset(t1: u32, t0: u32) -> i32 {
    return i32((t1 * p.h + (row_begin + t0) * p.stride) * p.w * p.i);
}
fn lhs_step() -> i32 { return i32(p.stride * p.i); }
fn lhs_limits(line: Lhs, t1: u32, t0: u32) -> vec2<i32> {
    return vec2(line.lo, select(0, line.hi, u32(i32((row_begin + t0) * p.stride) + line.y) < p.h));
}
fn rhs_begin(col: u32) -> Rhs {
#ifdef WHOLE
    let read = min(col, p.o - 4u);
#else
    let read = col;
#endif
    return Rhs(i32(read), select(0, i32(p.ow), col < p.o));
}
fn rhs_offset(t1: u32, t0: u32) -> i32 {
    return i32((t1 * p.oh + row_begin + t0) * p.ow * p.o);
}
fn rhs_step() -> i32 { return i32(p.o); }
fn rhs_limits(line: Rhs, t1: u32, t0: u32) -> vec2<i32> { return vec2(0, line.end); }
#import gemm/core
#import shared/grid

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    if tile >= p.tiles { return; }
    let tile_r0 = tile / p.col_tiles * TILE_ROWS;
    let tile_c0 = tile % p.col_tiles * TILE_COLS;
    let t1_begin = group.z / p.row_parts * p.images_per_part;
    let t1_end = min(t1_begin + p.images_per_part, p.n);
    let first_row = group.z % p.row_parts * p.rows_per_part;
    let t0_end = min(p.rows_per_part, p.oh - first_row);
    row_begin = first_row;
    let k_end = i32(p.ow);
#import gemm/accumulate
    let rows = p.kh * p.kw * p.i;
#ifdef SIDE
    // A column of sums is one run of dw: matrices go there as they are, the tile lying inside, or
    // by stages, of which an invocation has four rows of a column at a time.
#ifdef DIRECT
    if tile_r0 + TILE_ROWS <= rows && tile_c0 + TILE_COLS <= p.o && whole {
        let first_col = group.z * p.o + tile_c0 + block_col;
        let stride = rows / 4u;
#ifdef EMULATE
        for (var block = 0u; block < DOWN * BESIDE; block += 1u) {
            let row = tile_r0 + row_of(block / BESIDE) + block_row;
            let at = ((first_col + col_of(block % BESIDE)) * rows + row) / 4u;
            // Four rows of a column are one lane's, with HELD_DOWN.
            for (var e = 0u; e < HELD; e += 4u) {
                let one = held_at(lane, e);
                let sum = block * HELD + e;
                dw[at + one % SIDE * stride + one / SIDE / 4u] =
                    vec4<f32>(held[sum], held[sum + 1u], held[sum + 2u], held[sum + 3u]);
            }
        }
#else
#unroll i 0 TILE_ROWS/(2*SIDE)
#unroll j 0 TILE_COLS/(2*SIDE)
        {
            let row = tile_r0 + row_of({i}u) + block_row;
            let at = ((first_col + col_of({j}u)) * rows + row) / 4u;
            coopStore(sum_{i}_{j}, &dw[at], stride);
        }
#end
#end
#endif
        return;
    }
#endif
#unroll t 0 TILE_ROWS/32
#unroll h 0 TILE_COLS/64
#import gemm/coopmat_stage
#unroll q 0 512/GROUP
    {
        let part = lane % 8u * 4u;
        let beside = lane / 8u + {q}u * (GROUP / 8u);
        let row = tile_r0 + {32*t}u + part;
        let col = tile_c0 + {64*h}u + beside;
        let sum = select(
            vec4<f32>(nothing),
            vec4<f32>(sums[part * FLOATS + beside], sums[(part + 1u) * FLOATS + beside],
                sums[(part + 2u) * FLOATS + beside], sums[(part + 3u) * FLOATS + beside]),
            whole,
        );
        let at = (group.z * p.o + col) * rows + row;
#ifdef LHS_VEC
        if row < rows && col < p.o { dw[at / 4u] = sum; }
#else
#unroll j 0 4
        if row + {j}u < rows && col < p.o { dw[at + {j}u] = sum[{j}]; }
#end
#endif
    }
#end
#end
#end
#else
#unroll v 0 V/4
    {
        let row = tile_row(tile_r0, lane, {4*v}u);
        let start = (group.z * p.o + tile_col) * rows + row;
#unroll c 0 NC
        if tile_col + {c/4}u * QUAD_COLS + {c%4}u < p.o {
            let at = start + ({c/4}u * QUAD_COLS + {c%4}u) * rows;
#ifdef LHS_VEC
            if row < rows {
                dw[at / 4u] =
                    vec4<f32>(acc_{4*v}_{c}, acc_{4*v+1}_{c}, acc_{4*v+2}_{c}, acc_{4*v+3}_{c});
            }
#else
#unroll j 0 4
            if row + {j}u < rows { dw[at + {j}u] = acc_{4*v+j}_{c}; }
#end
#endif
        }
#end
    }
#end
#endif
}
