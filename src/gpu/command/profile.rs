//! Profiles of the device's time: a timestamp before and after each dispatch.

use super::stream::Stream;
use crate::gpu::{Gpu, Work};
use crate::{Error, Result};
use std::time::Duration;

/// One dispatch, timed on the device's clock.
#[derive(Clone, Debug)]
pub struct Span {
    /// The operation that recorded it.
    pub op: &'static str,
    /// The kernel and its defines.
    pub kernel: String,
    /// Workgroups.
    pub groups: [u32; 3],
    /// Its cost, as its operation states it.
    pub work: Work,
    /// Time from the end of what ran before it to its own end.
    pub time: Duration,
}

/// Queries in one set: what WebGPU allows.
const QUERIES: u32 = 4096;

/// An open profile: sets of queries, and the dispatch that each pair of them belongs to.
#[derive(Default)]
pub(in crate::gpu) struct Profile {
    sets: Vec<wgpu::QuerySet>,
    spans: Vec<Span>,
}

impl Profile {
    /// Returns the set and the first query of the next dispatch.
    fn next(&mut self, device: &wgpu::Device) -> (&wgpu::QuerySet, u32) {
        let at = 2 * self.spans.len() as u32;
        if at / QUERIES == self.sets.len() as u32 {
            self.sets
                .push(device.create_query_set(&wgpu::QuerySetDescriptor {
                    label: Some("wgvq profile"),
                    ty: wgpu::QueryType::Timestamp,
                    count: QUERIES,
                }));
        }
        (&self.sets[(at / QUERIES) as usize], at % QUERIES)
    }

    /// Stamps the clock before a dispatch.
    pub(in crate::gpu) fn before(&mut self, stream: &mut Stream, device: &wgpu::Device) {
        let (set, query) = self.next(device);
        stream.encoder(device).write_timestamp(set, query);
    }

    /// Stamps it after the dispatch, which `span` describes.
    pub(in crate::gpu) fn after(&mut self, stream: &mut Stream, device: &wgpu::Device, span: Span) {
        let (set, query) = self.next(device);
        stream.encoder(device).write_timestamp(set, query + 1);
        self.spans.push(span);
    }
}

impl Gpu {
    /// Runs what `record` records, waits for it, and returns every dispatch with the time that it
    /// took on the device, in the order of recording. Each dispatch is a pass of its own then, so
    /// that all together take longer than without: what counts is how the time is shared out. What
    /// is recorded for a host's encoder is not timed.
    ///
    /// # Errors
    /// If the device has no timestamp queries, or `record` fails.
    pub fn profiled<R>(&self, record: impl FnOnce() -> Result<R>) -> Result<(R, Vec<Span>)> {
        if !self.has_timestamps() {
            let feature =
                "timestamp queries, without which nothing on the device can be timed".into();
            return Err(Error::Feature {
                op: "profile",
                feature,
            });
        }
        self.finish()?;
        self.inner.command.recorder.lock().profile = Some(Profile::default());
        let result = record();
        let profile = self
            .inner
            .command
            .recorder
            .lock()
            .profile
            .take()
            .unwrap_or_default();
        let (result, Profile { sets, mut spans }) = (result?, profile);
        let per_set = (QUERIES / 2) as usize;
        for (set, spans) in sets.iter().zip(spans.chunks_mut(per_set)) {
            let ticks = self.resolve(set, 2 * spans.len() as u32)?;
            for (span, ticks) in spans.iter_mut().zip(ticks.chunks_exact(2)) {
                span.time = self.between(ticks[0], ticks[1]);
            }
        }
        Ok((result, spans))
    }
}
