//! JSON codec over the object value, directed by a kind's facts.

mod decode;
mod encode;

pub(crate) use decode::canonical;
pub use decode::{Decoded, Error, Strictness, decode, decode_any};
pub use encode::{encode, encode_pretty, encode_value};
pub(crate) use encode::{name, string};
