//! Protobuf codec over the object value, directed by a kind's facts, and the `k8s\0` envelope.
//!
//! Invariant: bytes are those of upstream's generated marshallers: fields by number, values that are
//! not pointers always written, map keys sorted.

mod buffer;
mod decode;
mod encode;
mod envelope;
mod transcode;

pub use decode::{Error, decode, peek, peek_text};
pub use encode::encode;
pub use envelope::{Head, MAGIC, Revised, Slot, Unknown, unwrap, wrap, wrap_with};
pub use transcode::to_json;

/// Wire type of a varint.
pub(crate) const VARINT: u8 = 0;
/// Wire type of 8 bytes.
pub(crate) const FIXED64: u8 = 1;
/// Wire type of a length and that many bytes.
pub(crate) const BYTES: u8 = 2;
/// Wire type of 4 bytes.
pub(crate) const FIXED32: u8 = 5;
