//! The `k8s\0` envelope: runtime.Unknown around each protobuf object
//! (k8s.io/apimachinery/pkg/runtime/serializer/protobuf/protobuf.go@v0.37.2).

use super::buffer::Buffer;
use super::decode::{Error, Reader};

/// Every enveloped object starts so.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// What an envelope holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub raw: &'a [u8],
    pub content_encoding: &'a str,
    pub content_type: &'a str,
}

/// Opens an envelope; `None` when the magic is missing.
pub fn unwrap(bytes: &[u8]) -> Result<Option<Unknown<'_>>, Error> {
    let Some(bytes) = bytes.strip_prefix(MAGIC) else { return Ok(None) };
    let mut unknown = Unknown::default();
    let mut reader = Reader { bytes };
    while let Some((number, wire)) = reader.tag()? {
        if wire != super::BYTES {
            reader.skip(wire)?;
            continue;
        }
        let inside = reader.length_delimited()?;
        match number {
            1 => (unknown.api_version, unknown.kind) = type_meta(inside)?,
            2 => unknown.raw = inside,
            3 => unknown.content_encoding = text(inside)?,
            4 => unknown.content_type = text(inside)?,
            _ => {}
        }
    }
    Ok(Some(unknown))
}

fn type_meta(bytes: &[u8]) -> Result<(&str, &str), Error> {
    let mut reader = Reader { bytes };
    let (mut api_version, mut kind) = ("", "");
    while let Some((number, wire)) = reader.tag()? {
        match (number, wire) {
            (1, super::BYTES) => api_version = text(reader.length_delimited()?)?,
            (2, super::BYTES) => kind = text(reader.length_delimited()?)?,
            (_, wire) => reader.skip(wire)?,
        }
    }
    Ok((api_version, kind))
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::Utf8)
}

/// Puts a message into an envelope.
pub fn wrap(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    wrap_with(&Unknown { api_version, kind, raw, ..Unknown::default() })
}

/// Writes an envelope with all its fields.
pub fn wrap_with(unknown: &Unknown<'_>) -> Vec<u8> {
    let mut out = Buffer::with_capacity(unknown.raw.len() + unknown.api_version.len() + unknown.kind.len() + 32);
    out.field(4, unknown.content_type.as_bytes());
    out.field(3, unknown.content_encoding.as_bytes());
    out.field(2, unknown.raw);
    let before = out.len();
    out.field(2, unknown.kind.as_bytes());
    out.field(1, unknown.api_version.as_bytes());
    out.close(1, before);
    out.bytes(MAGIC);
    out.finish()
}

const METADATA: u32 = 1;
const RESOURCE_VERSION: u32 = 6;
/// Decimal digits of the largest revision.
const REVISION_DIGITS_MAX: usize = 20;

/// Where in the bytes of a stored object the resourceVersion goes; offsets from their start.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// The metadata's first field.
    metadata: u32,
    /// The metadata's resourceVersion, and what comes after it.
    version: u32,
    after: u32,
    /// The message's fields after the metadata, and the message's end.
    rest: u32,
    end: u32,
}

impl Slot {
    /// `None` when the bytes are not those of a stored protobuf object.
    pub fn find(stored: &[u8]) -> Option<Self> {
        let raw = unwrap(stored).ok()??.raw;
        let mut reader = Reader { bytes: raw };
        let Ok(Some((METADATA, super::BYTES))) = reader.tag() else { return None };
        let metadata = reader.length_delimited().ok()?;
        let mut fields = Reader { bytes: metadata };
        loop {
            let before = fields.bytes;
            let (number, wire) = fields.tag().ok()??;
            fields.skip(wire).ok()?;
            if number == RESOURCE_VERSION {
                let offset = |part: &[u8]| u32::try_from(part.as_ptr().addr() - stored.as_ptr().addr()).ok();
                return Some(Slot {
                    metadata: offset(metadata)?,
                    version: offset(before)?,
                    after: offset(fields.bytes)?,
                    rest: offset(reader.bytes)?,
                    end: offset(raw)? + raw.len() as u32,
                });
            }
        }
    }
}

