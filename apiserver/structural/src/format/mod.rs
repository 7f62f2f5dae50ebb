//! What `format` demands of text
//! (k8s.io/kube-openapi/pkg/validation/strfmt, k8s.io/apiextensions-apiserver/pkg/apiserver/validation/formats.go@v0.37.2).
//!
//! Invariant: a name is known without its dashes; unknown formats demand nothing.

mod email;

use std::net::Ipv6Addr;
use std::str::FromStr as _;

use api::names;

/// A format that text can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    BsonObjectId,
    Uri,
    Email,
    Hostname,
    Ipv4,
    Ipv6,
    Cidr,
    Mac,
    Uuid(Option<char>),
    Isbn,
    Isbn10,
    Isbn13,
    CreditCard,
    Ssn,
    HexColor,
    RgbColor,
    Byte,
    Password,
    Date,
    Duration,
    DateTime,
    ShortName,
    LongName,
}

/// A host name, in bytes; its labels.
const HOSTNAME_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: usize = 63;
const LONG_NAME_BYTES_MAX: usize = 253;

impl Format {
    pub(crate) fn of(name: &str) -> Option<Format> {
        Some(match name.replace('-', "").as_str() {
            "bsonobjectid" => Format::BsonObjectId,
            "uri" => Format::Uri,
            "email" => Format::Email,
            "hostname" => Format::Hostname,
            "ipv4" => Format::Ipv4,
            "ipv6" => Format::Ipv6,
            "cidr" => Format::Cidr,
            "mac" => Format::Mac,
            "uuid" => Format::Uuid(None),
            "uuid3" => Format::Uuid(Some('3')),
            "uuid4" => Format::Uuid(Some('4')),
            "uuid5" => Format::Uuid(Some('5')),
            "isbn" => Format::Isbn,
            "isbn10" => Format::Isbn10,
            "isbn13" => Format::Isbn13,
            "creditcard" => Format::CreditCard,
            "ssn" => Format::Ssn,
            "hexcolor" => Format::HexColor,
            "rgbcolor" => Format::RgbColor,
            "byte" => Format::Byte,
            "password" => Format::Password,
            "date" => Format::Date,
            "duration" => Format::Duration,
            "datetime" => Format::DateTime,
            "k8sshortname" => Format::ShortName,
            "k8slongname" => Format::LongName,
            _ => return None,
        })
    }

    pub(crate) fn accepts(self, text: &str) -> bool {
        match self {
            Format::BsonObjectId => text.len() == 24 && is_hex(text),
            Format::Uri => api::gourl::parse_request_uri(text).is_ok(),
            Format::Email => email::is_email(text),
            Format::Hostname => is_hostname(text),
            Format::Ipv4 => text.contains('.') && names::parse_ip_sloppy(text).is_some(),
            // Go reads IPv4 in IPv6 too, but no zone.
            Format::Ipv6 => Ipv6Addr::from_str(text).is_ok(),
            Format::Cidr => names::parse_cidr_sloppy(text).is_some(),
            Format::Mac => is_mac(text),
            Format::Uuid(version) => is_uuid(text, version),
            Format::Isbn => is_isbn10(text) || is_isbn13(text),
            Format::Isbn10 => is_isbn10(text),
            Format::Isbn13 => is_isbn13(text),
            Format::CreditCard => is_credit_card(text),
            Format::Ssn => is_ssn(text),
            Format::HexColor => {
                let digits = text.strip_prefix('#').unwrap_or(text);
                matches!(digits.len(), 3 | 6) && is_hex(digits)
            }
            Format::RgbColor => is_rgb(text),
            Format::Byte => is_base64(text),
            Format::Password => true,
            Format::Date => is_date(text),
            Format::Duration => duration(text).is_ok(),
            Format::DateTime => is_date_time(text),
            Format::ShortName => text.len() <= LABEL_BYTES_MAX && is_label(text),
            Format::LongName => text.len() <= LONG_NAME_BYTES_MAX && text.split('.').all(is_label),
        }
    }
}

