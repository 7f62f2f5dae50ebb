//! Resource quantities as the scheduler needs them: exact sums and comparisons, and the rounded
//! integers that `Value()` and `MilliValue()` give.
//!
//! Invariant: arithmetic is exact to 10^-9, the precision that the API keeps
//! (k8s.io/apimachinery/pkg/api/resource/quantity.go@v0.37.2: finer input is rounded up when parsed);
//! rounding is away from zero. Non-goal: printing; that is the api crate's.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

/// Units of 10^-9 in one.
const NANO: i128 = 1_000_000_000;
/// Units of 10^-9 in one thousandth.
const MILLI: i128 = 1_000_000;
/// The largest magnitude of a quantity, in units of 10^-9.
const MAX: i128 = i64::MAX as i128 * NANO;

/// A quantity in units of 10^-9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quantity(i128);

/// Resource name to quantity.
pub(crate) type ResourceList = BTreeMap<String, Quantity>;

impl Quantity {
    pub(crate) const fn from_milli(milli: i64) -> Self {
        Quantity(milli as i128 * MILLI)
    }

    pub(crate) const fn from_value(value: i64) -> Self {
        Quantity(value as i128 * NANO)
    }

    /// The integer at or above the quantity.
    pub(crate) fn value(self) -> i64 {
        away_from_zero(self.0, NANO)
    }

    /// The number of thousandths at or above the quantity.
    pub(crate) fn milli_value(self) -> i64 {
        away_from_zero(self.0, MILLI)
    }

    /// Parses the API's text form; `None` when it is not a quantity.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let magnitude = scaled(whole, fraction, multiplier(suffix)?).min(MAX);
        Some(Quantity(if negative { -magnitude } else { magnitude }))
    }
}

impl std::ops::AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

/// A factor as mantissa * 10^exponent.
#[derive(Clone, Copy)]
struct Factor {
    mantissa: i128,
    exponent: i32,
}

fn multiplier(suffix: &str) -> Option<Factor> {
    let decimal = |exponent| Some(Factor { mantissa: 1, exponent });
    let binary = |bits: u32| Some(Factor { mantissa: 1 << bits, exponent: 0 });
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => decimal(suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    }
}

/// whole.fraction * factor in units of 10^-9, rounded up; saturates far above [`MAX`].
fn scaled(whole: &str, fraction: &str, factor: Factor) -> i128 {
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    let exponent = factor.exponent.saturating_add(9).saturating_sub(fraction.len() as i32);
    if digits.len() as i32 + exponent.min(0) > 38 {
        return i128::MAX;
    }
    // More digits than an i128 holds only matter as "not zero" once they are shifted out.
    let kept = &digits[..digits.len().min(30)];
    let exponent = exponent.saturating_add((digits.len() - kept.len()) as i32);
    let mantissa: i128 = kept.parse().expect("at most 30 ASCII digits");
    let value = mantissa.saturating_mul(factor.mantissa);
    match u32::try_from(exponent) {
        Ok(up) => 10i128.checked_pow(up).map_or(i128::MAX, |p| value.saturating_mul(p)),
        Err(_) => 10i128.checked_pow(exponent.unsigned_abs()).map_or(1, |p| value / p + i128::from(value % p != 0)),
    }
}

fn away_from_zero(nano: i128, unit: i128) -> i64 {
    let rounded = nano / unit + (nano % unit).signum();
    rounded.clamp(i64::MIN as i128, i64::MAX as i128) as i64
}

/// The quantities of an API resource map; what is not a quantity counts as zero (the API server
/// does not let such objects in).
pub(crate) fn list(texts: Option<&BTreeMap<String, Text>>) -> ResourceList {
    let parsed = |text: &Text| Quantity::parse(&text.0).unwrap_or_default();
    texts.into_iter().flatten().map(|(name, text)| (name.clone(), parsed(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_up_as_upstream_does() {
        for (text, value, milli) in [
            ("0", 0, 0),
            ("1", 1, 1000),
            ("100m", 1, 100),
            ("1500m", 2, 1500),
            ("0.1", 1, 100),
            (".5", 1, 500),
            ("5.", 5, 5000),
            ("1n", 1, 1),
            ("1u", 1, 1),
            ("0.0000000001", 1, 1),
            ("-1500m", -2, -1500),
            ("+2", 2, 2000),
            ("1Ki", 1024, 1_024_000),
            ("1.5Gi", 1_610_612_736, 1_610_612_736_000),
            ("128974848", 128_974_848, 128_974_848_000),
            ("129e6", 129_000_000, 129_000_000_000),
            ("1E", 1_000_000_000_000_000_000, i64::MAX),
            ("1E3", 1000, 1_000_000),
            ("1e-3", 1, 1),
            ("8Ei", i64::MAX, i64::MAX),
            ("99999999999999999999999999999999999999999999", i64::MAX, i64::MAX),
        ] {
            let quantity = Quantity::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((quantity.value(), quantity.milli_value()), (value, milli), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "-", "m", "1.2.3", "1x", "1 Gi", "e3", "1ee3", "1KiB"] {
            assert_eq!(Quantity::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn sums_are_exact_before_they_are_rounded() {
        let mut sum = Quantity::parse("0.5m").unwrap();
        sum += Quantity::parse("0.5m").unwrap();
        assert_eq!(sum.milli_value(), 1);
    }
}
