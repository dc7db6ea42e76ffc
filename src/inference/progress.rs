//! Progress of work that takes long.

use crate::Result;

/// A function that is called after each part of some work, with the parts done and the parts in
/// all; an error that it returns ends the work, which then returns it.
pub type Progress<'a> = dyn FnMut(usize, usize) -> Result<()> + 'a;

/// A [`Progress`] that ignores what it is told.
///
/// # Errors
/// Never.
pub fn no_progress(_done: usize, _all: usize) -> Result<()> {
    Ok(())
}
