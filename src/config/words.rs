//! Keys that are one of a few words.

/// Writes a value of an enum as configurations have it, by its name in serde.
macro_rules! word_keys {
    ($($word:ty),+ $(,)?) => {$(
        impl std::fmt::Display for $word {
            fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                serde::Serialize::serialize(self, f)
            }
        }
    )+};
}

pub(crate) use word_keys;