/// Formats of `schema`'s type and format that mean nothing to this version (formats.go: GetUnrecognizedFormats).
pub(crate) fn is_recognized(ty: &str, format: &str) -> bool {
    match ty {
        "" | "string" => Format::of(format).is_some(),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_label(text: &str) -> bool {
    let alnum = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| alnum(*byte))
        && bytes.last().is_some_and(|byte| alnum(*byte))
        && bytes.iter().all(|byte| alnum(*byte) || *byte == b'-')
}

/// Letters of any script and symbols; one label, or labels with dots between and a last one of letters.
fn is_hostname(text: &str) -> bool {
    // The bounds of counted repetitions are those of upstream's pattern.
    const PATTERN: &str = r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$";
    static COMPILED: std::sync::OnceLock<Option<regex::Regex>> = std::sync::OnceLock::new();
    let pattern = COMPILED.get_or_init(|| api::goregex::compile(PATTERN).ok());
    text.len() <= HOSTNAME_BYTES_MAX
        && pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
        && text.split('.').all(|label| label.len() <= LABEL_BYTES_MAX)
}

/// 6, 8 or 20 bytes: `:` or `-` after each, or `.` after each two (Go's net.ParseMAC).
fn is_mac(text: &str) -> bool {
    let separated = |separator: char, digits: usize, counts: [usize; 3]| {
        let parts: Vec<_> = text.split(separator).collect();
        counts.contains(&parts.len()) && parts.iter().all(|part| part.len() == digits && is_hex(part))
    };
    separated(':', 2, [6, 8, 20]) || separated('-', 2, [6, 8, 20]) || separated('.', 4, [3, 4, 10])
}

/// Dashes may be left out, each on its own.
fn is_uuid(text: &str, version: Option<char>) -> bool {
    let mut rest = text;
    let mut digits = Vec::with_capacity(32);
    for (at, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some(part) = rest.get(..length).filter(|part| is_hex(part)) else { return false };
        digits.extend_from_slice(part.as_bytes());
        rest = &rest[length..];
    }
    let Some(version) = version else { return rest.is_empty() };
    let variant = version == '3' || matches!(digits[16].to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b');
    rest.is_empty() && char::from(digits[12]) == version && variant
}

fn without_spaces_and_dashes(text: &str) -> Vec<u8> {
    text.bytes().filter(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r' | b'-')).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = without_spaces_and_dashes(text);
    let Ok(digits) = <[u8; 10]>::try_from(digits) else { return false };
    if !digits[..9].iter().all(u8::is_ascii_digit) || !(digits[9].is_ascii_digit() || digits[9] == b'X') {
        return false;
    }
    let value = |byte: u8| if byte == b'X' { 10 } else { u32::from(byte - b'0') };
    let sum: u32 = (1..).zip(digits).map(|(weight, digit)| weight * value(digit)).sum();
    sum.is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let digits = without_spaces_and_dashes(text);
    if digits.len() != 13 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 = digits.iter().zip([1, 3].into_iter().cycle()).map(|(digit, by)| u32::from(digit - b'0') * by).sum();
    sum.is_multiple_of(10)
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let prefixed = |prefixes: &[&str], length: usize| {
        digits.len() == length && prefixes.iter().any(|prefix| digits.starts_with(prefix))
    };
    let known = prefixed(&["4"], 13)
        || prefixed(&["4"], 16)
        || prefixed(&["51", "52", "53", "54", "55", "6011", "65", "35"], 16)
        || prefixed(&["34", "37"], 15)
        || prefixed(&["300", "301", "302", "303", "304", "305", "36", "38"], 14)
        || prefixed(&["2131", "1800"], 15);
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits
        .bytes()
        .rev()
        .map(|byte| u32::from(byte - b'0'))
        .enumerate()
        .fold(0, |sum, (at, digit)| sum + if at % 2 == 1 { doubled(digit) } else { digit });
    known && sum.is_multiple_of(10)
}

/// `123-45-6789`: eleven characters leave no choice but both separators.
fn is_ssn(text: &str) -> bool {
    let bytes = text.as_bytes();
    let separator = |at: usize| matches!(bytes[at], b'-' | b' ');
    bytes.len() == 11
        && separator(3)
        && separator(6)
        && bytes.iter().enumerate().all(|(at, byte)| matches!(at, 3 | 6) || byte.is_ascii_digit())
}

fn is_rgb(text: &str) -> bool {
    let Some(inner) = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')')) else { return false };
    let space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\x0c' | '\r');
    let parts: Vec<&str> = inner.split(',').map(|part| part.trim_matches(space)).collect();
    let is_part = |part: &&str| {
        let plain = part.bytes().all(|byte| byte.is_ascii_digit()) && (*part == "0" || !part.starts_with('0'));
        plain && part.parse::<u8>().is_ok()
    };
    parts.len() == 3 && parts.iter().all(is_part)
}

/// Padded, and not empty.
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    !digits.is_empty() && text.len().is_multiple_of(4) && padding <= 2 && digits.bytes().all(known)
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `2006-01-02`
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' || !text.is_ascii() {
        return false;
    }
    let (Some(year), Some(month), Some(day)) = (number(&text[..4]), number(&text[5..7]), number(&text[8..])) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// A date, `t` and a time with a zone; what follows a second `t` is not looked at.
