//! Dispatches as they were recorded before, each with the one that followed it. Steps repeat: so
//! the next dispatch is mostly the one that came next the last time, which two comparisons tell,
//! and nothing is looked up. One that differs is looked up, and from there on the plan is followed
//! again.

use crate::gpu::FastMap;
use crate::gpu::kernel::pipelines::{Kernel, Pipeline};
use smallvec::SmallVec;
use std::sync::Arc;

/// The buffers that a bind group binds, in order: of each its number, the offset and the size.
pub(in crate::gpu) type Bound = SmallVec<[(u64, u64, u64); 8]>;

/// A bind group and its number.
#[derive(Clone)]
pub(in crate::gpu) struct BindGroup {
    pub(super) id: u64,
    pub(in crate::gpu) group: wgpu::BindGroup,
}

/// A dispatch that was recorded before, but for its parameters and workgroups.
pub(super) struct Known {
    kernel: Kernel,
    bound: Bound,
    pipeline: Arc<Pipeline>,
    pub(super) bind_group: BindGroup,
    /// The dispatch that came after it the last time.
    next: usize,
}

/// All that is known, and where in it the recording is.
#[derive(Default)]
pub(in crate::gpu) struct Plan {
    known: Vec<Known>,
    /// By the pipeline's number, and what is bound.
    places: FastMap<(u64, Bound), usize>,
    last: Option<usize>,
    /// By the layout's number, or that of what draws into a texture.
    bind_groups: FastMap<(u64, Bound), BindGroup>,
}

/// Bind groups and dispatches that are kept at most.
const KEPT: usize = 8192;

impl Plan {
    /// Returns the number of the dispatch that comes next by the plan.
    fn expected(&self) -> Option<usize> {
        self.last.map(|last| self.known[last].next)
    }

    /// Returns the pipeline of a kernel, if the plan has it next.
    pub(super) fn pipeline(&self, kernel: &Kernel) -> Option<Arc<Pipeline>> {
        let known = &self.known[self.expected()?];
        (known.kernel == *kernel).then(|| known.pipeline.clone())
    }

    /// Returns the dispatch of this pipeline and these buffers, and goes on to it; `None` if there
    /// was none yet.
    pub(super) fn go_on(&mut self, pipeline: &Arc<Pipeline>, bound: &Bound) -> Option<&Known> {
        let fits = |at: &usize| {
            let known = &self.known[*at];
            Arc::ptr_eq(&known.pipeline, pipeline) && known.bound == *bound
        };
        let at = match self.expected().filter(fits) {
            Some(at) => at,
            None => *self.places.get(&(pipeline.id, bound.clone()))?,
        };
        self.go_to(at);
        Some(&self.known[at])
    }

    fn go_to(&mut self, at: usize) {
        if let Some(last) = self.last.replace(at) {
            self.known[last].next = at;
        }
    }

    /// Adds a dispatch, and goes on to it.
    pub(super) fn add(
        &mut self,
        kernel: &Kernel,
        bound: Bound,
        pipeline: &Arc<Pipeline>,
        bind_group: BindGroup,
    ) -> &Known {
        let at = self.known.len();
        self.places.insert((pipeline.id, bound.clone()), at);
        self.known.push(Known {
            kernel: kernel.clone(),
            bound,
            pipeline: pipeline.clone(),
            bind_group,
            next: 0,
        });
        self.go_to(at);
        &self.known[at]
    }

    /// Returns the bind group of a layout and buffers, made at the first use.
    pub(in crate::gpu) fn bind_group(
        &mut self,
        layout: u64,
        bound: &Bound,
        make: impl FnOnce() -> BindGroup,
    ) -> BindGroup {
        let entry = self.bind_groups.entry((layout, bound.clone()));
        entry.or_insert_with(make).clone()
    }

    /// Forgets everything, and lets go of the buffers.
    pub(in crate::gpu) fn clear(&mut self) {
        *self = Plan::default();
    }

    /// Forgets bind groups over buffers of these numbers, and, where there are too many, all.
    pub(super) fn forget(&mut self, gone: &[u64]) {
        if self.bind_groups.len().max(self.known.len()) > KEPT {
            return self.clear();
        }
        if !gone.is_empty() {
            self.bind_groups
                .retain(|(_, bound), _| !bound.iter().any(|(id, ..)| gone.contains(id)));
            // Where one goes, what came after another changes.
            self.known.clear();
            self.places.clear();
            self.last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::gpu::{Gpu, Options, Tensor};
    use crate::ops::elementwise::scale::scale;

    /// A step that repeats makes no bind groups, one that differs is right all the same.
    #[test]
    fn what_repeats_is_followed_and_what_differs_is_looked_up() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let x = Tensor::from_slice(&gpu, &[4], &[1.0f32, 2.0, 3.0, 4.0]).unwrap();
        // Chains of this many operations; the results are live while others are computed.
        let step = |lengths: &[i32]| -> Vec<f32> {
            let chain = |length: &i32| {
                let first = scale(&x, 1.0, 0.5).unwrap();
                (1..*length).fold(first, |y, _| scale(&y, 2.0, 0.0).unwrap())
            };
            let all: Vec<Tensor> = lengths.iter().map(chain).collect();
            all.iter().map(|y| y.read::<f32>().unwrap()[1]).collect()
        };
        assert_eq!(step(&[3, 2]), [10.0, 5.0]);
        step(&[3, 2]);
        let before = gpu.counters();
        assert_eq!(step(&[3, 2]), [10.0, 5.0]);
        let after = gpu.counters();
        assert_eq!(after.dispatches, before.dispatches + 5);
        assert_eq!(after.bind_groups, before.bind_groups);
        assert_eq!(step(&[1, 4, 2]), [2.5, 20.0, 5.0]);
        gpu.trim();
        assert_eq!(step(&[3, 2]), [10.0, 5.0]);
        assert!(gpu.counters().bind_groups > after.bind_groups);
    }
}
