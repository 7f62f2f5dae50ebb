//! The two timestamps of the API: `metav1.Time` (RFC 3339, whole seconds) and `metav1.MicroTime` (six fraction digits).
//!
//! Invariant: what Go's `time.Parse` accepts is accepted and what it rejects is rejected with its text
//! (`pkg/apis/meta/v1/{time,micro_time}.go@v0.37.2`); what comes out is UTC. Go's zero time marshals as null: that is for
//! the codecs, see [`ZERO`]. Non-goal: time zones by name, clocks.

use std::borrow::Cow;
use std::fmt::Write;

/// Unix seconds of Go's zero time, 0001-01-01T00:00:00Z.
pub const ZERO: i64 = -62_135_596_800;

const SECONDS_PER_DAY: i64 = 86_400;
/// Layouts as Go writes them, for the error texts.
const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
const RFC3339_MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";
const LOCAL: &str = "2006-01-02T15:04:05";
const DATE: &str = "2006-01-02";
/// Lengths of the canonical texts of years 0 to 9999.
const SECONDS_LENGTH: usize = 20;
const MICRO_LENGTH: usize = 27;
/// Fraction digits that count: nanoseconds.
const NANO_DIGITS: usize = 9;

/// Why a text is not a timestamp, in Go's words (`time.ParseError`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// The text a `metav1.Time` marshals to after unmarshalling `text`: UTC, whole seconds, `Z`.
pub fn canonical_rfc3339(text: &str) -> Result<Cow<'_, str>, Error> {
    if text.len() == SECONDS_LENGTH && text.ends_with('Z') && date_time(text.as_bytes()).is_some() {
        return Ok(Cow::Borrowed(text));
    }
    let (seconds, nanos) = Parser::new(text, RFC3339).parse()?;
    Ok(Cow::Owned(from_unix(seconds, nanos, false)))
}

/// The text a `metav1.MicroTime` marshals to after unmarshalling `text`: UTC, six fraction digits, `Z`.
pub fn canonical_micro(text: &str) -> Result<Cow<'_, str>, Error> {
    let bytes = text.as_bytes();
    let plain = bytes.len() == MICRO_LENGTH && bytes[19] == b'.' && bytes[20..26].iter().all(u8::is_ascii_digit);
    if plain && bytes[26] == b'Z' && date_time(bytes).is_some() {
        return Ok(Cow::Borrowed(text));
    }
    let (seconds, nanos) = Parser::new(text, RFC3339_MICRO).parse()?;
    Ok(Cow::Owned(from_unix(seconds, nanos, true)))
}

/// Unix seconds and nanoseconds of an RFC 3339 text, with or without a fraction.
pub fn to_unix(text: &str) -> Option<(i64, i32)> {
    if text.len() == SECONDS_LENGTH && text.ends_with('Z') {
        return date_time(text.as_bytes()).map(|seconds| (seconds, 0));
    }
    Parser::new(text, RFC3339).parse().ok()
}

/// Unix seconds and nanoseconds of a text without a zone, `2006-01-02T15:04:05`, taken as UTC.
pub fn parse_local(text: &str) -> Result<(i64, i32), Error> {
    Parser::new(text, LOCAL).parse()
}

/// Unix seconds of the beginning of a day, `2006-01-02`, in UTC.
pub fn parse_date(text: &str) -> Result<i64, Error> {
    Parser::new(text, DATE).parse().map(|(seconds, _)| seconds)
}

/// The canonical text of a point in time; `micro` writes six fraction digits. `nanos` is within 0 and 999,999,999.
pub fn from_unix(secs: i64, nanos: i32, micro: bool) -> String {
    let (year, month, day) = civil_from_days(secs.div_euclid(SECONDS_PER_DAY));
    let second_of_day = secs.rem_euclid(SECONDS_PER_DAY) as u32;
    let mut text = String::with_capacity(if micro { MICRO_LENGTH } else { SECONDS_LENGTH });
    if (0..=9999).contains(&year) {
        push_pair(&mut text, (year / 100) as u32);
        push_pair(&mut text, (year % 100) as u32);
    } else {
        // Go pads the digits, not the sign.
        let sign = if year < 0 { "-" } else { "" };
        write!(text, "{sign}{:04}", year.unsigned_abs()).expect("writing to a String cannot fail");
    }
    let clock = [(second_of_day / 3600, 'T'), (second_of_day / 60 % 60, ':'), (second_of_day % 60, ':')];
    for (pair, separator) in [(month, '-'), (day, '-')].into_iter().chain(clock) {
        text.push(separator);
        push_pair(&mut text, pair);
    }
    if micro {
        let micros = nanos as u32 / 1000;
        text.push('.');
        for pair in [micros / 10_000, micros / 100 % 100, micros % 100] {
            push_pair(&mut text, pair);
        }
    }
    text.push('Z');
    text
}

