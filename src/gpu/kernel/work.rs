//! The cost of a dispatch.

/// The cost of a dispatch, as far as its caller knows: it decides how much work one submission
/// holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Floating-point operations (a fused multiply-add is two).
    pub flops: f64,
    /// Bytes read and written, each tensor counted once.
    pub bytes: f64,
}

impl Work {
    /// One number to add up: a byte moved is taken as two operations.
    pub(in crate::gpu) fn weight(self) -> f64 {
        self.flops + 2.0 * self.bytes + 1e4
    }
}
