//! Frames and their bytes.
//!
//! Invariant: encoding and decoding keep the order of frames, because each direction has one zlib stream.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::headers::{Packer, Unpacker};
use crate::Error;

/// Names in lower case, in order.
pub type Headers = Vec<(String, String)>;

/// The value of a header.
pub fn value<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    SynStream {
        id: u32,
        fin: bool,
        headers: Headers,
    },
    SynReply {
        id: u32,
        fin: bool,
        headers: Headers,
    },
    Reset {
        id: u32,
        status: u32,
    },
    Ping {
        id: u32,
    },
    GoAway {
        last: u32,
        status: u32,
    },
    Headers {
        id: u32,
        fin: bool,
        headers: Headers,
    },
    Data {
        id: u32,
        fin: bool,
        data: Bytes,
    },
    /// Settings, window updates, and what later versions may add.
    Other(u16),
}

const CONTROL: u32 = 0x8000_0000;
const VERSION: u16 = 3;
const HEAD_BYTES: usize = 8;
/// Largest payload that is accepted, in bytes; the length field could say up to 16 MiB.
const PAYLOAD_BYTES_MAX: usize = 4 << 20;
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GO_AWAY: u16 = 7;
const HEADERS: u16 = 8;

/// One end of a connection: frames to bytes and back.
pub struct Codec {
    packer: Packer,
    unpacker: Unpacker,
}

impl Default for Codec {
    fn default() -> Self {
        Codec { packer: Packer::new(), unpacker: Unpacker::new() }
    }
}

impl Decoder for Codec {
    type Item = Frame;
    type Error = Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, Error> {
        if bytes.len() < HEAD_BYTES {
            return Ok(None);
        }
        let (mut head, _) = bytes.split_at(HEAD_BYTES);
        let (word, flags, length) = (head.get_u32(), head.get_u8(), head.get_uint(3) as usize);
        if length > PAYLOAD_BYTES_MAX {
            return Err(Error::protocol("frame is too large"));
        }
        if bytes.len() < HEAD_BYTES + length {
            bytes.reserve(HEAD_BYTES + length - bytes.len());
            return Ok(None);
        }
        bytes.advance(HEAD_BYTES);
        let payload = bytes.split_to(length).freeze();
        let fin = flags & FIN != 0;
        if word & CONTROL == 0 {
            return match word {
                0 => Err(Error::protocol("stream id zero is disallowed")),
                id => Ok(Some(Frame::Data { id, fin, data: payload })),
            };
        }
        if (word >> 16) as u16 & 0x7fff != VERSION {
            return Err(Error::protocol("unsupported SPDY version"));
        }
        self.control(word as u16, fin, payload).map(Some)
    }
}

impl Codec {
    fn control(&mut self, kind: u16, fin: bool, mut payload: Bytes) -> Result<Frame, Error> {
        let least = match kind {
            SYN_STREAM => 10,
            RST_STREAM | GO_AWAY => 8,
            SYN_REPLY | PING | HEADERS => 4,
            other => return Ok(Frame::Other(other)),
        };
        if payload.len() < least {
            return Err(Error::protocol("control frame is too short"));
        }
        let id = payload.get_u32() & !CONTROL;
        Ok(match kind {
            SYN_STREAM => {
                // Associated stream, priority and slot mean nothing here.
                payload.advance(6);
                Frame::SynStream { id, fin, headers: self.unpacker.unpack(&payload)? }
            }
            SYN_REPLY => Frame::SynReply { id, fin, headers: self.unpacker.unpack(&payload)? },
            HEADERS => Frame::Headers { id, fin, headers: self.unpacker.unpack(&payload)? },
            RST_STREAM => Frame::Reset { id, status: payload.get_u32() },
            GO_AWAY => Frame::GoAway { last: id, status: payload.get_u32() },
            _ => Frame::Ping { id },
        })
    }
}

impl Encoder<Frame> for Codec {
    type Error = Error;

