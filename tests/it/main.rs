//! The command line and its files, end to end: one binary, a module to each subject.

#[path = "../common/mod.rs"]
mod common;

mod compat;
mod configurations;
mod golden;
mod help;
mod input;
mod keys;
mod layering;
mod models;
mod recovery;
mod replacing;
mod resuming;
mod system;
