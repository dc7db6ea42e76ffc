//! Adapters and devices: features, limits, the conditions of the matrix cores.

pub(crate) mod adapter;
pub(crate) mod class;
pub(crate) mod coopmat;
pub(crate) mod features;
pub(crate) mod robust;
