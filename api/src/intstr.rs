//! Values that are a number or a percentage: `maxUnavailable: 1` or `maxUnavailable: 25%`.
//!
//! Invariant: same results and error texts as `k8s.io/apimachinery/pkg/util/intstr@v0.37.2`. Non-goal: the wire forms,
//! which are the codecs'.

use std::num::IntErrorKind;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::field::go_quote;

/// Why a value cannot be scaled; the texts are upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("nil value for IntOrString")]
    Missing,
    #[error("invalid value for IntOrString: invalid type: string is not a percentage")]
    NotPercentage,
    #[error("invalid value for IntOrString: invalid value {}: strconv.Atoi: parsing {}: {reason}", go_quote(.value), go_quote(.digits))]
    NotNumber { value: String, digits: String, reason: &'static str },
}

/// Upstream's `Parse`: a number where the text is one that fits 32 bits, else the text.
pub fn parse(text: &str) -> IntOrString {
    text.parse().map_or_else(|_| IntOrString::String(text.to_owned()), IntOrString::Int)
}

/// The number, or the number a string spells; 0 when it spells none.
pub fn int_value(value: &IntOrString) -> i64 {
    match value {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(text) => atoi(text).unwrap_or_else(|wrong| wrong.nearest),
    }
}

/// What is wrong with a text that is no number, and the number Go gives back all the same.
struct Wrong {
    reason: &'static str,
    nearest: i64,
}

/// Go's `strconv.Atoi`: it reads 64 bits without sign first, so junk after those is not looked at.
fn atoi(text: &str) -> Result<i64, Wrong> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let syntax = Wrong { reason: "invalid syntax", nearest: 0 };
    let range = Wrong { reason: "value out of range", nearest: if negative { i64::MIN } else { i64::MAX } };
    if digits.starts_with('+') {
        return Err(syntax);
    }
    match digits.parse::<u64>() {
        Ok(magnitude) if negative => 0i64.checked_sub_unsigned(magnitude).ok_or(range),
        Ok(magnitude) => i64::try_from(magnitude).map_err(|_| range),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Err(range),
        Err(_) => Err(syntax),
    }
}

/// The text of either form.
pub fn to_string(value: &IntOrString) -> String {
    match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    }
}

/// The percentage a string ends in `%` for.
fn percent(text: &str) -> Result<i64, Error> {
    let digits = text.strip_suffix('%').ok_or(Error::NotPercentage)?;
    let named =
        |wrong: Wrong| Error::NotNumber { value: text.to_owned(), digits: digits.to_owned(), reason: wrong.reason };
    atoi(digits).map_err(named)
}

/// Upstream's `GetScaledValueFromIntOrPercent`: a number as it is, a percentage of `total` rounded up or down.
pub fn scaled_value(value: Option<&IntOrString>, total: i64, round_up: bool) -> Result<i64, Error> {
    let text = match value.ok_or(Error::Missing)? {
        IntOrString::Int(number) => return Ok(i64::from(*number)),
        IntOrString::String(text) => text,
    };
    let scaled = percent(text)? as f64 * total as f64 / 100.0;
    Ok(if round_up { scaled.ceil() } else { scaled.floor() } as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled() {
        let cases = [("90%", 5, 5, 4), ("50%", 100, 50, 50), ("1%", 7, 1, 0), ("-10%", 15, -1, -2), ("0%", 3, 0, 0)];
        for (text, total, up, down) in cases {
            let value = IntOrString::String(text.to_owned());
            let both = (scaled_value(Some(&value), total, true), scaled_value(Some(&value), total, false));
            assert_eq!(both, (Ok(up), Ok(down)), "{text} of {total}");
        }
        assert_eq!(scaled_value(Some(&IntOrString::Int(9)), 3, true), Ok(9));
    }

    #[test]
    fn refused() {
        let cases = [
            ("9", "type: string is not a percentage"),
            ("a%", r#"value "a%": strconv.Atoi: parsing "a": invalid syntax"#),
            ("%", r#"value "%": strconv.Atoi: parsing "": invalid syntax"#),
            (
                "9223372036854775808%",
                r#"value "9223372036854775808%": strconv.Atoi: parsing "9223372036854775808": value out of range"#,
            ),
        ];
        for (text, want) in cases {
            let error = scaled_value(Some(&IntOrString::String(text.to_owned())), 1, true);
            let want = format!("invalid value for IntOrString: invalid {want}");
            assert_eq!(error.map_err(|error| error.to_string()), Err(want));
        }
        assert_eq!(scaled_value(None, 1, true), Err(Error::Missing));
    }

    #[test]
    fn numbers_in_strings() {
        let cases =
            [("5", 5), ("+5", 5), ("-5", -5), ("5%", 0), ("http", 0), ("++5", 0), ("99999999999999999999", i64::MAX)];
        for (text, number) in cases {
            assert_eq!(int_value(&IntOrString::String(text.to_owned())), number, "{text}");
        }
        assert_eq!(parse("8080"), IntOrString::Int(8080));
        assert_eq!(parse("2147483648"), IntOrString::String("2147483648".to_owned()));
    }
}
