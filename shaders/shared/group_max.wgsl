// The largest value of a workgroup of GROUP invocations and the lowest index that has it. Every
// invocation gets them.
struct Peak { value: f32, index: u32 }
var<workgroup> peak_values: array<f32, GROUP>;
var<workgroup> peak_indices: array<u32, GROUP>;
fn group_max(value: f32, index: u32, lane: u32) -> Peak {
    workgroupBarrier();
    peak_values[lane] = value;
    peak_indices[lane] = index;
    workgroupBarrier();
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        if lane < half {
            let v = peak_values[lane + half];
            let i = peak_indices[lane + half];
            if v > peak_values[lane] || (v == peak_values[lane] && i < peak_indices[lane]) {
                peak_values[lane] = v;
                peak_indices[lane] = i;
            }
        }
        workgroupBarrier();
    }
    return Peak(peak_values[0], peak_indices[0]);
}
const LOWEST = -3.4e38;
