//! Messages of the WebSocket channel protocols: a byte that names the channel, then data
//! (k8s.io/streaming/pkg/httpstream/wsstream/conn.go@v0.37.2).
//!
//! Invariant: pure; what is not understood is passed over, as upstream does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

pub const STDIN: u8 = 0;
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
pub const ERROR: u8 = 3;
pub const RESIZE: u8 = 4;
/// In the place of a channel: the next byte names a channel that gets no more data (v5).
const CLOSE: u8 = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Binary,
    Base64,
}

/// A subprotocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: &'static str,
    encoding: Encoding,
    /// A channel can be closed alone.
    closes: bool,
}

const fn protocol(name: &'static str, encoding: Encoding, closes: bool) -> Protocol {
    Protocol { name, encoding, closes }
}

pub const V5: Protocol = protocol("v5.channel.k8s.io", Encoding::Binary, true);

/// Every subprotocol of exec and attach; the nameless one is what a client gets that asks for none.
pub const ALL: [Protocol; 6] = [
    V5,
    protocol("v4.channel.k8s.io", Encoding::Binary, false),
    protocol("v4.base64.channel.k8s.io", Encoding::Base64, false),
    protocol("channel.k8s.io", Encoding::Binary, false),
    protocol("base64.channel.k8s.io", Encoding::Base64, false),
    protocol("", Encoding::Binary, false),
];

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Data(u8, Bytes),
    Close(u8),
    Nothing,
    /// The protocol is broken: the connection ends.
    Wrong(&'static str),
}

impl Protocol {
    /// The first of the client's wishes that is known.
    pub fn choose<'a>(wanted: impl IntoIterator<Item = &'a str>) -> Option<Protocol> {
        let mut wanted = wanted.into_iter().peekable();
        if wanted.peek().is_none() {
            return ALL.into_iter().find(|known| known.name.is_empty());
        }
        wanted.find_map(|name| ALL.into_iter().find(|known| known.name == name))
    }

    /// The payload of a message; text when the protocol is base64.
    pub fn encode(self, channel: u8, data: &[u8]) -> Bytes {
        let mut message = BytesMut::with_capacity(1 + data.len());
        match self.encoding {
            Encoding::Binary => {
                message.put_u8(channel);
                message.put_slice(data);
            }
            Encoding::Base64 => {
                message.put_u8(b'0' + channel);
                message.put_slice(STANDARD.encode(data).as_bytes());
            }
        }
        message.freeze()
    }

    pub fn is_text(self) -> bool {
        self.encoding == Encoding::Base64
    }

    pub fn decode(self, message: Bytes) -> Said {
        let Some(first) = message.first().copied() else { return Said::Nothing };
        if self.closes && first == CLOSE {
            return match message.len() {
                2 if message[1] <= RESIZE => Said::Close(message[1]),
                2 => Said::Wrong("close is targeted for a channel that is not valid"),
                _ => Said::Wrong("single channel byte should follow stream close signal"),
            };
        }
        match self.encoding {
            Encoding::Binary => Said::Data(first, message.slice(1..)),
            Encoding::Base64 => match STANDARD.decode(&message[1..]) {
                Ok(data) => Said::Data(first.wrapping_sub(b'0'), data.into()),
                Err(_) => Said::Nothing,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Protocol {
        ALL.into_iter().find(|known| known.name == name).expect("known")
    }

    #[test]
    fn what_messages_say() {
        let data = |channel, data: &'static [u8]| Said::Data(channel, Bytes::from_static(data));
        for (protocol, message, expect) in [
            ("v5.channel.k8s.io", &b"\x00ls\n"[..], data(0, b"ls\n")),
            ("v5.channel.k8s.io", b"\xff\x00", Said::Close(0)),
            ("v5.channel.k8s.io", b"\xff", Said::Wrong("single channel byte should follow stream close signal")),
            ("v5.channel.k8s.io", b"\xff\x09", Said::Wrong("close is targeted for a channel that is not valid")),
            ("v5.channel.k8s.io", b"", Said::Nothing),
            ("v4.channel.k8s.io", b"\xff\x00", data(255, b"\x00")),
            ("channel.k8s.io", b"\x01", data(1, b"")),
            ("base64.channel.k8s.io", b"0Zm9vCgo=", data(0, b"foo\n\n")),
            ("v4.base64.channel.k8s.io", b"4!!", Said::Nothing),
            ("", b"\x02x", data(2, b"x")),
        ] {
            assert_eq!(named(protocol).decode(Bytes::copy_from_slice(message)), expect, "{protocol} {message:?}");
        }
    }

    #[test]
    fn what_is_sent() {
        assert_eq!(V5.encode(STDOUT, b"a"), b"\x01a"[..]);
        assert_eq!(named("base64.channel.k8s.io").encode(STDOUT, b"\n"), b"1Cg=="[..]);
    }

    #[test]
    fn the_first_known_wish_is_granted() {
        let choose = |wanted: &[&str]| Protocol::choose(wanted.iter().copied()).map(|chosen| chosen.name);
        assert_eq!(choose(&["v9", "v4.channel.k8s.io", "v5.channel.k8s.io"]), Some("v4.channel.k8s.io"));
        assert_eq!(choose(&["v9"]), None);
        assert_eq!(choose(&[]), Some(""));
    }
}
