//! Computations that read tensors, run without blocking the thread.

use crate::gpu::{Element, Gpu, Readback, Tensor};
use crate::{Error, Result};
use std::cell::RefCell;
use std::collections::VecDeque;

/// The state of the calls of [`Tensor::read`] on this thread within [`Gpu::read_ahead`].
enum Reads {
    /// The first time: copies begin.
    Begun(Vec<Readback>),
    /// The second time: what arrived is handed out, in order.
    Arrived(VecDeque<Vec<u8>>),
}

thread_local! {
    static READS: RefCell<Option<Reads>> = const { RefCell::new(None) };
}

/// Runs `f` with what reads do; returns its result, and what is left of them.
fn within<T>(reads: Reads, f: impl FnOnce() -> Result<T>) -> Result<(T, Reads)> {
    /// Ends it, whatever `f` does.
    struct End(Option<Reads>);
    impl Drop for End {
        fn drop(&mut self) {
            READS.set(self.0.take());
        }
    }
    let end = End(READS.replace(Some(reads)));
    let result = f();
    let left = READS.take();
    drop(end);
    let lost = || Error::invalid("read_ahead", "its reads were lost");
    Ok((result?, left.ok_or_else(lost)?))
}

/// Answers a read within [`Gpu::read_ahead`]; `None` elsewhere.
pub(super) fn answer<T: Element>(tensor: &Tensor) -> Option<Result<Vec<T>>> {
    let mut reads = READS.take()?;
    let answered = match &mut reads {
        Reads::Begun(copies) => tensor.read_async().map(|copy| {
            copies.push(copy);
            vec![T::zeroed(); tensor.len()]
        }),
        Reads::Arrived(copies) => {
            let bytes = copies.pop_front().filter(|bytes| {
                T::DTYPE == tensor.dtype() && bytes.len() == tensor.len() * T::DTYPE.size()
            });
            let what = "what is computed reads other tensors the second time than the first";
            bytes
                .map(|bytes| bytemuck::pod_collect_to_vec(&bytes))
                .ok_or_else(|| Error::invalid("read_ahead", what))
        }
    };
    READS.set(Some(reads));
    Some(answered)
}

impl Gpu {
    /// Runs a computation that reads tensors by [`Tensor::read`], without blocking the thread: in
    /// browsers, and where the host polls the device.
    ///
    /// `f` runs twice. The first time each read begins a copy and gives zeros, and what `f` returns
    /// is dropped; once the copies have arrived, it runs again, and each read gives what arrived.
    /// So it must read the same tensors in the same order whatever they hold, and leave the device
    /// as it found it, or do what may be done twice: save, measure, look.
    ///
    /// ```
    /// use wgvq::gpu::{Gpu, Options, Tensor};
    ///
    /// # fn main() -> wgvq::Result<()> {
    /// let gpu = Gpu::new(Options::default())?;
    /// let [a, b] = [[1.0f32, 2.0], [3.0, 4.0]].map(|v| Tensor::from_slice(&gpu, &[2], &v));
    /// let (a, b) = (a?, b?);
    /// let both = gpu.read_ahead(|| Ok([a.read::<f32>()?, b.read::<f32>()?].concat()));
    /// assert_eq!(gpu.block_on(both)?, [1.0, 2.0, 3.0, 4.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns `f`'s error, or one if it reads other tensors the second time, or the device was
    /// lost.
    pub async fn read_ahead<T>(&self, mut f: impl FnMut() -> Result<T>) -> Result<T> {
        let (_, begun) = within(Reads::Begun(Vec::new()), &mut f)?;
        let mut arrived = VecDeque::new();
        if let Reads::Begun(copies) = begun {
            for copy in copies {
                arrived.push_back(copy.bytes().await?);
            }
        }
        let (result, _) = within(Reads::Arrived(arrived), &mut f)?;
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options;

    #[test]
    fn values_are_those_of_plain_reads() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let x = Tensor::from_slice(&gpu, &[3], &[1.0f32, 2.0, 3.0]).unwrap();
        let n = Tensor::from_slice(&gpu, &[2], &[7u32, 9]).unwrap();
        let mut runs = 0;
        let read = gpu.read_ahead(|| {
            runs += 1;
            Ok((x.read::<f32>()?, n.read::<u32>()?))
        });
        assert_eq!(
            gpu.block_on(read).unwrap(),
            (vec![1.0, 2.0, 3.0], vec![7, 9])
        );
        assert_eq!(runs, 2);
        // Afterwards a read is a plain one again, after an error too.
        let failed = gpu.read_ahead(|| match n.read::<f32>() {
            Ok(_) => Err::<(), _>(Error::data("on purpose")),
            Err(e) => Err(e),
        });
        assert!(gpu.block_on(failed).is_err());
        assert_eq!(n.read::<u32>().unwrap(), [7, 9]);
    }

    #[test]
    fn other_reads_the_second_time_are_an_error() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let tensors = [1, 2].map(|n| Tensor::from_slice(&gpu, &[n], &vec![0.5f32; n]).unwrap());
        let mut next = tensors.iter();
        let read = gpu.read_ahead(|| next.next().unwrap().read::<f32>());
        let error = gpu.block_on(read).unwrap_err().to_string();
        assert!(error.contains("second time"), "{error}");
    }
}
