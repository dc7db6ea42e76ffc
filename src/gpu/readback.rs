//! Reading tensors back, with or without waiting.

use super::{DType, Element, Gpu, Tensor};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

#[derive(Default)]
struct State {
    done: Option<Result<(), String>>,
    waker: Option<Waker>,
}

/// A copy on its way to the host. Await it, poll it with [`Readback::ready`], or [`Readback::wait`] for it.
pub struct Readback {
    gpu: Gpu,
    staging: wgpu::Buffer,
    bytes: usize,
    dtype: DType,
    state: Arc<Mutex<State>>,
}

impl Tensor {
    /// Starts copying the content to the host and returns at once; what was recorded so far is submitted.
    pub fn read_async(&self) -> Result<Readback> {
        let gpu = self.gpu();
        let (buffer, range) = self.buffer();
        let size = range.end - range.start;
        let staging = gpu.inner.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("wgvq readback"),
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.touch();
        gpu.count_readback();
        gpu.with_encoder(|encoder| encoder.copy_buffer_to_buffer(buffer, range.start, &staging, 0, size));
        gpu.flush()?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            let mut state = shared.lock();
            state.done = Some(result.map_err(|e| e.to_string()));
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        });
        Ok(Readback { gpu: gpu.clone(), staging, bytes: self.len() * self.dtype().size(), dtype: self.dtype(), state })
    }

    /// The content, row-major. Waits for the device.
    ///
    /// # Errors
    /// If `T` is not the tensor's element type, or the device was lost.
    pub fn read<T: Element>(&self) -> Result<Vec<T>> {
        self.read_async()?.wait()
    }
}

impl Readback {
    /// Has the copy arrived? Never waits.
    pub fn ready(&self) -> bool {
        let _ = self.gpu.inner.device.poll(wgpu::PollType::Poll);
        self.state.lock().done.is_some()
    }

    /// Waits for the copy and returns it.
    pub fn wait<T: Element>(self) -> Result<Vec<T>> {
        while self.state.lock().done.is_none() {
            self.gpu
                .inner
                .device
                .poll(wgpu::PollType::wait_indefinitely())
                .map_err(|e| Error::DeviceLost { reason: e.to_string() })?;
        }
        self.take()
    }

    /// Waits without blocking the thread: on platforms where the host polls the device.
    pub async fn get<T: Element>(self) -> Result<Vec<T>> {
        Arrival(&self.state).await;
        self.take()
    }

    fn take<T: Element>(self) -> Result<Vec<T>> {
        self.gpu.check()?;
        if T::DTYPE != self.dtype {
            return Err(Error::shape("read", format!("{:?}", self.dtype), format!("{:?}", T::DTYPE)));
        }
        if let Some(Err(reason)) = self.state.lock().done.clone() {
            return Err(Error::DeviceLost { reason });
        }
        let mapped =
            self.staging.get_mapped_range(..).map_err(|e| Error::Gpu { op: "readback".into(), what: e.to_string() })?;
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