fn push_pair(text: &mut String, pair: u32) {
    for digit in [pair / 10 % 10, pair % 10] {
        text.push(char::from(b'0' + digit as u8));
    }
}

/// Days since 1970-01-01 of a proleptic Gregorian date, counted in 400-year eras that start in March.
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * i64::from((month + 9) % 12) + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn days_in(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn two_digits(bytes: &[u8]) -> Option<u32> {
    match bytes {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', ..] => Some(u32::from(tens - b'0') * 10 + u32::from(ones - b'0')),
        _ => None,
    }
}

/// Unix seconds of a text that starts `2006-01-02T15:04:05` with every part in range.
fn date_time(bytes: &[u8]) -> Option<i64> {
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if bytes.len() < 19 || separators.iter().any(|(at, byte)| bytes[*at] != *byte) {
        return None;
    }
    let year = i64::from(two_digits(bytes)?) * 100 + i64::from(two_digits(&bytes[2..])?);
    let (month, day) = (two_digits(&bytes[5..])?, two_digits(&bytes[8..])?);
    let (hour, minute, second) = (two_digits(&bytes[11..])?, two_digits(&bytes[14..])?, two_digits(&bytes[17..])?);
    let valid = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    (valid && hour < 24 && minute < 60 && second < 60)
        .then(|| unix(days_from_civil(year, month, day), hour, minute, second))
}

fn unix(days: i64, hour: u32, minute: u32, second: u32) -> i64 {
    days * SECONDS_PER_DAY + i64::from(hour * 3600 + minute * 60 + second)
}

/// Go's `time.quote`: not `strconv.Quote`, every byte outside ASCII is escaped on its own.
pub(crate) fn quote(text: &[u8]) -> String {
    let mut quoted = String::from('"');
    for byte in text {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(*byte)]),
            b' '..=0x7f => quoted.push(char::from(*byte)),
            _ => write!(quoted, "\\x{byte:02x}").expect("writing to a String cannot fail"),
        }
    }
    quoted.push('"');
    quoted
}

