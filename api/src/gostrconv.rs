//! Whole numbers as Go reads them (strconv.ParseUint and ParseInt of base 0, 64 bits).
//!
//! Pure.

/// Why a text is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Not of the form.
    Syntax,
    /// Of the form, and not within 64 bits.
    Range,
}

/// Digits of base 10, or with a prefix of their base (`0x`, `0o`, `0b`, `0`); underscores may stand between digits
/// and after a prefix.
///
/// # Errors
/// What is wrong with the text.
pub fn unsigned(text: &str) -> Result<u64, Wrong> {
    let lower = text.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    let prefixed = digits.len() < lower.len();
    let ok = |(at, byte): (usize, u8)| {
        (byte as char).is_digit(base)
            || (byte == b'_'
                && (at > 0 || prefixed)
                && digits.as_bytes().get(at + 1).is_some_and(u8::is_ascii_alphanumeric))
    };
    if digits.is_empty() || !digits.bytes().enumerate().all(ok) {
        return Err(Wrong::Syntax);
    }
    u64::from_str_radix(&digits.replace('_', ""), base).map_err(|_| Wrong::Range)
}

/// As [`unsigned`], with a sign or without one.
///
/// # Errors
/// What is wrong with the text.
pub fn signed(text: &str) -> Result<i64, Wrong> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(sign @ (b'+' | b'-')) => (*sign == b'-', &text[1..]),
        _ => (false, text),
    };
    let magnitude = i128::from(unsigned(digits)?);
    i64::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| Wrong::Range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_go_s() {
        use Wrong::{Range, Syntax};
        let max = u64::MAX;
        for (text, without, with) in [
            ("0", Ok(0), Ok(0)),
            ("017", Ok(15), Ok(15)),
            ("09", Err(Syntax), Err(Syntax)),
            ("0x_fF", Ok(255), Ok(255)),
            ("0b1_0", Ok(2), Ok(2)),
            ("0o", Err(Syntax), Err(Syntax)),
            ("_1", Err(Syntax), Err(Syntax)),
            ("1__0", Err(Syntax), Err(Syntax)),
            ("1_", Err(Syntax), Err(Syntax)),
            ("", Err(Syntax), Err(Syntax)),
            ("+1", Err(Syntax), Ok(1)),
            ("-0x10", Err(Syntax), Ok(-16)),
            ("+-1", Err(Syntax), Err(Syntax)),
            ("-9223372036854775808", Err(Syntax), Ok(i64::MIN)),
            ("9223372036854775808", Ok(1 << 63), Err(Range)),
            ("18446744073709551615", Ok(max), Err(Range)),
            ("18446744073709551616", Err(Range), Err(Range)),
        ] {
            assert_eq!((unsigned(text), signed(text)), (without, with), "{text}");
        }
    }
}
