//! Reading tensors back, with or without waiting.

use crate::gpu::lock::Mutex;
use crate::gpu::memory::read_ahead;
use crate::gpu::{DType, Element, Gpu, Tensor};
use crate::{Error, Result};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

#[derive(Default)]
struct State {
    done: Option<Result<(), String>>,
    waker: Option<Waker>,
}

/// The copy's side of a readback. One that is dropped with an encoder that was never submitted says
/// so.
struct Notice(Arc<Mutex<State>>);

impl Notice {
    fn tell(&self, result: Result<(), String>) {
        let mut state = self.0.lock();
        state.done.get_or_insert(result);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        self.tell(Err("the encoder that the copy was recorded into was \
                       dropped and not submitted"
            .into()));
    }
}

/// A copy on its way to the host. Await it, poll it with [`Readback::ready`], or [`Readback::wait`]
/// for it.
pub struct Readback {
    gpu: Gpu,
    staging: wgpu::Buffer,
    bytes: usize,
    dtype: DType,
    state: Arc<Mutex<State>>,
}

impl Tensor {
    /// Starts copying the content to the host and returns at once; what was recorded so far is
    /// submitted.
    ///
    /// Inside [`Gpu::record_into`], nothing is: the copy is recorded, and arrives after the host
    /// has submitted its encoder and polls the device.
    pub fn read_async(&self) -> Result<Readback> {
        self.check_usage("read", wgpu::BufferUsages::COPY_SRC)?;
        let gpu = self.gpu();
        let (buffer, range) = self.buffer();
        let size = range.end - range.start;
        let staging = gpu.inner.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("wgvq readback"),
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu.count_readback();
        let state = Arc::new(Mutex::new(State::default()));
        let arrival = Notice(state.clone());
        gpu.copy_buffers(&[&self.storage], (buffer, range.start), (&staging, 0), size);
        gpu.with_encoder(&[], |encoder| {
            encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., move |result| {
                arrival.tell(result.map_err(|e| e.to_string()));
            });
        });
        if gpu.host_set().is_none() {
            gpu.flush()?;
        }
        let dtype = self.dtype();
        Ok(Readback {
            gpu: gpu.clone(),
            staging,
            bytes: self.len() * dtype.size(),
            dtype,
            state,
        })
    }

    /// Returns the content, row-major. Waits for the device, which a browser does not allow: there,
    /// await [`Readback::get`], or read within [`Gpu::read_ahead`].
    ///
    /// # Errors
    /// If `T` is not the tensor's element type, or the device was lost.
    pub fn read<T: Element>(&self) -> Result<Vec<T>> {
        match read_ahead::answer(self) {
            Some(answered) => answered,
            None => self.read_async()?.wait(),
        }
    }
}

impl Readback {
    /// Whether the copy has arrived. Never waits.
    pub fn ready(&self) -> bool {
        let _ = self.gpu.inner.poll(wgpu::PollType::Poll);
        self.state.lock().done.is_some()
    }

    /// Waits for the copy and returns it.
    ///
    /// # Errors
    /// If `T` is not the tensor's element type, or the device was lost; in a browser, if the copy
    /// has not arrived yet.
    pub fn wait<T: Element>(self) -> Result<Vec<T>> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            self.gpu.clone().block_on(self.get())
        }
        #[cfg(target_arch = "wasm32")]
        if self.state.lock().done.is_some() {
            self.take()
        } else {
            Err(Error::invalid(
                "read",
                "nothing may wait for the device in a browser: await `Readback::get`",
            ))
        }
    }

    /// Waits without blocking the thread: in browsers, and where the host polls the device.
    pub async fn get<T: Element>(self) -> Result<Vec<T>> {
        Arrival(&self.state).await;
        self.take()
    }

    /// [`Readback::get`], whatever the elements are.
    pub(super) async fn bytes(self) -> Result<Vec<u8>> {
        Arrival(&self.state).await;
        self.content()
    }

    fn take<T: Element>(self) -> Result<Vec<T>> {
        if T::DTYPE != self.dtype {
            self.gpu.check()?;
            return Err(Error::shape(
                "read",
                format!("{:?}", self.dtype),
                format!("{:?}", T::DTYPE),
            ));
        }
        self.content()
    }

    fn content<T: bytemuck::Pod>(self) -> Result<Vec<T>> {
        self.gpu.check()?;
        if let Some(Err(reason)) = self.state.lock().done.clone() {
            return Err(Error::Gpu {
                op: "readback".into(),
                what: reason,
            });
        }
        let mapped = self.staging.get_mapped_range(..).map_err(|e| Error::Gpu {
            op: "readback".into(),
            what: e.to_string(),
        })?;
        Ok(bytemuck::pod_collect_to_vec(&mapped[..self.bytes]))
    }
}

struct Arrival<'a>(&'a Mutex<State>);

impl Future for Arrival<'_> {
    type Output = ();
    fn poll(self: Pin<&mut Self>, context: &mut Context) -> Poll<()> {
        let mut state = self.0.lock();
        if state.done.is_some() {
            return Poll::Ready(());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
