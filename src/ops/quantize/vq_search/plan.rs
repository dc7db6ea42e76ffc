//! Plans of searches: kernels, and the shares of workgroups.

use crate::gpu::kernel::gemm::splits;
use crate::gpu::{Gpu, Kernel};

/// Codes that a workgroup walks at least, where several share those of a row.
pub(super) const CODES: usize = 256;

/// Turns of loops that an invocation takes at most on a processor: past 65,535 Mesa's software
/// driver leaves every loop (docs/llvmpipe.md).
pub(super) const TURNS: usize = 50_000;

/// Whether latents and codes are read as vec4s, and latents as f16.
pub(super) const FORMS: [(bool, bool); 3] = [(false, false), (true, false), (true, true)];

/// A search's kernel, and how its work is shared out.
pub(super) struct Plan {
    pub(super) kernel: Kernel,
    /// Latents of a workgroup.
    pub(super) rows: usize,
    /// Codes of a workgroup.
    pub(super) codes: usize,
}

/// Returns the codes of a workgroup where each of `tiles` workgroups has latents of its own: all of
/// `k`, or where there are few workgroups, or more codes than an invocation can walk, a part of
/// them. It walks `step` codes by `turns` turns of its loops.
pub(super) fn codes_of(gpu: &Gpu, tiles: usize, k: usize, step: usize, turns: usize) -> usize {
    let most = match gpu.info().device_type {
        wgpu::DeviceType::Cpu => (TURNS / turns).max(1) * step,
        _ => k,
    };
    let wanted = (splits(gpu, tiles).min(k / CODES)).max(k.div_ceil(most));
    k.div_ceil(wanted.max(1)).next_multiple_of(step).min(k)
}
