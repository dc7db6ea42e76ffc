//! Attention and its parts: positions, softmax, the cache of keys and values.

pub mod attention;
pub mod attention_decode;
pub mod cross_decode;
mod parts;
pub mod positions;
pub mod rotary;
pub mod softmax;
