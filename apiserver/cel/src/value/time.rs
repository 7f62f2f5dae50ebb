//! Points in time.
//!
//! Invariant: years 1 to 9999 with nanoseconds; a timestamp remembers the offset it was written with, as Go's `time.Time`
//! does, and is read as `time.Parse(time.RFC3339, ...)` reads.
//! Non-goal: local time of the machine.

use jiff::tz::TimeZone;

use super::Fault;

const NANOS: i128 = 1_000_000_000;
const DAY: i64 = 86_400;
/// `0001-01-01T00:00:00Z`.
const MIN_SECONDS: i64 = -62_135_596_800;
/// `9999-12-31T23:59:59Z`.
const MAX_SECONDS: i64 = 253_402_300_799;
const MINUTE: i32 = 60;

#[derive(Debug, Clone, Copy)]
pub struct Timestamp {
    /// Since the epoch, rounded down.
    seconds: i64,
    nanos: u32,
    /// Seconds east of UTC, for text only.
    offset: i32,
}

/// A timestamp's parts on the calendar of some zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    /// From 1.
    pub(crate) month: i64,
    pub(crate) day: i64,
    /// From 0.
    pub(crate) day_of_year: i64,
    /// From Sunday, 0.
    pub(crate) weekday: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    pub(crate) nanos: i64,
}

impl Timestamp {
    /// A time in UTC; None outside of the years 1 to 9999.
    pub fn new(seconds: i64, nanos: u32) -> Option<Timestamp> {
        (MIN_SECONDS..=MAX_SECONDS).contains(&seconds).then_some(Timestamp { seconds, nanos, offset: 0 })
    }

    /// A time of RFC 3339, with its offset.
    pub fn parse(text: &str) -> Option<Timestamp> {
        parse_timestamp(text).ok()
    }

    pub fn seconds(&self) -> i64 {
        self.seconds
    }

    /// Nanoseconds since the epoch.
    pub fn instant(&self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.seconds == MIN_SECONDS && self.nanos == 0
    }

    pub(super) fn plus(&self, nanos: i64) -> Option<Timestamp> {
        let instant = self.instant() + i128::from(nanos);
        let seconds = i64::try_from(instant.div_euclid(NANOS)).ok()?;
        let moved = Timestamp::new(seconds, instant.rem_euclid(NANOS) as u32)?;
        Some(Timestamp { offset: self.offset, ..moved })
    }

    /// In a zone by name (`America/New_York`, `UTC`) or offset (`-08:00`).
    pub(crate) fn in_zone(&self, zone: &str) -> Result<Civil, Fault> {
        let offset = match zone.split_once(':') {
            Some((hours, minutes)) => {
                let (hours, minutes) = (atoi(hours)?, atoi(minutes)?);
                let minutes = if zone.starts_with('-') { -minutes } else { minutes };
                (hours * 60 + minutes) * i64::from(MINUTE)
            }
            None => named_offset(zone, self.seconds)?,
        };
        Ok(self.civil(offset))
    }

    fn civil(&self, offset: i64) -> Civil {
        let local = self.seconds.saturating_add(offset);
        let (days, second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (year, month, day) = date_of(days);
        Civil {
            year,
            month,
            day,
            day_of_year: days - days_of(year, 1, 1),
            weekday: (days + 4).rem_euclid(7),
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
            nanos: i64::from(self.nanos),
        }
    }

    /// RFC 3339 with as many digits of the second as it takes.
    pub fn rfc3339(&self) -> String {
        let zone = match self.offset {
            0 => "Z".to_owned(),
            offset => self.numeric_zone(offset, ":"),
        };
        let Civil { year, month, day, hour, minute, second, .. } = self.civil(i64::from(self.offset));
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{}{zone}", self.fraction())
    }

    fn numeric_zone(&self, offset: i32, colon: &str) -> String {
        let sign = if offset < 0 { '-' } else { '+' };
        let minutes = offset.abs() / MINUTE;
        format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60)
    }

    fn fraction(&self) -> String {
        match self.nanos {
            0 => String::new(),
            nanos => format!(".{}", format!("{nanos:09}").trim_end_matches('0')),
        }
    }

    pub fn in_utc(&self) -> Timestamp {
        Timestamp { offset: 0, ..*self }
    }

    /// As Go's `time.Time.String`.
    pub(super) fn go_text(&self) -> String {
        let Civil { year, month, day, hour, minute, second, .. } = self.civil(i64::from(self.offset));
        let zone = self.numeric_zone(self.offset, "");
        let name = if self.offset == 0 { "UTC" } else { zone.as_str() };
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{} {zone} {name}", self.fraction())
    }
}

/// `strconv.Atoi`, with its error.
fn atoi(text: &str) -> Result<i64, Fault> {
    let quoted = || super::go_quote(text);
    match text.parse::<i64>() {
        Ok(value) => Ok(value),
        Err(error)
            if matches!(error.kind(), std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow) =>
        {
            Err(Fault::new(format!("strconv.Atoi: parsing {}: value out of range", quoted())))
        }
        Err(_) => Err(Fault::new(format!("strconv.Atoi: parsing {}: invalid syntax", quoted()))),
    }
}

