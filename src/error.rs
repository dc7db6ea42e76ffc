//! The one error type. Each variant names the thing that is wrong and, where there is one, the way
//! out.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every way in which a call into this library can fail. Nothing panics on a caller's mistake.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter fits what was asked for.
    #[error("no usable GPU adapter: {what}")]
    NoAdapter {
        /// The request, what was found, and how to get an adapter.
        what: String,
    },
    /// An operation was handed tensors whose shapes do not fit together.
    #[error("{op}: expected {expected}, got {got}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The expected input.
        expected: String,
        /// The given input.
        got: String,
    },
    /// A value that no operation can work with: a stride of 0, a codebook without codes.
    #[error("{op}: {what}")]
    Invalid {
        /// The operation or object.
        op: &'static str,
        /// The mistake, and what would be right.
        what: String,
    },
    /// The device cannot hold or bind something of this size.
    #[error("{what}: {asked} bytes asked for, the device allows {limit}")]
    Limit {
        /// The thing that was to be made.
        what: String,
        /// Bytes asked for.
        asked: u64,
        /// The device's limit in bytes.
        limit: u64,
    },
    /// Device memory ran out.
    #[error(
        "out of device memory: {what}: {asked} bytes asked for while {in_use} are in use{}; lower \
         the batch size or the model's width", of_what_there_is(*has)
    )]
    OutOfMemory {
        /// The thing to be made, and for whom.
        what: String,
        /// Bytes asked for.
        asked: u64,
        /// Bytes that the engine holds.
        in_use: u64,
        /// Bytes that the device has, where that is known.
        has: Option<u64>,
    },
    /// The engine's memory budget does not allow it.
    #[error(
        "memory budget: {asked} bytes asked for while {in_use} of {budget} are in use; raise it \
         by `Gpu::set_memory_budget`, or lower the batch size or the model's width"
    )]
    Budget {
        /// Bytes asked for.
        asked: u64,
        /// Bytes that the engine holds and cannot give back.
        in_use: u64,
        /// Bytes that it may hold.
        budget: u64,
    },
    /// This process may not use so much memory.
    #[error(
        "{what}: {} of memory asked for, and this process may use {} MiB more; ask for less, or \
         raise its limit",
        mib(*asked), available >> 20
    )]
    Memory {
        /// Who asks, and for what.
        what: String,
        /// Bytes asked for; `u64::MAX` is beyond all numbers.
        asked: u64,
        /// Bytes that there are.
        available: u64,
    },
    /// The device went away (driver reset, unplugged, watchdog).
    #[error(
        "the GPU device was lost: {reason}; training can go on from the last checkpoint with \
         --resume"
    )]
    DeviceLost {
        /// The driver's words.
        reason: String,
    },
    /// The device finishes nothing, for a long time.
    #[error(
        "the device finished nothing for {} s while {what} was waited for: its driver hangs, or \
         has more to do at once than it can in that time; choose another adapter (--adapter), or \
         allow more time (--device-timeout SECONDS or WGVQ_DEVICE_TIMEOUT, 0 for no end; \
         `gpu::Options::device_timeout`); training can go on from the last checkpoint with \
         --resume", after.as_secs_f64()
    )]
    DeviceHung {
        /// The thing that was waited for.
        what: String,
        /// The time in which nothing was finished.
        after: Duration,
    },
    /// The device lacks a feature that this operation needs.
    #[error("{op} needs the device feature {feature}")]
    Feature {
        /// The operation.
        op: &'static str,
        /// The feature.
        feature: String,
    },
    /// wgpu or naga refused something: a bug of ours, or of the driver's.
    #[error("{op}: the GPU layer refused: {what}")]
    Gpu {
        /// The operation that failed.
        op: String,
        /// The layer's own words.
        what: String,
    },
    /// A kernel's text has a mistake.
    #[error("{file}:{line}: {what}")]
    Shader {
        /// The WGSL file.
        file: String,
        /// The line in it, from 1 on.
        line: usize,
        /// The mistake.
        what: String,
    },
    /// A file that is missing, damaged, malicious or of another kind than it should be.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The mistake, and what was expected.
        what: String,
    },
    /// A configuration key, or an option of a command, that is unknown or whose value cannot be
    /// used.
    #[error("{}: {what}", subject(key))]
    Config {
        /// The key, dotted (`quantizer.codebook_size`), or the option as it is written
        /// (`--temperature`).
        key: String,
        /// The mistake, the allowed values, the nearest known key.
        what: String,
    },
    /// A run whose figures are no longer finite.
    #[error("{what}")]
    Diverged {
        /// The first step whose figures are not finite.
        step: u64,
        /// The thing that is not finite, and what to change.
        what: String,
    },
    /// Data that cannot be trained on or read: no images, another model's codes.
    #[error("{what}")]
    Data {
        /// The mistake, and how to fix it.
        what: String,
    },
}

/// Bytes in words.
fn mib(bytes: u64) -> String {
    if bytes == u64::MAX {
        "a size beyond all numbers".into()
    } else {
        format!("{} MiB", bytes.div_ceil(1 << 20))
    }
}

/// The memory that a device has, where that is known, behind what is asked of it.
fn of_what_there_is(bytes: Option<u64>) -> String {
    bytes.map_or(String::new(), |bytes| format!(" of {bytes} that there are"))
}

/// Returns the subject of an error: a key of a configuration, an option, or something that has
/// words for its name.
fn subject(key: &str) -> String {
    match key {
        option if option.starts_with('-') => format!("option `{option}`"),
        words if words.contains(' ') => words.to_owned(),
        variable if variable.chars().all(|c| c.is_ascii_uppercase() || c == '_') => {
            format!("variable `{variable}`")
        }
        key => format!("config key `{key}`"),
    }
}

impl Error {
    /// Creates an [`Error::File`] about `path`.
    pub fn file(path: impl AsRef<Path>, what: impl std::fmt::Display) -> Self {
        Error::File {
            path: path.as_ref().to_owned(),
            what: what.to_string(),
        }
    }
    /// Creates an [`Error::Config`] about `key`.
    pub fn config(key: impl Into<String>, what: impl std::fmt::Display) -> Self {
        Error::Config {
            key: key.into(),
            what: what.to_string(),
        }
    }
    /// Returns whether this says that there is not so much memory, of the device or the host, or
    /// that the device binds no tensor of such a size.
    pub fn is_of_memory(&self) -> bool {
        matches!(
            self,
            Error::Budget { .. }
                | Error::OutOfMemory { .. }
                | Error::Limit { .. }
                | Error::Memory { .. }
        )
    }
    /// Creates an [`Error::Data`].
    pub fn data(what: impl std::fmt::Display) -> Self {
        Error::Data {
            what: what.to_string(),
        }
    }
    /// Creates an [`Error::Invalid`] of `op`.
    pub fn invalid(op: &'static str, what: impl std::fmt::Display) -> Self {
        Error::Invalid {
            op,
            what: what.to_string(),
        }
    }
    /// Creates an [`Error::Shape`] of `op`.
    pub fn shape(
        op: &'static str,
        expected: impl std::fmt::Display,
        got: impl std::fmt::Display,
    ) -> Self {
        Error::Shape {
            op,
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
