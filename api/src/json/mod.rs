//! JSON codec over the object value, directed by a kind's facts.

mod complete;
mod decode;
mod encode;
pub mod scan;

pub use complete::{complete, zero};
pub(crate) use decode::canonical;
pub use decode::{Decoded, Empty, Error, Strictness, decode, decode_any, decode_type, go_type, illegal_base64};
pub use encode::{encode, encode_pretty, encode_value};
pub(crate) use encode::{name, string};
