//! As much of Protocol Buffers as ORC's footers need: a message is a buffer that fields are put into.

/// A message under construction.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

/// Seven bits a byte, low ones first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u128) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Signed numbers with small ones first: 0, -1, 1, -2, …
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

impl Message {
    fn key(&mut self, field: u32, wire: u32) {
        put_varint(&mut self.0, u128::from(field << 3 | wire));
    }

    /// `uint32`, `uint64`, `bool`, enums.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        self.key(field, VARINT);
        put_varint(&mut self.0, u128::from(value));
    }

    /// `sint32`, `sint64`.
    pub(super) fn signed(&mut self, field: u32, value: i64) {
        self.number(field, zigzag(value));
    }

    /// `double`.
    pub(super) fn double(&mut self, field: u32, value: f64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// `bytes`, `string`.
    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, BYTES);
        put_varint(&mut self.0, value.len() as u128);
        self.0.extend_from_slice(value);
    }

    /// A message in this one.
    pub(super) fn message(&mut self, field: u32, value: &Message) {
        self.bytes(field, &value.0);
    }

    /// `repeated … [packed = true]`.
    pub(super) fn packed(&mut self, field: u32, values: impl IntoIterator<Item = u64>) {
        let mut body = Vec::new();
        for value in values {
            put_varint(&mut body, u128::from(value));
        }
        self.bytes(field, &body);
    }

    /// The fields of another message.
    pub(super) fn append(&mut self, mut other: Message) {
        self.0.append(&mut other.0);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