fn is_date_time(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut parts = text.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    is_date(date) && is_time(time)
}

fn is_time(text: &str) -> bool {
    let pair = |text: &str, max: u32| text.len() == 2 && number(text).is_some_and(|number| number <= max);
    let clock = text.get(..8).map(|clock| clock.split(':').collect::<Vec<_>>());
    let Some([hours, minutes, seconds]) = clock.as_deref() else { return false };
    if !(pair(hours, 23) && pair(minutes, 59) && pair(seconds, 59)) {
        return false;
    }
    let rest = &text[8..];
    let is_zone = |zone: &str| {
        zone == "z"
            || zone.strip_prefix(['+', '-']).and_then(|zone| zone.split_once(':')).is_some_and(|(hours, minutes)| {
                [hours, minutes].iter().all(|part| part.len() == 2 && number(part).is_some())
            })
    };
    if is_zone(rest) {
        return true;
    }
    // Any one character may stand before the fraction.
    let mut chars = rest.chars();
    let fraction = chars.next().filter(|c| *c != '\n').map(|_| chars.as_str()).unwrap_or("");
    let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    zone.len() < fraction.len() && is_zone(zone)
}

/// Nanoseconds of Go's durations, and of numbers with words: `3 days`, `2 wks`; else the error of strfmt's `ParseDuration`.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    api::duration::parse(text).or_else(|_| spoken_duration(text))
}

fn spoken_duration(text: &str) -> Result<i64, String> {
    use api::duration::{HOUR, MICROSECOND, MILLISECOND, MINUTE, NANOSECOND, SECOND};
    const UNITS: [(&[&str], &str, i64); 8] = [
        (&["ns"], "nano", NANOSECOND),
        (&["us", "µs"], "micro", MICROSECOND),
        (&["ms"], "milli", MILLISECOND),
        (&["s"], "sec", SECOND),
        (&["m"], "min", MINUTE),
        (&["h", "hr"], "hour", HOUR),
        (&["d"], "day", 24 * HOUR),
        (&["w", "wk"], "week", 7 * 24 * HOUR),
    ];
    let nanos = |unit: &str| {
        let unit = unit.to_lowercase();
        let known = UNITS.iter().find(|(short, long, _)| short.contains(&unit.as_str()) || unit.starts_with(long));
        known.map(|(_, _, nanos)| *nanos)
    };
    let mut found = None;
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = &rest[at..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let unit = after.trim_start_matches([' ', '\t', '\n', '\x0c', '\r']);
        let length = unit.len() - unit.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == 'µ').len();
        rest = &unit[length..];
        if length == 0 {
            continue;
        }
        let Ok(count) = number.parse::<i64>() else {
            return Err(format!("strconv.Atoi: parsing \"{number}\": value out of range"));
        };
        if let Some(nanos) = nanos(&unit[..length]) {
            // Go's integers wrap around.
            found = Some(found.unwrap_or(0i64).wrapping_add(count.wrapping_mul(nanos)));
        }
    }
    found.ok_or_else(|| format!("unable to parse {text} as duration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_formats() {
        let cases = [
            ("uuid4", "110ec58a-a0f2-4ac4-8393-c866d813b8d1", true),
            ("uuid3", "110ec58a-a0f2-4ac4-8393-c866d813b8d1", false),
            ("isbn", "978-0321751041", true),
            ("creditcard", "4220 8554 2622 2389", true),
            ("rgbcolor", "rgb(0,  31, 255)", true),
            ("rgbcolor", "rgb(01,31,255)", false),
            ("duration", "3 days", true),
            ("duration", "3 moons", false),
            ("date-time", "2014-12-15T19:30:20.000Z", true),
            ("date-time", "2014-12-15T24:30:20Z", false),
            ("date", "2023-02-29", false),
            ("mac", "0000.5e00.5301", true),
            ("byte", "", false),
        ];
        for (format, text, want) in cases {
            assert_eq!(Format::of(format).unwrap().accepts(text), want, "{format} {text}");
        }
    }
}
