//! Quantities: fixed-point numbers with a remembered suffix family, as `2Gi`, `100m` or `12e6`.
//!
//! Invariant: text and numbers are exactly those of `k8s.io/apimachinery/pkg/api/resource@v0.37.2`, odd corners included,
//! because the canonical text is what lands in etcd and in server-side apply's comparisons. Amounts are exact to a nano.
//! Non-goal: unit conversion or floating point.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use num_bigint::{BigInt, Sign};

/// Why a text is not a quantity; the texts are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The family of suffixes a quantity is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySI,
    /// `12M`
    DecimalSI,
}

/// Decimal exponent of the smallest amount a quantity can hold; smaller ones round up to it.
const NANO: i32 = -9;
const MILLI: i32 = -3;
/// Decimal digits that always fit an i64.
const I64_DIGITS: usize = 18;
/// Decimal digits an i128 product of an i64 and a power of ten can take.
const I128_SHIFT: u32 = 18;
/// Most decimal digits an amount is widened by to bring two exponents together. Texts such as `1e2000000000` are legal;
/// upstream would fill memory with zeros for them.
const MAX_WIDENING: u64 = 4096;
const DECIMAL_SUFFIXES: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY_SUFFIXES: [(&str, i32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// `value * 10^scale`; upstream's int64Amount and infDecAmount, kept apart because their rounding and overflow differ.
#[derive(Debug, Clone)]
enum Amount {
    Small { value: i64, scale: i32 },
    Big { value: BigInt, scale: i64 },
}

/// A parsed quantity. Compares by value, whatever the format.
#[derive(Debug, Clone)]
pub struct Quantity {
    amount: Amount,
    format: Format,
    /// The text as written, where upstream gives it back unchanged although it is not canonical (`1.500`, `+1`, `1E3`).
    text: Option<Box<str>>,
}

/// The text upstream's Quantity marshals to after unmarshalling `text`: canonical but for the forms upstream repeats.
///
/// Borrows when the text is already what comes out. Surrounding white space is dropped as `UnmarshalJSON` does.
pub fn canonical(text: &str) -> Result<Cow<'_, str>, Error> {
    let text = text.trim();
    if is_plainly_canonical(text) {
        return Ok(Cow::Borrowed(text));
    }
    let canonical = Quantity::parse(text)?.to_string();
    Ok(if canonical == text { Cow::Borrowed(text) } else { Cow::Owned(canonical) })
}

/// True for the common forms (`0`, `1`, `100m`, `64Mi`) that are their own canonical text; false means only "look closer".
fn is_plainly_canonical(text: &str) -> bool {
    if text == "0" {
        return true;
    }
    let bytes = text.as_bytes();
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > I64_DIGITS || bytes[0] == b'0' {
        return false;
    }
    match &bytes[digits..] {
        b"" | b"m" | b"k" | b"M" | b"G" | b"T" | b"P" | b"E" | b"u" | b"n" => !bytes[..digits].ends_with(b"000"),
        [unit @ (b'K' | b'M' | b'G' | b'T' | b'P' | b'E'), b'i'] => {
            let shift = 10 * (1 + b"KMGTPE".iter().position(|known| known == unit).unwrap_or_default());
            let value = bytes[..digits].iter().fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
            value % 1024 != 0 && value <= i64::MAX >> shift
        }
        _ => false,
    }
}

/// A quantity's text taken apart. Every part is a slice of the text.
struct Parts<'a> {
    negative: bool,
    /// Sign, integer and fraction as written.
    number: &'a str,
    /// Integer digits without leading zeros; `0` when none remain.
    integer: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

impl<'a> Parts<'a> {
    /// Splits as permissively as upstream: `.`, `-` and `k` are all zero.
    fn split(text: &'a str) -> Result<Self, Error> {
        let bytes = text.as_bytes();
        let run = |from: usize, wanted: fn(&u8) -> bool| from + bytes[from..].iter().take_while(|b| wanted(b)).count();
        let signed = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
        let negative = bytes.first() == Some(&b'-');
        let start = run(signed, |byte| *byte == b'0');
        if start == bytes.len() {
            return Ok(Parts { negative, number: "0", integer: "0", fraction: "", suffix: "" });
        }
        let point = run(start, u8::is_ascii_digit);
        let integer = if point > start { &text[start..point] } else { "0" };
        let (fraction, end) = match bytes.get(point) {
            Some(b'.') => {
                let end = run(point + 1, u8::is_ascii_digit);
                (&text[point + 1..end], end)
            }
            _ => ("", point),
        };
        let sign = run(end, |byte| b"eEinumkKMGTP".contains(byte));
        let exponent = sign + usize::from(matches!(bytes.get(sign), Some(b'-' | b'+')));
        if run(exponent, u8::is_ascii_digit) != bytes.len() {
            return Err(Error::Format);
        }
        Ok(Parts { negative, number: &text[..end], integer, fraction, suffix: &text[end..] })
    }
}

/// Exponent (of two for BinarySI, else of ten) and format a suffix stands for.
fn interpret(suffix: &str) -> Option<(i32, Format)> {
    if let Some((_, exponent)) = DECIMAL_SUFFIXES.iter().find(|(known, _)| *known == suffix) {
        return Some((*exponent, Format::DecimalSI));
    }
    if let Some((_, exponent)) = BINARY_SUFFIXES.iter().find(|(known, _)| *known == suffix) {
        return Some((*exponent, Format::BinarySI));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?.parse::<i64>().ok()?;
    // Upstream truncates to 32 bits.
    Some((exponent as i32, Format::DecimalExponent))
}

impl Quantity {
    /// Upstream's `ParseQuantity`.
    pub fn parse(text: &str) -> Result<Quantity, Error> {
        if text.is_empty() {
            return Err(Error::Format);
        }
        let parts = Parts::split(text)?;
        let (exponent, format) = interpret(parts.suffix).ok_or(Error::Suffix)?;
        match parse_small(&parts, exponent, format) {
            Some((amount, repeated)) => {
                let unusual = text.contains(['.', '+', 'e', 'E']) || text.trim_start_matches('-').starts_with('0');
                Ok(Quantity { amount, format, text: (repeated && unusual).then(|| text.into()) })
            }
            None => parse_big(&parts, exponent, format),
        }
    }

    /// Upstream's `NewQuantity`.
    pub fn from_i64(value: i64, format: Format) -> Quantity {
        Quantity { amount: Amount::Small { value, scale: 0 }, format, text: None }
    }

    /// Upstream's `NewMilliQuantity`.
    pub fn from_milli(value: i64, format: Format) -> Quantity {
        Quantity { amount: Amount::Small { value, scale: MILLI }, format, text: None }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn is_zero(&self) -> bool {
        self.sign() == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        match &self.amount {
            Amount::Small { value, .. } => value.signum() as i32,
            Amount::Big { value, .. } => sign_of(value),
        }
    }

    /// The amount rounded up to whole units. Out of range it is what upstream's `Value` gives, 0 or a wrapped number:
    /// compare quantities, not values, where that matters.
    pub fn value(&self) -> i64 {
        self.amount.scaled(0)
    }

    /// The amount rounded up to thousandths; overflow as for [`Quantity::value`].
    pub fn milli_value(&self) -> i64 {
        self.amount.scaled(MILLI)
    }

    /// Upstream's `AsInt64`: the amount when it is kept as whole units, None for all others even if they are whole.
    pub fn as_i64(&self) -> Option<i64> {
        match &self.amount {
            Amount::Small { value, scale } if *scale >= 0 => pow10_i64(i64::from(*scale))?.checked_mul(*value),
            _ => None,
        }
    }

    /// Upstream's `AsApproximateFloat64`.
    pub fn as_approximate_f64(&self) -> f64 {
        let (base, exponent) = match &self.amount {
            Amount::Small { value, scale } => (*value as f64, i64::from(*scale)),
            Amount::Big { value, scale } => (value.to_string().parse().unwrap_or(f64::INFINITY), *scale),
        };
        match i32::try_from(exponent) {
            Ok(0) => base,
            // The nearest double to the power, as Go's table has it.
            Ok(exponent) => base * format!("1e{exponent}").parse().unwrap_or(f64::INFINITY),
            Err(_) => base * if exponent > 0 { f64::INFINITY } else { 0.0 },
        }
    }

    /// The exact amount in billionths, saturating at the ends of i128.
    pub fn as_nanos(&self) -> i128 {
        let saturated = if self.sign() < 0 { i128::MIN } else { i128::MAX };
        let widen = |value: i128, by: i64| {
            let factor = u32::try_from(by).ok().and_then(|by| 10i128.checked_pow(by));
            if value == 0 { 0 } else { factor.and_then(|factor| value.checked_mul(factor)).unwrap_or(saturated) }
        };
        match &self.amount {
            Amount::Small { value, scale } => widen(i128::from(*value), i64::from(*scale) - i64::from(NANO)),
            Amount::Big { value, scale } => {
                i128::try_from(value).map_or(saturated, |value| widen(value, scale - i64::from(NANO)))
            }
        }
    }

    /// Adds `other`; a zero takes over the other's format.
    pub fn add(&mut self, other: &Quantity) {
        self.combine(other, self.amount.plus(&other.amount));
    }

    /// Subtracts `other`; a zero takes over the other's format.
    pub fn sub(&mut self, other: &Quantity) {
        self.combine(other, self.amount.minus(&other.amount));
    }

    fn combine(&mut self, other: &Quantity, amount: Amount) {
        if self.is_zero() {
            self.format = other.format;
        }
        self.text = None;
        self.amount = amount;
    }

    pub fn neg(&mut self) {
        self.text = None;
        self.amount = self.amount.negated();
    }
}

/// Upstream's fast path: amounts that surely fit an i64. The flag tells that upstream will repeat the text as written.
fn parse_small(parts: &Parts<'_>, exponent: i32, format: Format) -> Option<(Amount, bool)> {
    let digits = parts.integer.len() + parts.fraction.len();
    let binary = format == Format::BinarySI;
    let room = match binary {
        // The factor itself takes about three tenths of its exponent in decimal digits.
        true if parts.fraction.is_empty() => 14usize.checked_sub(exponent as usize * 3 / 10)?,
        true => return None,
        false => I64_DIGITS,
    };
    if digits > room {
        return None;
    }
    let scale = (if binary { 0 } else { exponent }).checked_sub(parts.fraction.len() as i32)?;
    if scale < NANO {
        return None;
    }
    let value =
        parts.integer.bytes().chain(parts.fraction.bytes()).fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let amount = if binary { value.checked_mul(1 << exponent)? } else { value };
    let repeated = match binary {
        true => value & 7 != 0,
        false => scale % 3 == 0 && value % 1000 != 0 && !parts.integer.starts_with('0'),
    };
    Some((Amount::Small { value: if parts.negative { -amount } else { amount }, scale }, repeated))
}

/// Everything that does not surely fit an i64, or has a binary suffix and a fraction.
fn parse_big(parts: &Parts<'_>, exponent: i32, mut format: Format) -> Result<Quantity, Error> {
    let unsigned = parts.number.trim_start_matches(['+', '-']);
    let (integer, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = [integer, fraction].concat();
    let mut value = BigInt::parse_bytes(digits.as_bytes(), 10).ok_or(Error::Numeric)?;
    let mut scale = -(fraction.len() as i64);
    match format {
        Format::BinarySI => value <<= exponent as usize,
        _ => scale += i64::from(exponent),
    }
    if value.sign() != Sign::NoSign {
        (value, scale) = round_up(value, scale, i64::from(NANO));
    }
    if format == Format::BinarySI {
        let limit = BigInt::from(i64::MAX);
        let above = |other: &BigInt| compare((&value, scale), (other, 0)) == Ordering::Greater;
        if above(&limit) {
            (value, scale) = (limit, 0);
        } else if value.sign() == Sign::Plus && compare((&value, scale), (&BigInt::from(1), 0)) == Ordering::Less {
            // Below one there is no binary suffix to write it with.
            format = Format::DecimalSI;
        }
    }
    let value = if parts.negative { -value } else { value };
    Ok(Quantity { amount: Amount::Big { value, scale }, format, text: None })
}

fn sign_of(value: &BigInt) -> i32 {
    match value.sign() {
        Sign::Minus => -1,
        Sign::NoSign => 0,
        Sign::Plus => 1,
    }
}

fn power(exponent: u64) -> BigInt {
    BigInt::from(10).pow(u32::try_from(exponent).unwrap_or(u32::MAX))
}

/// Bounds of the decimal logarithm of a magnitude, from its bits: at least the first, below the second.
fn magnitude(value: &BigInt) -> (i64, i64) {
    let bits = value.bits() as i64;
    ((bits - 1).max(0) * 30102 / 100_000, bits * 30103 / 100_000 + 1)
}

/// `value * 10^scale` at exactly the scale `to`, away from zero; left alone when that would take unreasonable memory.
fn round_up(value: BigInt, scale: i64, to: i64) -> (BigInt, i64) {
    if scale >= to {
        let by = (scale - to) as u64;
        return if by > MAX_WIDENING { (value, scale) } else { (value * power(by), to) };
    }
    if value.sign() == Sign::NoSign {
        return (value, to);
    }
    let sign = sign_of(&value);
    if magnitude(&value).1 <= to - scale {
        return (BigInt::from(sign), to);
    }
    let divisor = power((to - scale) as u64);
    let quotient = &value / &divisor;
    let exact = &quotient * &divisor == value;
    (if exact { quotient } else { quotient + sign }, to)
}

fn compare(a: (&BigInt, i64), b: (&BigInt, i64)) -> Ordering {
    let signs = sign_of(a.0).cmp(&sign_of(b.0));
    if signs != Ordering::Equal || a.0.sign() == Sign::NoSign {
        return signs;
    }
    let by_size = |larger: Ordering| if a.0.sign() == Sign::Minus { larger.reverse() } else { larger };
    let ((a_low, a_high), (b_low, b_high)) = (magnitude(a.0), magnitude(b.0));
    if a_low + a.1 > b_high + b.1 {
        return by_size(Ordering::Greater);
    }
    if b_low + b.1 > a_high + a.1 {
        return by_size(Ordering::Less);
    }
    // The exponents are now at most the length of the numbers apart.
    match a.1.cmp(&b.1) {
        Ordering::Equal => a.0.cmp(b.0),
        Ordering::Greater => (a.0 * power((a.1 - b.1) as u64)).cmp(b.0),
        Ordering::Less => a.0.cmp(&(b.0 * power((b.1 - a.1) as u64))),
    }
}

/// The low 64 bits, two's complement: Go's `big.Int.Int64`.
fn low_bits(value: &BigInt) -> i64 {
    let low = value.iter_u64_digits().next().unwrap_or_default() as i64;
    if value.sign() == Sign::Minus { low.wrapping_neg() } else { low }
}

fn pow10_i64(exponent: i64) -> Option<i64> {
    10i64.checked_pow(u32::try_from(exponent).ok()?)
}

impl Amount {
    fn big(&self) -> (Cow<'_, BigInt>, i64) {
        match self {
            Amount::Small { value, scale } => (Cow::Owned(BigInt::from(*value)), i64::from(*scale)),
            Amount::Big { value, scale } => (Cow::Borrowed(value), *scale),
        }
    }

    fn negated(&self) -> Amount {
        match self {
            Amount::Small { value, scale } => Amount::Small { value: value.wrapping_neg(), scale: *scale },
            Amount::Big { value, scale } => Amount::Big { value: -value, scale: *scale },
        }
    }

    fn plus(&self, other: &Amount) -> Amount {
        self.small_plus(other).unwrap_or_else(|| self.big_plus(other))
    }

    /// The least i64 has no opposite: upstream keeps it among small amounts and takes it as it is among large ones.
    fn minus(&self, other: &Amount) -> Amount {
        self.small_plus(&other.negated()).unwrap_or_else(|| {
            let (value, scale) = other.big();
            self.big_plus(&Amount::Big { value: -value.into_owned(), scale })
        })
    }

    /// The sum if an i64 holds it.
    fn small_plus(&self, other: &Amount) -> Option<Amount> {
        let (Amount::Small { value: a, scale: a_scale }, Amount::Small { value: b, scale: b_scale }) = (self, other)
        else {
            return None;
        };
        if *b == 0 {
            return Some(self.clone());
        }
        if *a == 0 {
            return Some(other.clone());
        }
        let scale = *a_scale.min(b_scale);
        let at_scale = |value: i64, from: i32| pow10_i64(i64::from(from) - i64::from(scale))?.checked_mul(value);
        let value = at_scale(*a, *a_scale)?.checked_add(at_scale(*b, *b_scale)?)?;
        Some(Amount::Small { value, scale })
    }

    fn big_plus(&self, other: &Amount) -> Amount {
        let ((a, a_scale), (b, b_scale)) = (self.big(), other.big());
        let scale = a_scale.min(b_scale);
        let (a_by, b_by) = ((a_scale - scale) as u64, (b_scale - scale) as u64);
        if a_by.max(b_by) > MAX_WIDENING && sign_of(&a) != 0 && sign_of(&b) != 0 {
            // The smaller one is thousands of digits below the larger: keep the larger.
            return if a_by > b_by { self.clone() } else { other.clone() };
        }
        let widened = |value: &BigInt, by: u64| if sign_of(value) == 0 { BigInt::ZERO } else { value * power(by) };
        Amount::Big { value: widened(&a, a_by) + widened(&b, b_by), scale }
    }

    /// `ceil(self / 10^to)` with upstream's overflow (`ScaledValue`).
    fn scaled(&self, to: i32) -> i64 {
        match self {
            Amount::Small { value, scale } if *scale < to => {
                let Some(divisor) = pow10_i64(i64::from(to) - i64::from(*scale)) else { return value.signum() };
                value / divisor + (value % divisor).signum()
            }
            Amount::Small { value, scale } => small_widened(*value, i64::from(*scale) - i64::from(to)),
            Amount::Big { value, scale } => big_scaled(value, *scale, i64::from(to)),
        }
    }
}

/// `value * 10^by`. Out of range it wraps for the powers upstream multiplies by at once, and is 0 for the others.
fn small_widened(value: i64, by: i64) -> i64 {
    let factor = pow10_i64(by);
    if let Some(product) = factor.and_then(|factor| value.checked_mul(factor)) {
        return product;
    }
    match factor {
        Some(factor) if matches!(by, 1 | 2 | 3 | 6 | 9) && value != i64::MIN => value.wrapping_mul(factor),
        _ => 0,
    }
}

fn big_scaled(value: &BigInt, scale: i64, to: i64) -> i64 {
    if scale >= to {
        // Go converts a power that is too large for an int64 to the lowest one.
        return low_bits(value).wrapping_mul(pow10_i64(scale - to).unwrap_or(i64::MIN));
    }
    if *value < BigInt::from(i64::MAX)
        && let Some(divisor) = pow10_i64(to - scale)
    {
        // Upstream adds one to a negative inexact quotient too, though it is already rounded up.
        let low = low_bits(value);
        return low / divisor + i64::from(low % divisor != 0);
    }
    let divisor = power((to - scale) as u64);
    let quotient = value / &divisor;
    let remainder = value - &quotient * &divisor;
    // Division truncates, so only a positive remainder is still to be rounded up.
    low_bits(&quotient).wrapping_add(i64::from(remainder.sign() == Sign::Plus))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return f.write_str(text);
        }
        if self.is_zero() {
            return f.write_str("0");
        }
        match self.format {
            Format::BinarySI => match self.binary_digits() {
                Some((digits, suffix)) => write!(f, "{digits}{suffix}"),
                None => self.write_decimal(f, Format::DecimalSI),
            },
            format => self.write_decimal(f, format),
        }
    }
}

impl Quantity {
    /// Digits and suffix in powers of 1024, or nothing for amounts below 1024 or with a fraction.
    fn binary_digits(&self) -> Option<(String, &'static str)> {
        let (value, scale) = self.amount.big();
        let limit = BigInt::from(1024);
        if compare((&BigInt::from(value.magnitude().clone()), scale), (&limit, 0)) == Ordering::Less {
            return None;
        }
        let (rounded, at) = round_up(value.clone().into_owned(), scale, 0);
        if at != 0 || compare((&rounded, 0), (&value, scale)) != Ordering::Equal {
            return None;
        }
        let mut twos = rounded.trailing_zeros().unwrap_or(0) / 10;
        if matches!(self.amount, Amount::Small { .. }) && rounded == BigInt::from(i64::MIN) {
            // Upstream cannot negate it to take factors out.
            twos = 0;
        }
        let suffix = (twos as usize).checked_sub(1).and_then(|index| BINARY_SUFFIXES.get(index)).map_or("", |(s, _)| s);
        Some(((rounded >> (10 * twos)).to_string(), suffix))
    }

    /// Writes with an exponent that is a multiple of three and as large as it can be.
    fn write_decimal(&self, f: &mut fmt::Formatter<'_>, format: Format) -> fmt::Result {
        let (digits, scale) = match &self.amount {
            Amount::Small { value, scale } => (value.to_string(), i64::from(*scale)),
            Amount::Big { value, scale } => (value.to_string(), *scale),
        };
        let significant = digits.trim_end_matches('0');
        let exponent = scale + (digits.len() - significant.len()) as i64;
        let padding = exponent.rem_euclid(3);
        let exponent = exponent - padding;
        f.write_str(significant)?;
        f.write_str(&"00"[..padding as usize])?;
        match format {
            Format::DecimalExponent if exponent != 0 => write!(f, "e{exponent}"),
            Format::DecimalExponent => Ok(()),
            // Past exa upstream finds no suffix and writes none (`1000E` becomes `1`).
            _ => f.write_str(
                DECIMAL_SUFFIXES
                    .iter()
                    .find(|(_, known)| i64::from(*known) == exponent)
                    .map_or("", |(suffix, _)| suffix),
            ),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Amount::Small { value: a, scale: a_scale }, Amount::Small { value: b, scale: b_scale }) =
            (&self.amount, &other.amount)
        {
            let apart = a_scale.abs_diff(*b_scale);
            if apart <= I128_SHIFT {
                let factor = 10i128.pow(apart);
                let (a_by, b_by) = if a_scale > b_scale { (factor, 1) } else { (1, factor) };
                return (i128::from(*a) * a_by).cmp(&(i128::from(*b) * b_by));
            }
        }
        let ((a, a_scale), (b, b_scale)) = (self.amount.big(), other.amount.big());
        compare((&a, a_scale), (&b, b_scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        Quantity::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn canonical_text() {
        let cases = [
            // Already canonical.
            ("0", "0"),
            ("1", "1"),
            ("100m", "100m"),
            ("64Mi", "64Mi"),
            ("2Gi", "2Gi"),
            ("1e3", "1e3"),
            ("1500m", "1500m"),
            // Moved to the largest suffix.
            ("1000m", "1"),
            ("1024Ki", "1Mi"),
            ("0.5", "500m"),
            ("0.5Gi", "512Mi"),
            ("1.5Gi", "1536Mi"),
            ("100000", "100k"),
            ("12.3e3", "12300"),
            ("1048576Ki", "1Gi"),
            ("1e2", "100"),
            ("0.1Mi", "104857600m"),
            ("1.1Mi", "1153433600m"),
            // Rounded up to a nano, away from zero.
            ("1.1E-9", "2e-9"),
            ("0.0000000001", "1n"),
            ("-0.0000000001", "-1n"),
            ("4.001n", "5n"),
            ("0.0001Ki", "102400u"),
            // Capped, binary only.
            ("100Ei", "9223372036854775807"),
            ("9223372036854775808Ki", "9223372036854775807"),
            ("-9223372036854775808Ki", "-9223372036854775807"),
            ("9223372036854775808", "9223372036854775808"),
            ("123456789012345678901234567891", "123456789012345678901234567891"),
            // Repeated as written though not canonical.
            ("+1", "+1"),
            ("01", "01"),
            ("1.500", "1.500"),
            ("1.001", "1.001"),
            ("1E3", "1E3"),
            ("1e0", "1e0"),
            // No digits, or none that count, are zero.
            (".", "0"),
            ("-", "0"),
            ("k", "0"),
            ("0.0Gi", "0"),
            ("-0k", "0"),
            // No suffix past exa.
            ("1000E", "1"),
            ("1000e18", "1e21"),
            // What would fill memory upstream.
            ("12345678901234567891e2147483646", "12345678901234567891e2147483646"),
            ("1e-2000000000", "1e-9"),
            (" 1 ", "1"),
        ];
        for (text, want) in cases {
            assert_eq!(canonical(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn canonical_text_is_borrowed() {
        for text in ["0", "1", "100m", "64Mi", "2Gi", "1536Mi", "250k", "1e3", "1.500"] {
            assert!(matches!(canonical(text), Ok(Cow::Borrowed(_))), "{text}");
        }
    }

    #[test]
    fn refused() {
        let cases = [
            ("", Error::Format),
            ("1.1.M", Error::Format),
            ("1+1.0M", Error::Format),
            ("0.1mi", Error::Suffix),
            ("0.1am", Error::Format),
            ("aoeu", Error::Format),
            (".5i", Error::Suffix),
            ("1i", Error::Suffix),
            ("-3.01i", Error::Suffix),
            ("-3.01e-", Error::Suffix),
            ("1e", Error::Suffix),
            ("1 1", Error::Format),
            ("5é", Error::Format),
            ("Pi", Error::Numeric),
        ];
        for (text, want) in cases {
            assert_eq!(Quantity::parse(text).err(), Some(want), "{text}");
        }
    }

    #[test]
    fn values() {
        let cases = [
            ("1", 1, 1000),
            ("1.5", 2, 1500),
            ("-1.5", -2, -1500),
            ("100m", 1, 100),
            ("1n", 1, 1),
            ("0.5Gi", 536_870_912, 536_870_912_000),
            ("0.1Mi", 104_858, 104_857_600),
            // Overflow: wrapped where upstream multiplies at once, else 0.
            ("1e20", 0, 0),
            ("9223372036854775807", i64::MAX, -1000),
            ("9223372036854775e3", 9_223_372_036_854_775_000, -808_000),
        ];
        for (text, value, milli) in cases {
            let parsed = quantity(text);
            assert_eq!((parsed.value(), parsed.milli_value()), (value, milli), "{text}");
        }
    }

    #[test]
    fn ordered_by_value() {
        let ascending = [
            "-1e2000000000",
            "-1Ki",
            "-1",
            "-1n",
            "0",
            "1n",
            "999m",
            "1",
            "1001m",
            "1k",
            "1Ki",
            "1e19",
            "1e2000000000",
        ];
        for pair in ascending.windows(2) {
            assert!(quantity(pair[0]) < quantity(pair[1]), "{pair:?}");
        }
        for (a, b) in
            [("1024Ki", "1Mi"), ("0.5", "500m"), ("1e3", "1k"), ("0", "0Gi"), ("10e18", "10000000000000000000")]
        {
            assert_eq!(quantity(a), quantity(b));
        }
    }

    #[test]
    fn sums() {
        let cases = [
            ("1", "1m", "1001m", "999m"),
            ("1Gi", "1Mi", "1025Mi", "1023Mi"),
            ("0", "1Ki", "1Ki", "-1Ki"),
            ("1Ki", "0", "1Ki", "1Ki"),
            ("9223372036854775807", "1", "9223372036854775808", "9223372036854775806"),
            ("100Ei", "100Ei", "18446744073709551614", "0"),
            ("4Ei", "4Ei", "8Ei", "0"),
            ("1e2000000000", "1", "100e1999999998", "100e1999999998"),
        ];
        for (a, b, sum, difference) in cases {
            let (mut added, mut subtracted) = (quantity(a), quantity(a));
            added.add(&quantity(b));
            subtracted.sub(&quantity(b));
            assert_eq!((added.to_string().as_str(), subtracted.to_string().as_str()), (sum, difference), "{a}, {b}");
        }
        let mut negated = quantity("+1.500");
        negated.neg();
        assert_eq!((negated.to_string().as_str(), negated.sign(), negated.is_zero()), ("-1500m", -1, false));
    }

    #[test]
    fn from_numbers() {
        let cases = [
            (Quantity::from_i64(1 << 30, Format::BinarySI), "1Gi"),
            (Quantity::from_i64(1023, Format::BinarySI), "1023"),
            (Quantity::from_i64(1_000_000, Format::DecimalExponent), "1e6"),
            (Quantity::from_milli(1500, Format::DecimalSI), "1500m"),
            (Quantity::from_milli(2_048_000, Format::BinarySI), "2Ki"),
            (Quantity::from_milli(2_048_001, Format::BinarySI), "2048001m"),
            (Quantity::from_i64(i64::MIN, Format::BinarySI), "-9223372036854775808"),
        ];
        for (made, want) in cases {
            assert_eq!(made.to_string(), want);
        }
        let whole = ["10", "1k", "1Ki", "1000m", "10E", "99999999999999999999"].map(|text| quantity(text).as_i64());
        assert_eq!(whole, [Some(10), Some(1000), Some(1024), None, None, None]);
        let doubles = ["1.5", "50k", "1e2000000000", "-1n"].map(|text| quantity(text).as_approximate_f64());
        assert_eq!(doubles, [1.5, 50_000.0, f64::INFINITY, -1e-9]);
        let least = Quantity::from_i64(i64::MIN, Format::DecimalSI);
        let differences = ["-5", "5"].map(|text| {
            let mut amount = quantity(text);
            amount.sub(&least);
            amount.to_string()
        });
        assert_eq!(differences, ["9223372036854775803", "-9223372036854775803"]);
        assert_eq!(quantity("1.5").as_nanos(), 1_500_000_000);
        assert_eq!(quantity("-1e40").as_nanos(), i128::MIN);
    }
}
