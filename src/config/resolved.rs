//! Configurations that are known to be usable.

use serde::{Serialize, Serializer};
use std::ops::Deref;

/// A configuration whose values are all written out, and usable together: what models are built of
/// and trained by. A configuration's own `resolve` makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved<C>(C);

impl<C> Resolved<C> {
    /// Marks a configuration that `resolve` found usable.
    pub(super) fn of(config: C) -> Self {
        Resolved(config)
    }

    /// Applies a change that leaves it usable.
    pub(crate) fn map(self, change: impl FnOnce(C) -> C) -> Self {
        Resolved(change(self.0))
    }

    /// Returns the configuration, to be changed and resolved again.
    pub fn into_inner(self) -> C {
        self.0
    }
}

impl<C> Deref for Resolved<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}

/// Writes it as the configuration itself.
impl<C: Serialize> Serialize for Resolved<C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
