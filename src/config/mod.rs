//! Configurations of runs, priors and contrastive models, their keys, and presets.

pub mod contrastive;
mod keyed;
pub(crate) mod learning_rate;
pub mod objective;
pub mod presets;
pub mod prior;
pub mod run;
mod span;
pub(crate) mod unread;

pub use keyed::Keyed;
pub(crate) use keyed::{check, nearest};
pub use span::{Lasting, Span};
