//! What literals of numbers, strings and bytes mean.
//!
//! Invariant: the values and error texts of cel-go's `parser/unescape.go` and `strconv`.
//! Non-goal: where literals end; the lexer knows.

/// The value of a string literal as written, quotes and prefix `r` included; bytes when `bytes`.
pub(super) fn unescape(literal: &str, bytes: bool) -> Result<Vec<u8>, &'static str> {
    let literal = literal.replace("\r\n", "\n").replace('\r', "\n");
    let raw = literal.starts_with(['r', 'R']);
    let quoted = &literal[usize::from(raw)..];
    let triple = quoted.len() >= 6 && (quoted.starts_with("'''") || quoted.starts_with("\"\"\""));
    let width = if triple { 3 } else { 1 };
    let inner = quoted.get(width..quoted.len().saturating_sub(width)).ok_or("unable to unescape string")?;
    if raw || !inner.contains('\\') {
        return Ok(inner.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(char) = rest.next() {
        match char {
            '\\' => escape(&mut rest, bytes, &mut out)?,
            char => push(char, &mut out),
        }
    }
    Ok(out)
}

fn push(char: char, out: &mut Vec<u8>) {
    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

fn escape(rest: &mut std::str::Chars<'_>, bytes: bool, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let kind = rest.next().ok_or("unable to unescape string, found '\\' as last character")?;
    let simple = match kind {
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        '\\' | '\'' | '"' | '`' | '?' => Some(kind),
        _ => None,
    };
    if let Some(char) = simple {
        push(char, out);
        return Ok(());
    }
    let code = match kind {
        'x' | 'X' => digits(rest, 2, 16, 0)?,
        'u' if !bytes => digits(rest, 4, 16, 0)?,
        'U' if !bytes => digits(rest, 8, 16, 0)?,
        '0'..='3' => digits(rest, 2, 8, kind as u32 - '0' as u32)?,
        _ => return Err("unable to unescape string"),
    };
    match bytes {
        true => out.push(code as u8),
        false => push(char::from_u32(code).ok_or("invalid unicode code point")?, out),
    }
    Ok(())
}

fn digits(rest: &mut std::str::Chars<'_>, count: usize, base: u32, first: u32) -> Result<u32, &'static str> {
    let error = if base == 8 { "unable to unescape octal sequence in string" } else { "unable to unescape string" };
    (0..count).try_fold(first, |code, _| {
        let digit = rest.next().and_then(|char| char.to_digit(base)).ok_or(error)?;
        Ok(code.wrapping_mul(base).wrapping_add(digit))
    })
}

pub(super) fn int(text: &str, negative: bool) -> Option<i64> {
    let (digits, base) = split_base(text);
    let magnitude = u64::from_str_radix(digits, base).ok()?;
    match negative {
        true if magnitude == 1 << 63 => Some(i64::MIN),
        true => i64::try_from(magnitude).ok().map(|value| -value),
        false => i64::try_from(magnitude).ok(),
    }
}

pub(super) fn uint(text: &str) -> Option<u64> {
    let (digits, base) = split_base(text.trim_end_matches(['u', 'U']));
    u64::from_str_radix(digits, base).ok()
}

fn split_base(text: &str) -> (&str, u32) {
    text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16))
}

/// None when out of range, as `strconv.ParseFloat` has it.
pub(super) fn double(text: &str, negative: bool) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    value.is_finite().then_some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        let cases = [
            (r"'a\nb'", "a\nb"),
            (r#""""a"b""""#, "a\"b"),
            (r"r'\n'", r"\n"),
            (r"'\x41\u00e9\U0001F600\101'", "Aé😀A"),
            ("'''a\r\nb\rc'''", "a\nb\nc"),
            (r"'\?\`\''", "?`'"),
            ("''", ""),
        ];
        for (literal, want) in cases {
            assert_eq!(unescape(literal, false).as_deref(), Ok(want.as_bytes()), "{literal}");
        }
        assert_eq!(unescape(r"'\ud800'", false), Err("invalid unicode code point"));
    }

    #[test]
    fn bytes() {
        assert_eq!(unescape(r"'\xff\377é'", true), Ok(vec![0xff, 0xff, 0xc3, 0xa9]));
        assert_eq!(unescape(r"'\u0041'", true), Err("unable to unescape string"));
    }

    #[test]
    fn numbers() {
        assert_eq!(int("9223372036854775808", true), Some(i64::MIN));
        assert_eq!(int("9223372036854775808", false), None);
        assert_eq!(int("0x7f", false), Some(127));
        assert_eq!(uint("0xFFu"), Some(255));
        assert_eq!(double("1e400", false), None);
    }
}
