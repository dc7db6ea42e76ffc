//! Messages of protocol buffers, written and read field by field: what the files of TensorBoard
//! and ONNX consist of. Those take a dozen kinds of messages, of which a generator would make
//! thousands of lines.

/// A message that is being written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message(Vec<u8>);

/// The value of a field, as it lies in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    /// A whole number; a negative one in two's complement.
    Int(u64),
    /// Eight bytes: a number in f64.
    Double(f64),
    /// Text, bytes, packed numbers or a message.
    Bytes(&'a [u8]),
    /// Four bytes: a number in f32.
    Float(f32),
}

impl Message {
    /// Creates a message without fields.
    pub fn new() -> Message {
        Message::default()
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u32, wire: u64) {
        self.varint(u64::from(field) << 3 | wire);
    }

    /// Adds a whole number, a truth value or one of an enumeration.
    pub fn int(mut self, field: u32, value: i64) -> Message {
        self.key(field, 0);
        self.varint(value as u64);
        self
    }

    /// Adds a number in f32.
    pub fn float(mut self, field: u32, value: f32) -> Message {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds a number in f64.
    pub fn double(mut self, field: u32, value: f64) -> Message {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds bytes.
    pub fn bytes(mut self, field: u32, value: &[u8]) -> Message {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// Adds text.
    pub fn text(self, field: u32, value: &str) -> Message {
        self.bytes(field, value.as_bytes())
    }

    /// Adds a message.
    pub fn message(self, field: u32, value: &Message) -> Message {
        self.bytes(field, &value.0)
    }

    /// Adds numbers in f64, packed.
    pub fn doubles(self, field: u32, values: impl IntoIterator<Item = f64>) -> Message {
        let bytes: Vec<u8> = values.into_iter().flat_map(f64::to_le_bytes).collect();
        self.bytes(field, &bytes)
    }

    /// Adds whole numbers, packed.
    pub fn ints(self, field: u32, values: impl IntoIterator<Item = i64>) -> Message {
        let mut packed = Message::new();
        values.into_iter().for_each(|v| packed.varint(v as u64));
        self.message(field, &packed)
    }

    /// Returns the bytes of the message.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Returns the fields of a message by their numbers, in their order; `None` where the bytes are no
/// message.
pub fn fields(mut bytes: &[u8]) -> Option<Vec<(u32, Field<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let mut take = |n: usize| {
            let (first, rest) = bytes.split_at_checked(n)?;
            bytes = rest;
            Some(first)
        };
        let value = match key & 7 {
            1 => Field::Double(f64::from_le_bytes(take(8)?.try_into().ok()?)),
            5 => Field::Float(f32::from_le_bytes(take(4)?.try_into().ok()?)),
            0 => Field::Int(varint(&mut bytes)?),
            2 => {
                let n = usize::try_from(varint(&mut bytes)?).ok()?;
                let (first, rest) = bytes.split_at_checked(n)?;
                bytes = rest;
                Field::Bytes(first)
            }
            _ => return None,
        };
        found.push((u32::try_from(key >> 3).ok()?, value));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_standard() {
        // The encoding guide's examples: 150 in field 1, "testing" in field 2, both in field 3.
        let one = Message::new().int(1, 150);
        assert_eq!(one.clone().into_bytes(), [0x08, 0x96, 0x01]);
        let two = Message::new().text(2, "testing");
        assert_eq!(two.into_bytes(), b"\x12\x07testing");
        let three = Message::new().message(3, &one);
        assert_eq!(three.into_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        let packed = Message::new().ints(6, [3, 270, 86942]);
        let want = [0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05];
        assert_eq!(packed.into_bytes(), want);
        // Negative numbers take ten bytes.
        assert_eq!(Message::new().int(1, -1).into_bytes().len(), 11);
    }

    #[test]
    fn what_is_written_is_read_and_what_is_cut_short_is_not() {
        let bytes = Message::new()
            .int(1, -7)
            .float(2, 0.5)
            .double(3, -0.25)
            .text(400, "x")
            .into_bytes();
        let want = vec![
            (1, Field::Int(-7i64 as u64)),
            (2, Field::Float(0.5)),
            (3, Field::Double(-0.25)),
            (400, Field::Bytes(b"x")),
        ];
        assert_eq!(fields(&bytes), Some(want.clone()));
        for cut in 0..bytes.len() {
            let whole = fields(&bytes[..cut]);
            assert!(
                whole.is_none_or(|f| want.starts_with(&f)),
                "{cut} bytes of it"
            );
        }
        assert_eq!(fields(&[0xff; 12]), None);
        assert_eq!(fields(&[0x0b]), None, "a group");
    }
}
