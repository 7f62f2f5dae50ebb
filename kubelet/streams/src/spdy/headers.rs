//! Header blocks: name and value pairs under one zlib stream a direction.
//!
//! Invariant: a block is complete after a sync flush, so the peer can read it at once; a hostile block
//! cannot grow beyond a limit.

use bytes::{Buf, BufMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary;
use super::frame::Headers;
use crate::Error;

/// Largest header block, in bytes, and most headers in it (github.com/moby/spdystream/spdy/types.go).
const BLOCK_BYTES_MAX: usize = 1 << 20;
const HEADERS_MAX: u32 = 1000;
/// Output space made at a time.
const CHUNK_BYTES: usize = 4096;

pub(super) struct Packer(Compress);

impl Packer {
    pub(super) fn new() -> Self {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(&dictionary::bytes()).expect("a dictionary before the first byte is always taken");
        Packer(zlib)
    }

    pub(super) fn pack(&mut self, headers: &Headers) -> Result<Vec<u8>, Error> {
        let mut plain = Vec::new();
        plain.put_u32(headers.len() as u32);
        for (name, value) in headers {
            for text in [name, value] {
                plain.put_u32(text.len() as u32);
                plain.put_slice(text.as_bytes());
            }
        }
        let mut packed = Vec::with_capacity(CHUNK_BYTES);
        let start = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - start).unwrap_or(plain.len());
            if packed.len() == packed.capacity() {
                packed.reserve(CHUNK_BYTES);
            }
            let room = packed.capacity() - packed.len();
            let before = packed.len();
            let flushed = self.0.compress_vec(&plain[done..], &mut packed, FlushCompress::Sync);
            flushed.map_err(|error| Error::protocol(error.to_string()))?;
            // Room left over means that nothing is pending.
            if packed.len() - before < room {
                return Ok(packed);
            }
        }
    }
}

pub(super) struct Unpacker(Decompress);

impl Unpacker {
    pub(super) fn new() -> Self {
        Unpacker(Decompress::new(true))
    }

    pub(super) fn unpack(&mut self, block: &[u8]) -> Result<Headers, Error> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, Error> {
        let mut plain = Vec::with_capacity(CHUNK_BYTES);
        let start = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - start).unwrap_or(block.len());
            if plain.len() == plain.capacity() {
                plain.reserve(CHUNK_BYTES);
            }
            let before = (plain.len(), done);
            match self.0.decompress_vec(&block[done..], &mut plain, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Ok(plain),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    let set = self.0.set_dictionary(&dictionary::bytes());
                    set.map_err(|error| Error::protocol(error.to_string()))?;
                    continue;
                }
                Err(error) => return Err(Error::protocol(format!("header block: {error}"))),
            }
            if plain.len() > BLOCK_BYTES_MAX {
                return Err(Error::protocol("header block is too large"));
            }
            let done = usize::try_from(self.0.total_in() - start).unwrap_or(block.len());
            let stuck = (plain.len(), done) == before;
            if (done == block.len() && plain.len() < plain.capacity()) || stuck {
                return Ok(plain);
            }
        }
    }
}

fn parse(mut plain: &[u8]) -> Result<Headers, Error> {
    let count = number(&mut plain)?;
    if count > HEADERS_MAX {
        return Err(Error::protocol("too many headers"));
    }
    (0..count).map(|_| Ok((text(&mut plain)?.to_ascii_lowercase(), text(&mut plain)?))).collect()
}

fn number(from: &mut &[u8]) -> Result<u32, Error> {
    from.try_get_u32().map_err(|_| Error::protocol("header block is too short"))
}

fn text(from: &mut &[u8]) -> Result<String, Error> {
    let length = number(from)? as usize;
    let (text, rest) = from.split_at_checked(length).ok_or_else(|| Error::protocol("header block is too short"))?;
    *from = rest;
    String::from_utf8(text.to_vec()).map_err(|_| Error::protocol("header is not text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> Headers {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn blocks_go_round_over_one_stream() {
        let (mut packer, mut unpacker) = (Packer::new(), Unpacker::new());
        let long = "x".repeat(20_000);
        for list in [
            headers(&[("streamtype", "error")]),
            headers(&[]),
            headers(&[("streamtype", "data"), ("port", "80"), ("requestid", "0")]),
            headers(&[("long", &long)]),
            headers(&[("streamtype", "error")]),
        ] {
            let packed = packer.pack(&list).expect("packed");
            assert_eq!(unpacker.unpack(&packed).expect("unpacked"), list);
        }
    }

    /// What Go's spdystream writes first for `streamtype: error`.
    #[test]
    fn a_recorded_block_is_read() {
        let recorded = include_bytes!("testdata/error-stream.bin");
        let found = Unpacker::new().unpack(&recorded[18..]).expect("unpacked");
        assert_eq!(found, headers(&[("streamtype", "error")]));
    }

    #[test]
    fn hostile_blocks_are_refused() {
        assert!(Unpacker::new().unpack(b"\x00\x01").is_err());
        for plain in [&b"\0\0\0\x01\0\0\0\xff"[..], b"\0\0\xff\xff", b"\0"] {
            assert!(parse(plain).is_err(), "{plain:?}");
        }
        let mut packer = Packer::new();
        let bomb = packer.pack(&headers(&[("a", &"x".repeat(BLOCK_BYTES_MAX + 1))])).expect("packed");
        assert!(Unpacker::new().unpack(&bomb).is_err());
    }
}