fn named_offset(zone: &str, seconds: i64) -> Result<i64, Fault> {
    if matches!(zone, "" | "UTC") {
        return Ok(0);
    }
    if zone.contains("..") || zone.starts_with(['/', '\\']) {
        return Err(Fault::new("time: invalid location name"));
    }
    let unknown = || Fault::new(format!("unknown time zone {zone}"));
    let found = TimeZone::get(zone).ok().filter(|found| found.iana_name() == Some(zone)).ok_or_else(unknown)?;
    let at = jiff::Timestamp::from_second(seconds.min(jiff::Timestamp::MAX.as_second())).map_err(|_| unknown())?;
    Ok(i64::from(found.to_offset(at).seconds()))
}

/// Days since the epoch of a date, by the proleptic Gregorian calendar.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    (year + era * 400 + i64::from(month <= 2), month, day)
}

fn days_in(year: i64, month: i64) -> i64 {
    let next = if month == 12 { days_of(year + 1, 1, 1) } else { days_of(year, month + 1, 1) };
    next - days_of(year, month, 1)
}

/// Why a text is no timestamp.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TimestampError {
    Text,
    /// Outside of the years 1 to 9999.
    Range,
}

/// Takes a text apart from its front.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let count = self.0.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = (count >= least).then(|| self.0.split_at(count))?;
        self.0 = rest;
        Some(digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
    }

    fn byte(&mut self, wanted: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first().filter(|(first, _)| wanted.contains(first))?;
        self.0 = rest;
        Some(*first)
    }

    /// Nanoseconds, if a fraction follows; digits past the ninth are dropped.
    fn fraction(&mut self) -> Option<u32> {
        if !matches!(self.0, [b'.' | b',', digit, ..] if digit.is_ascii_digit()) {
            return Some(0);
        }
        self.0 = &self.0[1..];
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        let nine = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
        Some(nine.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0')))
    }

    fn offset(&mut self) -> Option<i64> {
        let sign = match self.byte(b"Z+-")? {
            b'Z' => return Some(0),
            b'+' => 1,
            _ => -1,
        };
        let hours = self.digits(2, 2).filter(|hours| *hours <= 24)?;
        self.byte(b":")?;
        let minutes = self.digits(2, 2).filter(|minutes| *minutes <= 60)?;
        Some(sign * (hours * 60 + minutes) * 60)
    }
}

fn scan(text: &str) -> Option<(i64, u32, i64)> {
    let mut scan = Scan(text.as_bytes());
    let year = scan.digits(4, 4)?;
    scan.byte(b"-")?;
    let month = scan.digits(2, 2).filter(|month| (1..=12).contains(month))?;
    scan.byte(b"-")?;
    let day = scan.digits(2, 2).filter(|day| (1..=days_in(year, month)).contains(day))?;
    scan.byte(b"T")?;
    // Go lets an hour be one digit.
    let hour = scan.digits(1, 2).filter(|hour| *hour < 24)?;
    scan.byte(b":")?;
    let minute = scan.digits(2, 2).filter(|minute| *minute < 60)?;
    scan.byte(b":")?;
    let second = scan.digits(2, 2).filter(|second| *second < 60)?;
    let nanos = scan.fraction()?;
    let offset = scan.offset()?;
    let seconds = days_of(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
    scan.0.is_empty().then_some((seconds, nanos, offset))
}

pub(crate) fn parse_timestamp(text: &str) -> Result<Timestamp, TimestampError> {
    let (seconds, nanos, offset) = scan(text).ok_or(TimestampError::Text)?;
    let time = Timestamp::new(seconds, nanos).ok_or(TimestampError::Range)?;
    Ok(Timestamp { offset: offset as i32, ..time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_both_ways() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2024-02-29T23:59:59.5Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999Z",
            "2023-06-01T10:20:30-07:00",
            "1900-03-01T00:00:00.000000001+05:30",
        ] {
            assert_eq!(parse_timestamp(text).map(|time| time.rfc3339()), Ok(text.to_owned()));
        }
        let rewritten = parse_timestamp("2023-01-01T1:00:00,250+00:00").map(|time| time.rfc3339());
        assert_eq!(rewritten, Ok("2023-01-01T01:00:00.25Z".to_owned()));
    }

    #[test]
    fn refused() {
        for text in ["", "2023-02-29T00:00:00Z", "2023-01-01T24:00:00Z", "2023-01-01 00:00:00Z", "2023-01-01T00:00:00"]
        {
            assert_eq!(parse_timestamp(text).map(drop), Err(TimestampError::Text), "{text}");
        }
        let early = parse_timestamp("0001-01-01T00:00:00+01:00").map(drop);
        assert_eq!(early, Err(TimestampError::Range));
    }

    #[test]
    fn zones() {
        let time = parse_timestamp("2023-12-25T00:30:00.5-08:00").unwrap();
        let utc = time.in_zone("UTC").unwrap();
        assert_eq!((utc.day, utc.hour, utc.weekday, utc.day_of_year, utc.nanos), (25, 8, 1, 358, 500_000_000));
        assert_eq!(time.in_zone("America/Los_Angeles").map(|civil| civil.hour), Ok(0));
        assert_eq!(time.in_zone("-09:30").map(|civil| (civil.day, civil.hour)), Ok((24, 23)));
        assert_eq!(time.in_zone("Mars/Base"), Err(Fault::new("unknown time zone Mars/Base")));
        assert_eq!(time.in_zone("a:00"), Err(Fault::new("strconv.Atoi: parsing \"a\": invalid syntax")));
    }
}
