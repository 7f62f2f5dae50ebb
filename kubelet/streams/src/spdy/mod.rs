//! SPDY/3.1 as Kubernetes speaks it (github.com/moby/spdystream): control frames, data frames, header
//! blocks compressed over one stream of zlib.
//!
//! Non-goal: flow control and settings. No Kubernetes peer sends or heeds window updates; what holds a
//! fast sender back is TCP, because a stream that is not read stops the connection from being read.

mod connection;
mod dictionary;
mod frame;
mod headers;

pub use connection::{Connection, Driver, Reader, Role, Stream, Writer};
pub use frame::{Codec, Frame, Headers, value};

/// What the Upgrade header asks for.
pub const UPGRADE: &str = "SPDY/3.1";
