// Another size of images by a filter of rows and one of columns.
//
//   y[n, Y, X, c] = sum over i of rows[Y, i] (sum over j of columns[X, j] x[n, i, j, c])
//
// x [N, h, w, C], y [N, H, W, C], each V f32 at a time, V of 4 or 1. Rows [H, h] and columns
// [W, w] lie with steps p.row and p.column: those of the gradient with respect to x are the same
// filters, transposed. One invocation makes one unit of V of y, in the order of i, then j; what a
// filter weighs by 0 is not read. Reads 4 bytes for each of x that it weighs, writes 4 an element
// of y.
//
// p.units: units of y. p.from_, p.to_: rows and columns of x and of y. p.c: units of a pixel.
// p.row, p.column: steps of a filter from a place of y to the next, and from one of x.
struct Params {
    units: u32,
    c: u32,
    from_: vec2<u32>,
    to_: vec2<u32>,
    row: vec2<u32>,
    column: vec2<u32>,
}
var<immediate> p: Params;
#ifdef VEC
alias T = vec4<f32>;
#else
alias T = f32;
#endif
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> rows: array<f32>;
@group(0) @binding(2) var<storage, read> columns: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let at = linear_index(group, groups, lane, 64u);
    if at >= p.units { return; }
    let c = at % p.c;
    let pixel = at / p.c;
    let column = pixel % p.to_.y * p.column.x;
    let line = pixel / p.to_.y;
    let row = line % p.to_.x * p.row.x;
    let image = line / p.to_.x * p.from_.x;
    var sum = T(0.0);
    for (var i = 0u; i < p.from_.x; i++) {
        let by = rows[row + i * p.row.y];
        if by == 0.0 { continue; }
        let from_ = (image + i) * p.from_.y;
        var inner = T(0.0);
        for (var j = 0u; j < p.from_.y; j++) {
            let weight = columns[column + j * p.column.y];
            if weight != 0.0 { inner += weight * x[(from_ + j) * p.c + c]; }
        }
        sum += by * inner;
    }
    y[at] = sum;
}
