//! Random numbers, dropout, and drawing codes.

pub mod dropout;
pub mod join_codes;
pub mod random;
pub mod repetition_penalty;
pub mod sample;
