//! Values that are a number or a percentage: `maxUnavailable: 1` or `maxUnavailable: 25%`.
//!
//! Invariant: same results and error texts as `k8s.io/apimachinery/pkg/util/intstr@v0.37.2`. Non-goal: the wire forms,
//! which are the codecs'.

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
        // Atoi gives back the nearest number when the text is out of range.
        IntOrString::String(text) => text.parse().unwrap_or_else(|error| saturated(&error)),
    }
}

fn saturated(error: &std::num::ParseIntError) -> i64 {
    match error.kind() {
        std::num::IntErrorKind::PosOverflow => i64::MAX,
        std::num::IntErrorKind::NegOverflow => i64::MIN,
        _ => 0,
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
    digits.parse().map_err(|error: std::num::ParseIntError| {
        let reason = if saturated(&error) == 0 { "invalid syntax" } else { "value out of range" };
        Error::NotNumber { value: text.to_owned(), digits: digits.to_owned(), reason }
    })
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