/// Walks a text along one of the layouts, with the leniences of `time.Parse`: one-digit hours, a comma before the
/// fraction, offsets of 24 hours and 60 minutes.
struct Parser<'a> {
    text: &'a [u8],
    rest: &'a [u8],
    layout: &'static str,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, layout: &'static str) -> Self {
        Parser { text: text.as_bytes(), rest: text.as_bytes(), layout }
    }

    fn parse(mut self) -> Result<(i64, i32), Error> {
        let year = self.year()?;
        self.literal("-")?;
        let month = self.number("01", true, "month", 1..=12)?;
        self.literal("-")?;
        let day = self.number("02", true, "day", 0..=99)?;
        let (clock, nanos) = if self.layout == DATE { (0, 0) } else { self.clock()? };
        if !self.rest.is_empty() {
            return Err(self.message(&format!(": extra text: {}", quote(self.rest))));
        }
        if day < 1 || day > days_in(year, month) {
            return Err(self.message(": day out of range"));
        }
        Ok((unix(days_from_civil(year, month, day), 0, 0, 0) + clock, nanos))
    }

    /// Seconds and nanoseconds of what follows the date.
    fn clock(&mut self) -> Result<(i64, i32), Error> {
        self.literal("T")?;
        let hour = self.number("15", false, "hour", 0..=23)?;
        self.literal(":")?;
        let minute = self.number("04", true, "minute", 0..=59)?;
        self.literal(":")?;
        let second = self.number("05", true, "second", 0..=59)?;
        let nanos = if self.layout == RFC3339_MICRO { self.micros()? } else { self.optional_fraction() };
        let offset = if self.layout == LOCAL { 0 } else { self.zone()? };
        Ok((unix(0, hour, minute, second) - offset, nanos))
    }

    fn message(&self, message: &str) -> Error {
        Error(format!("parsing time {}{message}", quote(self.text)))
    }

    fn out_of_range(&self, part: &str) -> Error {
        self.message(&format!(": {part} out of range"))
    }

    /// The rest of the text does not start with `element` of the layout.
    fn mismatch(&self, element: &str) -> Error {
        let (text, layout, rest) = (quote(self.text), quote(self.layout.as_bytes()), quote(self.rest));
        Error(format!("parsing time {text} as {layout}: cannot parse {rest} as {}", quote(element.as_bytes())))
    }

    fn literal(&mut self, literal: &str) -> Result<(), Error> {
        self.rest = self.rest.strip_prefix(literal.as_bytes()).ok_or_else(|| self.mismatch(literal))?;
        Ok(())
    }

    fn year(&mut self) -> Result<i64, Error> {
        let digits = self.rest.get(..4).filter(|digits| digits.iter().all(u8::is_ascii_digit));
        let digits = digits.ok_or_else(|| self.mismatch("2006"))?;
        self.rest = &self.rest[4..];
        Ok(digits.iter().fold(0, |year, digit| year * 10 + i64::from(digit - b'0')))
    }

    /// A number of two digits, or of one where the layout does not insist.
    fn number(
        &mut self,
        element: &str,
        fixed: bool,
        part: &str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Result<u32, Error> {
        let (number, length) = match (two_digits(self.rest), self.rest.first()) {
            (Some(number), _) => (number, 2),
            (None, Some(digit)) if !fixed && digit.is_ascii_digit() => (u32::from(digit - b'0'), 1),
            _ => return Err(self.mismatch(element)),
        };
        self.rest = &self.rest[length..];
        if range.contains(&number) { Ok(number) } else { Err(self.out_of_range(part)) }
    }

    /// A fraction the layout does not mention: any number of digits, those past nanoseconds dropped.
    fn optional_fraction(&mut self) -> i32 {
        let [b'.' | b',', digits @ ..] = self.rest else { return 0 };
        let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return 0;
        }
        self.rest = &digits[length..];
        let kept = &digits[..length.min(NANO_DIGITS)];
        let value = kept.iter().fold(0, |nanos, digit| nanos * 10 + i32::from(digit - b'0'));
        value * 10i32.pow((NANO_DIGITS - kept.len()) as u32)
    }

    /// The fraction of `.000000`: exactly six characters, of which Go lets the first be a sign.
    fn micros(&mut self) -> Result<i32, Error> {
        let mismatch = self.mismatch(".000000");
        let (Some([b'.' | b',', digits @ ..]), [_, ..]) = (self.rest.get(..7), self.rest) else { return Err(mismatch) };
        let unsigned = digits.strip_prefix(b"-").or(digits.strip_prefix(b"+")).unwrap_or(digits);
        if !unsigned.iter().all(u8::is_ascii_digit) {
            return Err(mismatch);
        }
        let micros = unsigned.iter().fold(0, |micros, digit| micros * 10 + i32::from(digit - b'0'));
        if digits[0] == b'-' && micros > 0 {
            return Err(self.out_of_range("fractional second"));
        }
        self.rest = &self.rest[7..];
        Ok(micros * 1000)
    }

    /// `Z` or an offset, in seconds east of UTC.
    fn zone(&mut self) -> Result<i64, Error> {
        if let [b'Z', rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(0);
        }
        let mismatch = self.mismatch("Z07:00");
        let [sign, h1, h2, b':', m1, m2, rest @ ..] = self.rest else { return Err(mismatch) };
        let (hour, minute) = (two_digits(&[*h1, *h2]), two_digits(&[*m1, *m2]));
        if hour.is_some() && minute.is_some_and(|minute| minute > 60) {
            return Err(self.out_of_range("time zone offset minute"));
        }
        if hour.is_some_and(|hour| hour > 24) {
            return Err(self.out_of_range("time zone offset hour"));
        }
        let (Some(hour), Some(minute)) = (hour, minute) else { return Err(mismatch) };
        self.rest = rest;
        let offset = i64::from(hour * 3600 + minute * 60);
        match sign {
            b'+' => Ok(offset),
            b'-' => Ok(-offset),
            _ => Err(mismatch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_utc_seconds() {
        let cases = [
            ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59Z"),
            ("2024-03-01T01:59:59+02:00", "2024-02-29T23:59:59Z"),
            ("2024-02-29T23:59:59.999999999Z", "2024-02-29T23:59:59Z"),
            ("2024-02-29T23:59:59,5-00:30", "2024-03-01T00:29:59Z"),
            ("2024-02-29T3:59:59Z", "2024-02-29T03:59:59Z"),
            ("2024-02-29T00:00:00+24:60", "2024-02-27T23:00:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("0000-01-01T00:00:00+00:01", "-0001-12-31T23:59:00Z"),
            ("9999-12-31T23:59:59-00:01", "10000-01-01T00:00:59Z"),
        ];
        for (text, want) in cases {
            assert_eq!(canonical_rfc3339(text).as_deref(), Ok(want), "{text}");
        }
        assert!(matches!(canonical_rfc3339("2024-02-29T23:59:59Z"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn micro_times_need_six_digits() {
        let cases = [
            ("2024-02-29T23:59:59.123456Z", "2024-02-29T23:59:59.123456Z"),
            ("2024-02-29T23:59:59.000001+01:00", "2024-02-29T22:59:59.000001Z"),
            ("2024-02-29T23:59:59,123456Z", "2024-02-29T23:59:59.123456Z"),
        ];
        for (text, want) in cases {
            assert_eq!(canonical_micro(text).as_deref(), Ok(want), "{text}");
        }
        assert!(matches!(canonical_micro("2024-02-29T23:59:59.123456Z"), Ok(Cow::Borrowed(_))));
    }

    /// Text, and Go's error as the end after the quoted text.
    #[test]
    fn refused_in_gos_words() {
        let seconds = |text: &str| canonical_rfc3339(text).map(Cow::into_owned);
        let micros = |text: &str| canonical_micro(text).map(Cow::into_owned);
        let layout = r#" as "2006-01-02T15:04:05Z07:00": cannot parse "#;
        let micro_layout = r#" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "#;
        let cases = [
            (seconds("x"), r#""x""#, layout, r#""x" as "2006""#),
            (seconds(""), r#""""#, layout, r#""" as "2006""#),
            (seconds("2024-1-01"), r#""2024-1-01""#, layout, r#""1-01" as "01""#),
            (seconds("2024-01-01 0"), r#""2024-01-01 0""#, layout, r#"" 0" as "T""#),
            (seconds("2024-13-01T00:00:00Z"), r#""2024-13-01T00:00:00Z""#, "", ": month out of range"),
            (seconds("2023-02-29T00:00:00Z"), r#""2023-02-29T00:00:00Z""#, "", ": day out of range"),
            (seconds("2023-02-01T24:00:00Z"), r#""2023-02-01T24:00:00Z""#, "", ": hour out of range"),
            (seconds("2023-02-01T00:00:00Zé"), r#""2023-02-01T00:00:00Z\xc3\xa9""#, "", r#": extra text: "\xc3\xa9""#),
            (
                seconds("2023-02-01T00:00:00+25:00"),
                r#""2023-02-01T00:00:00+25:00""#,
                "",
                ": time zone offset hour out of range",
            ),
            (
                micros("2023-02-01T00:00:00.12345Z"),
                r#""2023-02-01T00:00:00.12345Z""#,
                micro_layout,
                r#"".12345Z" as ".000000""#,
            ),
            (micros("2023-02-01T00:00:00Z"), r#""2023-02-01T00:00:00Z""#, micro_layout, r#""Z" as ".000000""#),
        ];
        for (parsed, text, layout, end) in cases {
            assert_eq!(parsed.map_err(|error| error.to_string()), Err(format!("parsing time {text}{layout}{end}")));
        }
    }

    #[test]
    fn unix_both_ways() {
        let cases = [
            ("0001-01-01T00:00:00.000000Z", ZERO, 0),
            ("1969-12-31T23:59:59.999999Z", -1, 999_999_000),
            ("1970-01-01T00:00:00.000000Z", 0, 0),
            ("2000-02-29T12:00:00.000001Z", 951_825_600, 1000),
            ("9999-12-31T23:59:59.000000Z", 253_402_300_799, 0),
        ];
        for (text, seconds, nanos) in cases {
            assert_eq!(to_unix(text), Some((seconds, nanos)), "{text}");
            assert_eq!(from_unix(seconds, nanos, true), text);
        }
        assert_eq!(to_unix("1970-01-01"), None);
    }

    #[test]
    fn every_day_of_four_centuries() {
        let (mut year, mut month, mut day) = (1, 1, 1);
        for days in ZERO / SECONDS_PER_DAY..ZERO / SECONDS_PER_DAY + 146_097 {
            assert_eq!(civil_from_days(days), (year, month, day));
            assert_eq!(days_from_civil(year, month, day), days);
            day += 1;
            if day > days_in(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!(year, 401);
    }

    #[test]
    fn days_and_times_without_a_zone() {
        assert_eq!(parse_date("1970-01-02"), Ok(86_400));
        assert_eq!(parse_local("1970-01-01T00:01:00.5"), Ok((60, 500_000_000)));
        let refused = [
            (
                parse_date("1970-1-02").map(drop),
                "parsing time \"1970-1-02\" as \"2006-01-02\": cannot parse \"1-02\" as \"01\"",
            ),
            (parse_date("1970-02-30").map(drop), "parsing time \"1970-02-30\": day out of range"),
            (parse_local("1970-01-01T00:00:00Z").map(drop), "parsing time \"1970-01-01T00:00:00Z\": extra text: \"Z\""),
        ];
        for (got, want) in refused {
            assert_eq!(got.map_err(|error| error.to_string()), Err(want.to_owned()));
        }
    }
}
