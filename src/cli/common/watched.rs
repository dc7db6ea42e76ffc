//! Work that shows how far it is, and that the user can stop.

use crate::cli::Global;
use crate::cli::common::output::{self, Bar};
use crate::cli::common::signals::stop_flag;
use std::ops::Range;
use std::sync::atomic::Ordering;
use wgvq::inference::Progress;
use wgvq::{Error, Result};

/// Runs some work with a bar of this unit; `None` where the user stopped it, and `said` says what
/// that means.
///
/// # Errors
/// The result of the work itself.
pub fn watched<T>(
    global: &Global,
    unit: &'static str,
    said: &str,
    work: impl FnOnce(&mut Progress) -> Result<T>,
) -> Result<Option<T>> {
    let (mut bar, stop) = (Bar::new(global, unit), stop_flag());
    let mut stopped = false;
    let done = work(&mut |done, all| {
        bar.show(done, all);
        stopped = stop.load(Ordering::Relaxed);
        match stopped {
            true => Err(Error::data("interrupted")),
            false => Ok(()),
        }
    });
    bar.finish();
    if stopped && done.is_err() {
        output::note(global, &format!("stopped: {said}"));
        return Ok(None);
    }
    done.map(Some)
}

/// The message where files are put in their place at the end alone.
pub const NOTHING_WRITTEN: &str = "nothing was written";

/// Calls `part` with so many of `all` things after so many, as [`watched`] does; `None` where the
/// user stopped it before the last: nothing was written.
///
/// # Errors
/// The error of `part`.
pub fn in_parts(
    global: &Global,
    unit: &'static str,
    all: usize,
    each: usize,
    mut part: impl FnMut(Range<usize>) -> Result<()>,
) -> Result<Option<()>> {
    watched(global, unit, NOTHING_WRITTEN, |progress| {
        for start in (0..all).step_by(each.max(1)) {
            let end = all.min(start + each.max(1));
            part(start..end)?;
            if end < all {
                progress(end, all)?;
            }
        }
        Ok(())
    })
}
