//! The pixels of a set, in memory or on disk.

use std::sync::Arc;

use super::ImageCache;

/// The pixels of a set, `[N, H, W, C]`.
#[derive(Debug, Clone)]
pub enum Pixels {
    /// All of them, in memory.
    Memory(Vec<u8>),
    /// Read from disk as they are asked for.
    Stored(Arc<ImageCache>),
}

impl Pixels {
    /// All of them, where they are in memory.
    pub fn in_memory(&self) -> Option<&[u8]> {
        match self {
            Pixels::Memory(pixels) => Some(pixels),
            Pixels::Stored(_) => None,
        }
    }

    /// The photographs behind the images, where crops can be drawn from anywhere in them.
    pub fn photographs(&self) -> Option<&ImageCache> {
        match self {
            Pixels::Stored(store) if store.whole() => Some(store),
            _ => None,
        }
    }
}

impl From<Vec<u8>> for Pixels {
    fn from(pixels: Vec<u8>) -> Self {
        Pixels::Memory(pixels)
    }
}

impl From<ImageCache> for Pixels {
    fn from(store: ImageCache) -> Self {
        Pixels::Stored(Arc::new(store))
    }
}

/// Equal pixels, or stores that hold the same files in the same form.
impl PartialEq for Pixels {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Pixels::Memory(a), Pixels::Memory(b)) => a == b,
            (Pixels::Stored(a), Pixels::Stored(b)) => a.sum() == b.sum(),
            _ => false,
        }
    }
}

impl Eq for Pixels {}
