//! Operations of quantizers: searches, codebooks and their use, estimators.

pub mod assignment;
pub mod beam_select;
pub mod bits;
pub mod code_softmax;
pub mod codebook_use;
pub mod diveq;
pub mod ema_update;
pub mod entropy;
pub mod fsq;
pub mod gather;
pub mod gumbel;
pub mod kmeans;
pub mod restart_dead_codes;
pub mod rotation;
pub mod vq_search;
