//! Go's `time.Duration` as text: `1h30m`, `1.5s`, `100ms`.
//!
//! Invariant: parses and formats exactly as Go 1.26 does, float rounding of fractions included. A duration is an i64 of
//! nanoseconds. Non-goal: days, calendars, ISO 8601.

use crate::time::quote;

/// Why a text is not a duration, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("time: invalid duration {0}")]
    Invalid(String),
    #[error("time: missing unit in duration {0}")]
    MissingUnit(String),
    #[error("time: unknown unit {unit} in duration {text}")]
    UnknownUnit { unit: String, text: String },
}

pub const NANOSECOND: i64 = 1;
pub const MICROSECOND: i64 = 1000 * NANOSECOND;
pub const MILLISECOND: i64 = 1000 * MICROSECOND;
pub const SECOND: i64 = 1000 * MILLISECOND;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;

/// The magnitude of the lowest i64, which only a negative duration may have.
const LIMIT: u64 = 1 << 63;

/// Nanoseconds of a Go duration text (`time.ParseDuration`).
pub fn parse(text: &str) -> Result<i64, Error> {
    let invalid = || Error::Invalid(quote(text.as_bytes()));
    let (negative, mut rest) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if rest == b"0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let (nanos, after) = parse_term(rest, text)?;
        total = total.checked_add(nanos).filter(|total| *total <= LIMIT).ok_or_else(invalid)?;
        rest = after;
    }
    match (negative, i64::try_from(total)) {
        (true, _) => Ok((total as i64).wrapping_neg()),
        (false, Ok(total)) => Ok(total),
        (false, Err(_)) => Err(invalid()),
    }
}

/// One number with its unit, in nanoseconds, and what follows it.
fn parse_term<'a>(term: &'a [u8], text: &str) -> Result<(u64, &'a [u8]), Error> {
    let quoted = || quote(text.as_bytes());
    let invalid = || Error::Invalid(quoted());
    let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, mut rest) = term.split_at(digits(term));
    let mut fraction = &term[..0];
    if let [b'.', after @ ..] = rest {
        (fraction, rest) = after.split_at(digits(after));
    }
    let mut value = 0u64;
    for digit in whole {
        value = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0'))).ok_or_else(invalid)?;
        if value > LIMIT {
            return Err(invalid());
        }
    }
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let (name, rest) = rest.split_at(rest.iter().take_while(|b| !b.is_ascii_digit() && **b != b'.').count());
    if name.is_empty() {
        return Err(Error::MissingUnit(quoted()));
    }
    let unit = unit_nanos(name).ok_or_else(|| Error::UnknownUnit { unit: quote(name), text: quoted() })?;
    if value > LIMIT / unit {
        return Err(invalid());
    }
    value *= unit;
    let (fraction, scale) = leading_fraction(fraction);
    if fraction > 0 {
        // In floating point as Go does it, so that the last nanosecond agrees.
        value += (fraction as f64 * (unit as f64 / scale)) as u64;
        if value > LIMIT {
            return Err(invalid());
        }
    }
    Ok((value, rest))
}

fn unit_nanos(name: &[u8]) -> Option<u64> {
    let unit = match std::str::from_utf8(name).ok()? {
        "ns" => NANOSECOND,
        // Both the micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    };
    Some(unit.unsigned_abs())
}

/// Fraction digits as a number and the power of ten it is over; digits that would overflow are dropped.
fn leading_fraction(digits: &[u8]) -> (u64, f64) {
    let (mut value, mut scale) = (0u64, 1.0);
    for digit in digits {
        if value > (LIMIT - 1) / 10 {
            break;
        }
        let next = value * 10 + u64::from(digit - b'0');
        if next > LIMIT {
            break;
        }
        value = next;
        scale *= 10.0;
    }
    (value, scale)
}

/// The text of a duration (`Duration.String`): `1h30m0s`, `1.5s`, `100ms`, `0s`.
pub fn format(nanos: i64) -> String {
    let magnitude = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let second = SECOND.unsigned_abs();
    if magnitude < second {
        return match magnitude {
            0 => "0s".to_owned(),
            1..1_000 => format!("{sign}{magnitude}ns"),
            1_000..1_000_000 => format!("{sign}{}\u{b5}s", decimal(magnitude, 3)),
            _ => format!("{sign}{}ms", decimal(magnitude, 6)),
        };
    }
    let minutes = magnitude / second / 60;
    let seconds = decimal(magnitude % (60 * second), 9);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / 10^places` without trailing zeros.
fn decimal(value: u64, places: usize) -> String {
    let unit = 10u64.pow(places as u32);
    let fraction = format!("{:0places$}", value % unit);
    match fraction.trim_end_matches('0') {
        "" => format!("{}", value / unit),
        fraction => format!("{}.{fraction}", value / unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsed_and_formatted() {
        let cases = [
            ("0", 0, "0s"),
            ("-0", 0, "0s"),
            ("5s", 5 * SECOND, "5s"),
            ("1h30m", 90 * MINUTE, "1h30m0s"),
            ("1.5s", 1500 * MILLISECOND, "1.5s"),
            ("100ms", 100 * MILLISECOND, "100ms"),
            ("-2us", -2 * MICROSECOND, "-2\u{b5}s"),
            ("1\u{b5}s", MICROSECOND, "1\u{b5}s"),
            ("1\u{3bc}s", MICROSECOND, "1\u{b5}s"),
            ("+5.s", 5 * SECOND, "5s"),
            (".5s", 500 * MILLISECOND, "500ms"),
            ("1.0000000000000000000000000001h", HOUR, "1h0m0s"),
            ("0.3333333333333333333h", 20 * MINUTE, "20m0s"),
            ("39h9m14.425s", 39 * HOUR + 9 * MINUTE + 14_425 * MILLISECOND, "39h9m14.425s"),
            ("1100ns", 1100, "1.1\u{b5}s"),
            ("9223372036854775807ns", i64::MAX, "2562047h47m16.854775807s"),
            ("-9223372036854775808ns", i64::MIN, "-2562047h47m16.854775808s"),
        ];
        for (text, nanos, formatted) in cases {
            assert_eq!(parse(text), Ok(nanos), "{text}");
            assert_eq!(format(nanos), formatted);
        }
    }

    #[test]
    fn refused_in_gos_words() {
        let cases = [
            ("", r#"time: invalid duration """#),
            ("-", r#"time: invalid duration "-""#),
            ("3", r#"time: missing unit in duration "3""#),
            (".s", r#"time: invalid duration ".s""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            ("1é", r#"time: unknown unit "\xc3\xa9" in duration "1\xc3\xa9""#),
            ("1s 2s", r#"time: unknown unit "s " in duration "1s 2s""#),
            ("9223372036854775808ns", r#"time: invalid duration "9223372036854775808ns""#),
            ("3000000h", r#"time: invalid duration "3000000h""#),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text).map_err(|error| error.to_string()), Err(want.to_owned()));
        }
    }
}
