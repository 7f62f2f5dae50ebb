//! Frames: how a payload lies in a file, and what a bad one means.
//!
//! A frame is `magic | length | file offset | zero pieces | payload crc32c | header crc32c | payload | end byte`, little
//! endian. A frame is begun only when the one before is durable, so in a log only the last one may be half written. A disk
//! writes whole sectors in any order, and a file only grows, so what was not written reads as zeros or lies beyond the end.
//! "Zero pieces" is how many of the sector-wise pieces of the payload are all zero by nature: more of them means torn, and
//! anything else that does not fit its checksum is damage. Invariant: a torn frame was never acknowledged.

/// What a disk writes at once, in bytes; larger sectors are multiples.
const SECTOR: usize = 512;
const MAGIC: [u8; 4] = [0xf7, b'K', b'L', 0x96];
pub(crate) const HEADER: usize = 28;
/// Ends the payload, so that the last piece of a frame that was written is never all zero.
const END: u8 = 0xa5;

/// Appends a frame to `out`, which is to be written at `offset` of the file.
pub(crate) fn write(out: &mut Vec<u8>, offset: u64, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.resize(start + HEADER, 0);
    payload(out);
    out.push(END);
    let at = offset as usize + start;
    let (header, body) = out[start..].split_at_mut(HEADER);
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&u32::try_from(body.len()).expect("a batch is limited to megabytes").to_le_bytes());
    header[8..16].copy_from_slice(&(at as u64).to_le_bytes());
    header[16..20].copy_from_slice(&zero_pieces(body, at + HEADER).to_le_bytes());
    header[20..24].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    let crc = crc32c::crc32c(&header[..24]);
    header[24..].copy_from_slice(&crc.to_le_bytes());
}

/// What lies at a place in a file.
#[derive(Debug, PartialEq)]
pub(crate) enum Next<'a> {
    /// A payload, and where the next frame is.
    Frame(&'a [u8], usize),
    End,
    /// The last write did not get here whole.
    Torn,
    Damaged(&'static str),
}

pub(crate) fn next(file: &[u8], at: usize) -> Next<'_> {
    if at == file.len() {
        return Next::End;
    }
    let Some(header) = header(file, at) else {
        let lost = file.len() - at < HEADER || header_lost(file, at);
        return bad(file, at, lost, "the frame header does not match its checksum");
    };
    let start = at + HEADER;
    let Some(body) = file.get(start..start + header.length) else {
        return bad(file, at, true, "the frame is cut short");
    };
    if crc32c::crc32c(body) != header.crc {
        let lost = zero_pieces(body, start) > header.zero_pieces;
        return bad(file, at, lost, "the frame does not match its checksum");
    }
    match body.split_last() {
        Some((&END, payload)) => Next::Frame(payload, start + header.length),
        _ => Next::Damaged("the frame has no end"),
    }
}

/// A header after a bad frame proves that the bad one was durable once: it was not torn, it is damaged.
fn bad(file: &[u8], at: usize, lost: bool, what: &'static str) -> Next<'static> {
    let later = || file[at + 1..].windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC);
    match lost && !later().any(|(place, _)| header(file, at + 1 + place).is_some()) {
        true => Next::Torn,
        false => Next::Damaged(what),
    }
}

struct Header {
    length: usize,
    zero_pieces: u32,
    crc: u32,
}

fn header(file: &[u8], at: usize) -> Option<Header> {
    let header = file.get(at..at + HEADER)?;
    let number = |from: usize| u32::from_le_bytes(header[from..from + 4].try_into().expect("four bytes"));
    let place = u64::from_le_bytes(header[8..16].try_into().expect("eight bytes"));
    let valid = header[..4] == MAGIC && place == at as u64 && crc32c::crc32c(&header[..24]) == number(24);
    valid.then(|| Header { length: number(4) as usize, zero_pieces: number(16), crc: number(20) })
}

/// Whether a sector's worth of the header is missing.
fn header_lost(file: &[u8], at: usize) -> bool {
    let boundary = (at / SECTOR + 1) * SECTOR;
    let blank = |from: usize| file[from..file.len().min(from / SECTOR * SECTOR + SECTOR)].iter().all(|byte| *byte == 0);
    blank(at) || (boundary < at + HEADER && blank(boundary))
}

/// How many of the pieces that sector boundaries cut `bytes` (at `offset` of a file, behind a header) into are all zero. The
/// first piece shares its sector with the header, whose checksum tells whether that was written.
fn zero_pieces(bytes: &[u8], offset: usize) -> u32 {
    let first = bytes.len().min((SECTOR - offset % SECTOR) % SECTOR);
    bytes[first..].chunks(SECTOR).filter(|piece| piece.iter().all(|byte| *byte == 0)).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of three frames; the last spans sectors, one of them naturally zero.
    fn file() -> (Vec<u8>, usize) {
        let mut file = vec![7; 8];
        write(&mut file, 0, |out| out.extend([1; 300]));
        write(&mut file, 0, |out| out.extend([2; 120]));
        let last = file.len();
        write(&mut file, 0, |out| {
            out.extend([3; 900]);
            out.extend([0; 1100]);
            out.extend([4; 600]);
        });
        (file, last)
    }

    fn read(file: &[u8]) -> (usize, Next<'_>) {
        let mut at = 8;
        loop {
            match next(file, at) {
                Next::Frame(_, end) => at = end,
                other => return (at, other),
            }
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_whole_or_torn() {
        let (file, last) = file();
        assert_eq!(read(&file), (file.len(), Next::End));
        for length in last + 1..file.len() {
            assert_eq!(read(&file[..length]), (last, Next::Torn), "cut at {length}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_damage() {
        let (file, _) = file();
        for bit in 8 * 8..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(read(&flipped).1, Next::Damaged(_)), "bit {bit}");
        }
    }

    #[test]
    fn sectors_missing_from_the_last_write_are_torn_in_every_combination() {
        // A header that crosses a sector boundary at every place, to lose either side of it.
        for shift in 0..40 {
            let (start, _) = file();
            let mut file = start;
            let room = SECTOR - (file.len() + HEADER + 1 + 20) % SECTOR;
            write(&mut file, 0, |out| out.resize(out.len() + room + shift, 9));
            let last = file.len();
            write(&mut file, 0, |out| out.extend([5; 1400]));
            let first = last / SECTOR;
            let sectors = (file.len() - 1) / SECTOR - first + 1;
            for missing in 1u32..1 << sectors {
                let mut torn = file.clone();
                for sector in (0..sectors).filter(|sector| missing & (1 << sector) != 0) {
                    let from = last.max((first + sector) * SECTOR);
                    let to = torn.len().min((first + sector + 1) * SECTOR);
                    torn[from..to].fill(0);
                }
                assert_eq!(read(&torn), (last, Next::Torn), "shift {shift}, missing {missing:b}");
            }
        }
    }

    #[test]
    fn zeros_in_the_middle_are_damage() {
        let (mut file, _) = file();
        file[20..200].fill(0);
        assert!(matches!(read(&file), (8, Next::Damaged(_))));
    }
}
