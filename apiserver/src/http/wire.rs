//! Protobuf's wire format, written from its end to its start: the length of a message stands before it.

use bytes::Bytes;

/// Wire types.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;

/// Bytes that grow to the front. What is to stand first is written last.
pub(super) struct Backward {
    bytes: Vec<u8>,
    start: usize,
}

impl Backward {
    /// Nothing yet, with room for about `size` bytes.
    pub(super) fn with_capacity(size: usize) -> Self {
        Self {
            bytes: vec![0; size],
            start: size,
        }
    }

    /// How much is written.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Puts these bytes, in their order, before all that is there.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if bytes.len() > self.start {
            self.grow(bytes.len());
        }
        let start = self.start - bytes.len();
        self.bytes[start..self.start].copy_from_slice(bytes);
        self.start = start;
    }

    fn grow(&mut self, by: usize) {
        let used = self.len();
        let size = (self.bytes.len() * 2).max(used + by);
        let mut grown = vec![0; size];
        grown[size - used..].copy_from_slice(&self.bytes[self.start..]);
        (self.bytes, self.start) = (grown, size - used);
    }

    fn varint(&mut self, mut n: u64) {
        let mut digits = [0_u8; 10];
        let mut used = 0;
        loop {
            let low = u8::try_from(n & 0x7f).unwrap_or_default();
            n >>= 7;
            digits[used] = if n == 0 { low } else { low | 0x80 };
            used += 1;
            if n == 0 {
                return self.put(&digits[..used]);
            }
        }
    }

    fn tag(&mut self, number: u32, wire: u8) {
        self.varint(u64::from(number) << 3 | u64::from(wire));
    }

    /// An integer; negative ones take ten bytes.
    pub(super) fn integer(&mut self, number: u32, n: i64) {
        self.varint(n.cast_unsigned());
        self.tag(number, VARINT);
    }

    pub(super) fn boolean(&mut self, number: u32, b: bool) {
        self.integer(number, i64::from(b));
    }

    pub(super) fn double(&mut self, number: u32, f: f64) {
        self.put(&f.to_le_bytes());
        self.tag(number, FIXED64);
    }

    /// Text or bytes.
    pub(super) fn text(&mut self, number: u32, text: impl AsRef<[u8]>) {
        self.put(text.as_ref());
        self.length(number, text.as_ref().len());
    }

    /// A message that `write` writes, its last field first.
    pub(super) fn message(&mut self, number: u32, write: impl FnOnce(&mut Self)) {
        let before = self.len();
        write(self);
        self.length(number, self.len() - before);
    }

    fn length(&mut self, number: u32, length: usize) {
        self.varint(length as u64);
        self.tag(number, LENGTH);
    }

    /// All that was written.
    pub(super) fn finish(self) -> Bytes {
        Bytes::from(self.bytes).slice(self.start..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_last_stands_first() {
        let mut out = Backward::with_capacity(1);
        out.message(4, |out| {
            out.integer(2, -1);
            out.integer(1, 300);
        });
        out.double(3, 1.5);
        out.text(2, "ab");
        out.boolean(1, true);
        let minus = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let mut expected = vec![
            8, 1, 18, 2, b'a', b'b', 25, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 34, 14, 8, 0xac, 2, 16,
        ];
        expected.extend(minus);
        assert_eq!(out.finish(), expected);
    }
}
