//! A byte buffer written from its end to its start, so that a message's length is known when its
//! prefix is written (as upstream's generated marshallers do it).

pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Everything from here on is written.
    start: usize,
}

impl Buffer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Buffer { bytes: vec![0; capacity.max(64)], start: capacity.max(64) }
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let to = self.reserve(bytes.len());
        self.bytes[to..to + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn varint(&mut self, mut number: u64) {
        let mut text = [0u8; 10];
        let mut length = 0;
        while number >= 0x80 {
            text[length] = (number as u8) | 0x80;
            number >>= 7;
            length += 1;
        }
        text[length] = number as u8;
        self.bytes(&text[..=length]);
    }

    pub(crate) fn tag(&mut self, number: u32, wire: u8) {
        self.varint(u64::from(number) << 3 | u64::from(wire));
    }

    /// Closes a length-delimited field: everything written since the buffer held `before` bytes.
    pub(crate) fn close(&mut self, number: u32, before: usize) {
        self.varint((self.len() - before) as u64);
        self.tag(number, super::BYTES);
    }

    /// A whole length-delimited field.
    pub(crate) fn field(&mut self, number: u32, bytes: &[u8]) {
        self.bytes(bytes);
        self.varint(bytes.len() as u64);
        self.tag(number, super::BYTES);
    }

    fn reserve(&mut self, wanted: usize) -> usize {
        if self.start < wanted {
            let written = self.len();
            let size = (self.bytes.len() * 2).max(written + wanted);
            let mut bytes = vec![0; size];
            bytes[size - written..].copy_from_slice(&self.bytes[self.start..]);
            self.bytes = bytes;
            self.start = size - written;
        }
        self.start -= wanted;
        self.start
    }
}