    fn encode(&mut self, frame: Frame, to: &mut BytesMut) -> Result<(), Error> {
        let mut payload = Vec::new();
        let (kind, fin) = match frame {
            Frame::Data { id, fin, data } => {
                to.reserve(HEAD_BYTES + data.len());
                to.put_u32(id & !CONTROL);
                to.put_u8(u8::from(fin));
                to.put_uint(data.len() as u64, 3);
                to.put_slice(&data);
                return Ok(());
            }
            Frame::SynStream { id, fin, headers } => {
                payload.put_u32(id);
                payload.put_slice(&[0; 6]);
                payload.put_slice(&self.packer.pack(&headers)?);
                (SYN_STREAM, fin)
            }
            Frame::SynReply { id, fin, headers } => (self.with_headers(SYN_REPLY, id, &headers, &mut payload)?, fin),
            Frame::Headers { id, fin, headers } => (self.with_headers(HEADERS, id, &headers, &mut payload)?, fin),
            Frame::Reset { id, status } => {
                payload.put_u32(id);
                payload.put_u32(status);
                (RST_STREAM, false)
            }
            Frame::GoAway { last, status } => {
                payload.put_u32(last);
                payload.put_u32(status);
                (GO_AWAY, false)
            }
            Frame::Ping { id } => {
                payload.put_u32(id);
                (PING, false)
            }
            Frame::Other(_) => return Ok(()),
        };
        to.reserve(HEAD_BYTES + payload.len());
        to.put_u32(CONTROL | u32::from(VERSION) << 16 | u32::from(kind));
        to.put_u8(u8::from(fin));
        to.put_uint(payload.len() as u64, 3);
        to.put_slice(&payload);
        Ok(())
    }
}

impl Codec {
    fn with_headers(&mut self, kind: u16, id: u32, headers: &Headers, payload: &mut Vec<u8>) -> Result<u16, Error> {
        payload.put_u32(id);
        payload.put_slice(&self.packer.pack(headers)?);
        Ok(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> Headers {
        vec![("streamtype".to_owned(), "stdout".to_owned())]
    }

    #[test]
    fn frames_go_round_even_byte_by_byte() {
        let frames = [
            Frame::SynStream { id: 1, fin: false, headers: headers() },
            Frame::SynReply { id: 1, fin: false, headers: vec![] },
            Frame::Headers { id: 1, fin: true, headers: headers() },
            Frame::Data { id: 1, fin: false, data: Bytes::from_static(b"hello") },
            Frame::Data { id: 3, fin: true, data: Bytes::new() },
            Frame::Ping { id: 7 },
            Frame::Reset { id: 3, status: 5 },
            Frame::GoAway { last: 3, status: 0 },
        ];
        let (mut sender, mut receiver) = (Codec::default(), Codec::default());
        let mut wire = BytesMut::new();
        frames.iter().for_each(|frame| sender.encode(frame.clone(), &mut wire).expect("encoded"));
        let (mut found, mut partial) = (vec![], BytesMut::new());
        for byte in wire {
            partial.put_u8(byte);
            found.extend(receiver.decode(&mut partial).expect("decoded"));
        }
        assert_eq!(found, frames);
        assert!(partial.is_empty());
    }

    #[test]
    fn fixed_bytes() {
        let encode = |frame| {
            let mut wire = BytesMut::new();
            Codec::default().encode(frame, &mut wire).expect("encoded");
            wire.to_vec()
        };
        assert_eq!(encode(Frame::Ping { id: 1 }), [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]);
        let data = Frame::Data { id: 5, fin: true, data: Bytes::from_static(b"ab") };
        assert_eq!(encode(data), [0, 0, 0, 5, 1, 0, 0, 2, b'a', b'b']);
        assert_eq!(encode(Frame::Reset { id: 2, status: 3 })[..8], [0x80, 3, 0, 3, 0, 0, 0, 8]);
    }

    #[test]
    fn wrong_frames_are_refused_and_unknown_ones_passed_over() {
        let decode = |bytes: &[u8]| Codec::default().decode(&mut BytesMut::from(bytes));
        for wrong in [
            &[0, 0, 0, 0, 0, 0, 0, 0][..],
            &[0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1],
            &[0x80, 3, 0, 3, 0, 0, 0, 4, 0, 0, 0, 1],
            &[0, 0, 0, 1, 0, 0xff, 0xff, 0xff],
        ] {
            assert!(decode(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(decode(&[0x80, 3, 0, 4, 0, 0, 0, 0]).expect("settings"), Some(Frame::Other(4)));
        assert_eq!(decode(&[0x80, 3, 0, 6, 0, 0, 0, 4, 0]).expect("not all there"), None);
    }
}
