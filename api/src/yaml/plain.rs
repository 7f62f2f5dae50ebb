//! What a reader of YAML 1.1 takes an unquoted text for.
//!
//! Facts: go.yaml.in/yaml/v2@v2.4.4/{resolve,encode}.go. Pure.

use crate::gostrconv;

/// Words that stand for null, a boolean or a number, in every spelling.
const WORDS: &[&str] = &[
    "", "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n", "N",
    "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF",
    "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
];

/// Whether the text needs no quotes to stay a text.
pub(super) fn is_taken_for_text(text: &str) -> bool {
    if WORDS.contains(&text) {
        return false;
    }
    match text.as_bytes()[0] {
        b'.' => text.parse::<f64>().is_err(),
        b'+' | b'-' | b'0'..=b'9' => {
            let plain = text.replace('_', "");
            !(is_timestamp(text) || is_integer(&plain) || is_float(&plain) || is_base_60(text))
        }
        _ => true,
    }
}

fn is_integer(text: &str) -> bool {
    gostrconv::signed(text).is_ok() || gostrconv::unsigned(text).is_ok()
}

/// Digits with a point and an exponent, within what a float64 holds.
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let formed = all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && !exponent.is_empty()
        && all_digits(exponent);
    formed && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// `1:30` and the like, which old readers take for a number of base 60.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (body, fraction) = match unsigned.rsplit_once('.') {
        Some((body, fraction)) => (body, fraction),
        None => (unsigned, ""),
    };
    let digit = |byte: u8| byte.is_ascii_digit();
    let mut parts = body.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let sixtieth = |part: &&str| match part.as_bytes() {
        [one] => digit(*one),
        [ten, one] => (b'0'..=b'5').contains(ten) && digit(*one),
        _ => false,
    };
    first.bytes().next().is_some_and(digit)
        && first.bytes().all(|byte| digit(byte) || byte == b'_')
        && !rest.is_empty()
        && rest.iter().all(sixtieth)
        && fraction.bytes().all(|byte| digit(byte) || byte == b'_')
}

/// A day, or a day and a time, as time.Parse reads them.
fn is_timestamp(text: &str) -> bool {
    let Some((day, time)) =
        text.split_once(['T', 't', ' ']).map(|(day, time)| (day, Some(time))).or(Some((text, None)))
    else {
        return false;
    };
    if !is_day(day) {
        return false;
    }
    let Some(time) = time else { return true };
    let zoned = !text.contains(' ');
    let (time, zone) = match time.find(['Z', '+', '-']) {
        Some(at) => time.split_at(at),
        None => (time, ""),
    };
    is_time(time) && zoned == is_zone(zone) && (zoned || zone.is_empty())
}

/// One or two digits, below a limit.
fn number(text: &str, limit: u32) -> Option<u32> {
    let digits = matches!(text.len(), 1 | 2) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number < limit)
}

fn is_day(text: &str) -> bool {
    let mut parts = text.split('-');
    let (Some(year), Some(month), Some(day), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let year = year.parse::<i16>().ok().filter(|_| year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit()));
    let month = number(month, 13).and_then(|month| i8::try_from(month).ok());
    let day = number(day, 32).and_then(|day| i8::try_from(day).ok());
    matches!((year, month, day), (Some(year), Some(month), Some(day)) if jiff::civil::Date::new(year, month, day).is_ok())
}

fn is_time(text: &str) -> bool {
    let mut parts = text.split(':');
    let (Some(hour), Some(minute), Some(second), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (second, fraction) = second.split_once('.').map_or((second, None), |(second, rest)| (second, Some(rest)));
    let digits = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    number(hour, 24).is_some()
        && number(minute, 60).is_some()
        && number(second, 60).is_some()
        && fraction.is_none_or(digits)
}

fn is_zone(text: &str) -> bool {
    let offset = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        let both = hours.len() == 2 && minutes.len() == 2;
        number(hours, 25).and(number(minutes, 61)).filter(|_| both)
    };
    text == "Z" || text.strip_prefix(['+', '-']).is_some_and(|text| offset(text).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_unquoted_texts_are() {
        let texts = "a;yess;nulll;1a;1.2.3;10.0.0.1;0x;0xg;1e999;-;+;-a;2020-13-01;2020-02-30;20-01-02;\
            2020-01-02T25:00:00Z;2020-01-02T03:04:05;12:60;a:1;.a;--1;18446744073709551616x;=;<<;\
            2020-01-02 03:04:05Z;é";
        for text in texts.split(';') {
            assert!(is_taken_for_text(text), "{text}");
        }
        let others = ";~;Null;yes;No;on;OFF;y;1;+1;-1;017;0o17;0x1F;0b11;-0b11;1_000;1__;08;1.;.5;1.5e3;+1E-2;.inf;\
            -.INF;.NaN;18446744073709551615;2020-01-02;2020-1-2;2020-01-02T03:04:05Z;\
            2020-01-02t03:04:05.123+01:00;2020-01-02 03:04:05;1:30;1:30:15.5;-12:05;\
            123456789012345678901234567890";
        for text in others.split(';') {
            assert!(!is_taken_for_text(text), "{text}");
        }
    }
}
