//! Lines of a CRI log: `time stream tag text`, and where the last lines of a file begin
//! (k8s.io/cri-client/pkg/logs/{logs,tail}.go@v0.37.2).
//!
//! Invariant: pure but for reading one file; a line that is no CRI line is passed over.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use k8s_openapi::jiff::Timestamp;

use super::options::LogOptions;

/// Bytes read at a time while looking for the last lines.
const BLOCK_BYTES: u64 = 1024;
/// Digits of a fraction of a second as logs show it.
const FRACTION_DIGITS: usize = 9;

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    time: &'a str,
    /// With its newline, unless the container's line goes on in the next.
    text: &'a [u8],
}

impl<'a> Line<'a> {
    /// `line` with its newline.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (time, stream, tag, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let time = std::str::from_utf8(time).ok()?;
        if !matches!(stream, b"stdout" | b"stderr") || !time.contains('T') {
            return None;
        }
        let partial = tag.split(|byte| *byte == b':').next() == Some(b"P");
        let text = if partial { text.strip_suffix(b"\n").unwrap_or(text) } else { text };
        Some(Line { time, text })
    }
}

/// The time with nine digits after the second, in its own zone.
fn fixed(time: &str) -> String {
    let zone = time.rfind(['Z', '+', '-']).filter(|at| *at > time.find('T').unwrap_or(0)).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone);
    let (seconds, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    format!("{seconds}.{fraction:0<FRACTION_DIGITS$}{zone}")
}

/// Turns lines of the file into what the caller sees.
#[derive(Debug)]
pub(super) struct Shown {
    timestamps: bool,
    since: Option<Timestamp>,
    remaining: u64,
    /// Lines left to show; `None` for any number.
    lines: Option<u64>,
    at_start: bool,
}

impl Shown {
    pub(super) fn new(options: &LogOptions) -> Self {
        Shown {
            timestamps: options.timestamps,
            since: options.since,
            remaining: options.limit_bytes.unwrap_or(u64::MAX),
            lines: options.tail_lines.filter(|_| !options.follow),
            at_start: true,
        }
    }

    /// Nothing more will be shown.
    pub(super) fn is_done(&self) -> bool {
        self.remaining == 0 || self.lines == Some(0)
    }

    /// Adds what is seen of a line of the file.
    pub(super) fn add(&mut self, line: &[u8], to: &mut Vec<u8>) {
        let Some(line) = Line::parse(line) else { return };
        let old = self.since.is_some_and(|since| line.time.parse::<Timestamp>().is_ok_and(|time| time < since));
        if !old {
            let before = to.len();
            if self.timestamps && self.at_start {
                to.extend_from_slice(fixed(line.time).as_bytes());
                to.push(b' ');
            }
            to.extend_from_slice(line.text);
            let added = (to.len() - before) as u64;
            if added > self.remaining {
                to.truncate(before + usize::try_from(self.remaining).unwrap_or(usize::MAX));
            }
            self.remaining -= added.min(self.remaining);
        }
        self.lines = self.lines.map(|lines| lines.saturating_sub(1));
        self.at_start = line.text.last().is_none_or(|byte| *byte == b'\n');
    }
}

/// Where the last `lines` lines begin; a line without an end is not counted.
pub(super) fn start_of_last(file: &mut File, lines: u64) -> io::Result<u64> {
    let mut right = file.seek(SeekFrom::End(0))?;
    let (mut seen, mut block) = (0, Vec::new());
    while right > 0 {
        let left = right.saturating_sub(BLOCK_BYTES);
        block.resize(usize::try_from(right - left).unwrap_or(0), 0);
        file.seek(SeekFrom::Start(left))?;
        file.read_exact(&mut block)?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            if seen == lines {
                return Ok(left + at as u64 + 1);
            }
            seen += 1;
        }
        right = left;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn shown(options: &LogOptions, lines: &[&str]) -> String {
        let (mut shown, mut out) = (Shown::new(options), Vec::new());
        for line in lines {
            if !shown.is_done() {
                shown.add(line.as_bytes(), &mut out);
            }
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_is_seen() {
        let lines = [
            "2026-01-01T00:00:01.5Z stdout F one\n",
            "2026-01-01T00:00:02.123456789+02:00 stderr P tw\n",
            "2026-01-01T00:00:02.123456789+02:00 stderr F o\n",
            "rubbish\n",
            "2026-01-01T00:00:03Z stdout F  spaced \n",
        ];
        let base = LogOptions::default();
        assert_eq!(shown(&base, &lines), "one\ntwo\n spaced \n");
        let stamped = LogOptions { timestamps: true, ..base.clone() };
        assert_eq!(
            shown(&stamped, &lines),
            "2026-01-01T00:00:01.500000000Z one\n2026-01-01T00:00:02.123456789+02:00 two\n2026-01-01T00:00:03.000000000Z  spaced \n"
        );
        let since = LogOptions { since: Some("2026-01-01T00:00:02Z".parse().expect("a time")), ..base.clone() };
        assert_eq!(shown(&since, &lines), " spaced \n");
        let limited = LogOptions { limit_bytes: Some(5), ..base.clone() };
        assert_eq!(shown(&limited, &lines), "one\nt");
        let tail = LogOptions { tail_lines: Some(1), ..base };
        assert_eq!(shown(&tail, &lines), "one\n");
    }

    #[test]
    fn where_the_last_lines_begin() {
        let mut file = tempfile::tempfile().expect("a file");
        let long = "x".repeat(3000);
        write!(file, "a\n{long}\nb\nc").expect("written");
        for (lines, expect) in [(0, 3005), (1, 3003), (2, 2), (3, 0), (9, 0)] {
            assert_eq!(start_of_last(&mut file, lines).expect("read"), expect, "{lines}");
        }
    }
}
