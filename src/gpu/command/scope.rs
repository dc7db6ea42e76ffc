//! Errors that an error scope caught: at once where a call may wait for the device, later in a
//! browser, where none may.

#[cfg(target_arch = "wasm32")]
use crate::Error;
use crate::gpu::Gpu;

impl Gpu {
    /// Closes `scope` and gives what it caught. In a browser that is not known yet: it is then the
    /// failure that the next fallible call returns.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn caught(&self, scope: wgpu::ErrorScopeGuard, _what: &str) -> Option<wgpu::Error> {
        pollster::block_on(scope.pop())
    }

    /// See above.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn caught(&self, scope: wgpu::ErrorScopeGuard, what: &str) -> Option<wgpu::Error> {
        let (caught, failure, what) = (scope.pop(), self.inner.failure.clone(), what.to_owned());
        wasm_bindgen_futures::spawn_local(async move {
            if let Some(error) = caught.await {
                failure.lock().get_or_insert(Error::Gpu {
                    op: what,
                    what: error.to_string(),
                });
            }
        });
        None
    }
}
