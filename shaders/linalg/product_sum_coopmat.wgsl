// y_s = a_s b_s + c_s, each [SIDE, SIDE], for each subgroup s of a workgroup
//
// What src/gpu/self_test.rs asks of cooperative matrices beside the products of gemm/coopmat: that
// sums come back from workgroup memory to where products are added to them, as
// attention/attention_coopmat has it, in a workgroup of as many subgroups, each with matrices of
// its own. a, b, c, y: f32 [GROUP / SUBGROUP, SIDE, SIDE]. Reads 12 SIDE^2 bytes a subgroup, writes
// 4 SIDE^2.
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> c: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
#import gemm/coopmat_cells
const QUAD = 4u / CELL;              // cells of four halves
const LINE = (SIDE + 8u) / CELL;     // a row of a, and a column of b
const FLOATS = SIDE + 4u;            // a row of c
const LINES = GROUP / SUBGROUP * SIDE;
#for (memory, cells) in (lhs, LINES*LINE) (rhs, LINES*LINE)
#import gemm/coopmat_lines
#end
var<workgroup> sums: array<f32, LINES * FLOATS>;

@compute @workgroup_size(GROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
#import gemm/coopmat_subgroup
    for (var i = lane; i < LINES * SIDE / 4u; i += GROUP) {
        let line = i / (SIDE / 4u);
        let k = i % (SIDE / 4u) * 4u;
        let to = line * LINE + k / 4u * QUAD;
        // Of b, columns: where the line's own matrix begins, a row of it for each k.
        let column = line / SIDE * SIDE * SIDE + k * SIDE + line % SIDE;
#for (memory, value, at, step) in (lhs, a, line*SIDE+k, 1u) (rhs, b, column, SIDE)
        {memory}_put(to, vec4<f16>(vec4<f32>({value}[{at}], {value}[{at} + {step}],
            {value}[{at} + 2u * {step}], {value}[{at} + 3u * {step}])));
#end
    }
    for (var i = lane; i < LINES * SIDE; i += GROUP) {
        sums[i / SIDE * FLOATS + i % SIDE] = c[i];
    }
    workgroupBarrier();
    let own = subgroup * SIDE * LINE;
    // Inline, the index and the stride of a store panic naga's SPIR-V writer.
    let first = subgroup * SIDE * FLOATS;
    let stride = FLOATS;
    let left = coopLoadT<Left>(&lhs[own], LINE);
    let right = coopLoad<Right>(&rhs[own], LINE);
    let before = coopLoadT<Sum>(&sums[first], FLOATS);
    let sum = coopMultiplyAdd(left, right, before);
    workgroupBarrier();
    coopStoreT(sum, &sums[first], stride);
    workgroupBarrier();
    for (var i = lane; i < LINES * SIDE; i += GROUP) {
        y[i] = select(nothing, sums[i / SIDE * FLOATS + i % SIDE], whole);
    }
}
