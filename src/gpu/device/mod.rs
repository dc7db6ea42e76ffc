//! What a device is and can do: adapters, features, the conditions of the matrix cores.

pub(crate) mod adapter;
pub(crate) mod coopmat;
pub(crate) mod features;
