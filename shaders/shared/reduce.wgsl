// The sum over a workgroup of GROUP invocations, by a tree of fixed shape. Every invocation gets
// it.
var<workgroup> reduce_scratch: array<f32, GROUP>;
fn group_sum(value: f32, lane: u32) -> f32 {
    workgroupBarrier();
    reduce_scratch[lane] = value;
    workgroupBarrier();
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        if lane < half { reduce_scratch[lane] += reduce_scratch[lane + half]; }
        workgroupBarrier();
    }
    return reduce_scratch[0];
}
