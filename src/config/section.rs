//! Sections whose keys lie in several structs, and stand in files as if they lay in one.

/// Reads and writes a section by the names of its fields, in the order in which files have them.
/// Fields of what it embeds are reached through `Deref`; a key that a file lacks has the section's
/// own default. `key as old` reads a key under the name that it had before, too.
///
/// serde's `flatten` would give embedded keys the defaults of the struct that they lie in, and
/// write them together.
macro_rules! flat_section {
    ($section:ident { $($key:ident $(as $old:ident)?),+ $(,)? }) => {
        impl serde::Serialize for $section {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                let keys = [$(stringify!($key)),+].len();
                let mut section = serializer.serialize_struct(stringify!($section), keys)?;
                $(section.serialize_field(stringify!($key), &self.$key)?;)+
                section.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $section {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Keys;

                impl<'de> serde::de::Visitor<'de> for Keys {
                    type Value = $section;

                    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                        f.write_str("a section of keys")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<$section, A::Error> {
                        let mut section = $section::default();
                        while let Some(key) = map.next_key::<String>()? {
                            match key.as_str() {
                                $(stringify!($key) $(| stringify!($old))? => {
                                    section.$key = map.next_value()?;
                                })+
                                // Whoever reads a file by hand names keys that are not known.
                                _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
                            }
                        }
                        Ok(section)
                    }
                }

                from.deserialize_map(Keys)
            }
        }
    };
}

pub(crate) use flat_section;
