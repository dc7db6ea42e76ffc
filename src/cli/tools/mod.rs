//! The demo, and commands that concern the adapter and the kernels.

pub mod bench;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod get;
pub mod info;
pub mod kernels;
pub mod presets;
pub mod quantize;
pub mod selftest;
pub mod tune;
