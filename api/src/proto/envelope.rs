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

/// The message of an object with `metadata.resourceVersion` set, without decoding the rest: stored
/// objects have the field empty. `None` when the message does not start as stored objects do.
pub fn with_resource_version(raw: &[u8], revision: u64) -> Option<Vec<u8>> {
    const METADATA: u32 = 1;
    const RESOURCE_VERSION: u32 = 6;
    let mut reader = Reader { bytes: raw };
    let Ok(Some((METADATA, super::BYTES))) = reader.tag() else { return None };
    let metadata = reader.length_delimited().ok()?;
    let rest = reader.bytes;
    let mut fields = Reader { bytes: metadata };
    loop {
        let before = metadata.len() - fields.bytes.len();
        let (number, wire) = fields.tag().ok()??;
        fields.skip(wire).ok()?;
        if number != RESOURCE_VERSION {
            continue;
        }
        let after = fields.bytes;
        let mut out = Buffer::with_capacity(raw.len() + 32);
        out.bytes(rest);
        let start = out.len();
        out.bytes(after);
        out.field(RESOURCE_VERSION, revision.to_string().as_bytes());
        out.bytes(&metadata[..before]);
        out.close(METADATA, start);
        return Some(out.finish());
    }
}

/// The length of what [`with_resource_version`] gives, without making it.
pub fn with_resource_version_len(raw: &[u8], revision: u64) -> Option<usize> {
    let mut reader = Reader { bytes: raw };
    let Ok(Some((1, super::BYTES))) = reader.tag() else { return None };
    let metadata = reader.length_delimited().ok()?.len();
    let digits = revision.checked_ilog10().unwrap_or(0) as usize + 1;
    let varint = |number: usize| (64 - (number as u64 | 1).leading_zeros() as usize).div_ceil(7);
    Some(raw.len() + digits + varint(metadata + digits) - varint(metadata))
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
            for revision in [1, 9, 10, 123_456_789] {
                let spliced = with_resource_version(&raw, revision).expect("splice");
                assert_eq!(with_resource_version_len(&raw, revision), Some(spliced.len()));
                let back = crate::proto::decode(&spliced, ty).expect("decode");
                assert_eq!(back.value_at(&["metadata", "resourceVersion"]), Some(&revision.to_string().into()));
                assert_eq!(back.value_at(&["data", "k"]), Some(&"v".into()));
            }
        }
    }
}
