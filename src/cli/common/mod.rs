//! Parts that several commands share: options of keys, runs that are read, places of outputs,
//! messages, runs to watch, work that can be stopped, signals, lost devices, images as files.

pub mod apart;
pub mod array;
pub mod dashboard;
pub mod images;
pub mod json;
pub mod keys;
pub mod losses;
pub mod made;
pub mod output;
pub mod peaks;
pub mod pictures;
pub mod place;
pub mod ranks;
pub mod round;
pub mod runs;
pub mod signals;
pub mod starting;
pub mod watch;
pub mod watched;
