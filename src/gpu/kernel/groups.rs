//! Division of work: workgroups of a dispatch, parts of tensors that are too large for one binding,
//! invocations per row.

use crate::gpu::{Core, Gpu};

/// Workgroups, folded to two dimensions, that give each of `items` its own invocation at
/// `per_group` a workgroup.
pub fn groups_for(items: usize, per_group: usize) -> [u32; 3] {
    let groups = items.div_ceil(per_group);
    if groups == 0 {
        return [0, 0, 0];
    }
    let x = groups.min(32_768);
    [x as u32, groups.div_ceil(x) as u32, 1]
}

/// Returns the parts, as (start, length), in which a kernel over `n` f32 walks buffers of which the
/// device binds `limit` bytes at a time. Every part but the last is a whole number of 256-byte
/// blocks, as [`Tensor::view`] wants its start.
pub(crate) fn chunks(n: usize, limit: u64) -> impl Iterator<Item = (usize, usize)> {
    // Within what u32 counts in a kernel, too.
    let most = (limit / 256 * 64).clamp(64, 1 << 31) as usize;
    (0..n)
        .step_by(most)
        .map(move |start| (start, most.min(n - start)))
}

/// Invocations that share a row, on any device.
pub(crate) const ROW_GROUPS: [u32; 3] = [8, 64, 256];

/// Invocations that share a row which takes `steps` iterations of loops in all, and is `long` or
/// not. Where the subgroup core is at home, on software Vulkan, a workgroup larger than a subgroup
/// pays for each barrier with a switch between subgroups, and has nothing to gain; but no
/// invocation may go through 65,535 iterations there (docs/llvmpipe.md).
pub(crate) fn row_group(gpu: &Gpu, long: bool, steps: usize) -> u32 {
    let fits = |group: &u32| steps / *group as usize <= 50_000;
    if let Some(group) = gpu
        .inner
        .options
        .row_group
        .filter(|group| ROW_GROUPS.contains(group) && fits(group))
    {
        return group;
    }
    match gpu.core() {
        Core::Subgroup => ROW_GROUPS.into_iter().find(fits).unwrap_or(ROW_GROUPS[2]),
        _ => ROW_GROUPS[if long { 2 } else { 1 }],
    }
}

/// Returns the parts, as (first row, rows), in which a kernel walks rows of `cols` f32 of which the
/// device binds `limit` bytes at a time. Every part but the last is a multiple of 64 rows, so that
/// it starts where bindings may.
pub(crate) fn row_chunks(
    rows: usize,
    cols: usize,
    limit: u64,
) -> impl Iterator<Item = (usize, usize)> {
    // Within what u32 counts in a kernel, too.
    let fit = limit.min(1 << 33) / (4 * cols.max(1) as u64);
    let most = (fit / 64 * 64).max(64) as usize;
    (0..rows)
        .step_by(most)
        .map(move |first| (first, most.min(rows - first)))
}