/// The message of a stored object with `metadata.resourceVersion` put in; stored objects have the field
/// empty. In pieces of the stored bytes, so that it is measured and written without decoding.
#[derive(Clone, Copy, Debug)]
pub struct Revised<'a> {
    /// The metadata's fields before resourceVersion.
    before: &'a [u8],
    /// The metadata's fields after it.
    after: &'a [u8],
    /// The message's fields after the metadata.
    rest: &'a [u8],
    /// The revision in decimal stands at the end of the array.
    digits: [u8; REVISION_DIGITS_MAX],
    count: usize,
}

impl<'a> Revised<'a> {
    /// `slot` is that of the same bytes.
    pub fn new(stored: &'a [u8], slot: Slot, revision: u64) -> Self {
        let part = |from: u32, to: u32| &stored[from as usize..to as usize];
        let (digits, count) = decimal(revision);
        Revised {
            before: part(slot.metadata, slot.version),
            after: part(slot.after, slot.rest),
            rest: part(slot.rest, slot.end),
            digits,
            count,
        }
    }

    fn metadata_len(&self) -> usize {
        self.before.len() + 2 + self.count + self.after.len()
    }

    /// Bytes of the message.
    pub fn size(&self) -> usize {
        let metadata = self.metadata_len();
        1 + Head::size(metadata) + metadata + self.rest.len()
    }

    /// Gives the message, piece by piece.
    pub fn pieces(&self, mut put: impl FnMut(&[u8])) {
        put(Head::new(METADATA, self.metadata_len()).bytes());
        put(self.before);
        put(Head::new(RESOURCE_VERSION, self.count).bytes());
        put(&self.digits[REVISION_DIGITS_MAX - self.count..]);
        put(self.after);
        put(self.rest);
    }

    /// The message in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.size());
        self.pieces(|piece| message.extend_from_slice(piece));
        message
    }
}

fn decimal(mut number: u64) -> ([u8; REVISION_DIGITS_MAX], usize) {
    let mut digits = [0; REVISION_DIGITS_MAX];
    let mut count = 0;
    while number > 0 || count == 0 {
        count += 1;
        digits[REVISION_DIGITS_MAX - count] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    (digits, count)
}

/// What a length-delimited field starts with: its tag and its length.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    bytes: [u8; 16],
    len: usize,
}

impl Head {
    pub fn new(number: u32, length: usize) -> Self {
        let mut head = Head { bytes: [0; 16], len: 0 };
        head.varint(u64::from(number) << 3 | u64::from(super::BYTES));
        head.varint(length as u64);
        head
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.push(number as u8);
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Bytes of a length; the tags of small field numbers take one more.
    pub fn size(length: usize) -> usize {
        (64 - (length as u64 | 1).leading_zeros() as usize).div_ceil(7)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_version_is_spliced_in() {
        let ty = crate::facts::kind("", "v1", "ConfigMap").expect("ConfigMap");
        for name in ["a".to_string(), "n".repeat(120)] {
            let object = crate::map! { "metadata" => crate::map! { "name" => name, "uid" => "u" }, "data" => crate::map! { "k" => "v" } };
            let raw = crate::proto::encode(&object, ty);
            for revision in [0, 1, 9, 10, 123_456_789, u64::MAX] {
                let stored = wrap("v1", "ConfigMap", &raw);
                let slot = Slot::find(&stored).expect("a stored object");
                let revised = Revised::new(&stored, slot, revision);
                let spliced = revised.to_vec();
                assert_eq!(revised.size(), spliced.len());
                let back = crate::proto::decode(&spliced, ty).expect("decode");
                assert_eq!(back.value_at(&["metadata", "resourceVersion"]), Some(&revision.to_string().into()));
                assert_eq!(back.value_at(&["data", "k"]), Some(&"v".into()));
            }
        }
    }
}
