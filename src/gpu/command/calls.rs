//! The calls of operations that a piece of work makes, with their sizes.

use crate::Result;
use crate::gpu::lock::Mutex;
use crate::gpu::{Gpu, Tensor};
use std::sync::atomic::{AtomicBool, Ordering};

/// A call of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The operation's name.
    pub op: &'static str,
    /// Its sizes, as its cases have them.
    pub sizes: Vec<(&'static str, usize)>,
    /// Whether its gradient was computed, too.
    pub backward: bool,
    /// The buffer of its result.
    output: u64,
}

/// Calls that are noted, while somebody asks for them.
#[derive(Default)]
pub(crate) struct Calls {
    noted: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    /// Gradients that are computed at the moment, one within another: what they call is theirs.
    within: usize,
}

/// A gradient that is computed, until it is dropped.
pub(crate) struct WithinGradient<'a>(Option<&'a Gpu>);

impl Drop for WithinGradient<'_> {
    fn drop(&mut self) {
        if let Some(gpu) = self.0 {
            gpu.inner.command.calls.state.lock().within -= 1;
        }
    }
}

impl Gpu {
    /// Runs what `record` records, and returns the calls of operations in it, in their order: of
    /// operations that tell of themselves. What gradients call is not listed; the call that they
    /// are of says that it had one. One thread is to record at a time.
    ///
    /// # Errors
    /// If `record` fails.
    pub fn calls_of<R>(&self, record: impl FnOnce() -> Result<R>) -> Result<(R, Vec<Call>)> {
        let calls = &self.inner.command.calls;
        *calls.state.lock() = State::default();
        calls.noted.store(true, Ordering::Relaxed);
        let result = record();
        calls.noted.store(false, Ordering::Relaxed);
        let calls = std::mem::take(&mut calls.state.lock().calls);
        Ok((result?, calls))
    }

    fn are_calls_noted(&self) -> bool {
        self.inner.command.calls.noted.load(Ordering::Relaxed)
    }

    /// Notes a call of an operation whose result is `output`, where somebody asks for calls.
    pub(crate) fn note_call<const N: usize>(
        &self,
        op: &'static str,
        output: &Tensor,
        sizes: [(&'static str, usize); N],
    ) {
        if !self.are_calls_noted() {
            return;
        }
        let mut state = self.inner.command.calls.state.lock();
        if state.within == 0 {
            state.calls.push(Call {
                op,
                sizes: sizes.to_vec(),
                backward: false,
                output: output.storage.id(),
            });
        }
    }

    /// The place of the last call among those noted, where this is its result.
    pub(crate) fn last_call(&self, output: &Tensor) -> Option<usize> {
        if !self.are_calls_noted() {
            return None;
        }
        let state = self.inner.command.calls.state.lock();
        let last = state.calls.last().filter(|_| state.within == 0)?;
        (last.output == output.storage.id()).then(|| state.calls.len() - 1)
    }

    /// Notes that the gradient of a call is computed, until what is returned is dropped.
    pub(crate) fn within_gradient(&self, call: Option<usize>) -> WithinGradient<'_> {
        if !self.are_calls_noted() {
            return WithinGradient(None);
        }
        let mut state = self.inner.command.calls.state.lock();
        state.within += 1;
        if let Some(call) = call.and_then(|call| state.calls.get_mut(call)) {
            call.backward = true;
        }
        WithinGradient(Some(self))
    }
}
