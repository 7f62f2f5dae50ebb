//! Tokens of CEL.
//!
//! Invariant: the longest match wins and, among equals, the first rule of cel-go's grammar (`parser/gen/CEL.g4`).
//! Non-goal: what literals mean; `text.rs` knows.

use crate::source::Source;

/// The kinds of token, in the order ANTLR lists them in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rustfmt::skip]
pub(crate) enum Token {
    End, Equals, NotEquals, In, Less, LessEquals, GreaterEquals, Greater, And, Or,
    LeftBracket, RightBracket, LeftBrace, RightBrace, LeftParen, RightParen, Dot, Comma, Minus, Not, Question, Colon,
    Plus, Star, Slash, Percent, True, False, Null,
    Float, Int, Uint, String, Bytes, Ident, EscapedIdent,
}

/// A token and the code points it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lexeme {
    pub(crate) token: Token,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Code points that are no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unrecognized {
    pub(crate) start: usize,
    /// Just past the code point at which it was clear.
    pub(crate) end: usize,
}

const OPERATORS: [(&str, Token); 25] = [
    ("==", Token::Equals),
    ("!=", Token::NotEquals),
    ("<=", Token::LessEquals),
    (">=", Token::GreaterEquals),
    ("&&", Token::And),
    ("||", Token::Or),
    ("<", Token::Less),
    (">", Token::Greater),
    ("[", Token::LeftBracket),
    ("]", Token::RightBracket),
    ("{", Token::LeftBrace),
    ("}", Token::RightBrace),
    ("(", Token::LeftParen),
    (")", Token::RightParen),
    (".", Token::Dot),
    (",", Token::Comma),
    ("-", Token::Minus),
    ("!", Token::Not),
    ("?", Token::Question),
    (":", Token::Colon),
    ("+", Token::Plus),
    ("*", Token::Star),
    ("/", Token::Slash),
    ("%", Token::Percent),
    ("\u{0}", Token::End),
];

/// All tokens, the end included, and what could not be read between them.
pub(crate) fn tokens(source: &Source) -> (Vec<Lexeme>, Vec<Unrecognized>) {
    let text = source.chars();
    let (mut found, mut unread, mut at) = (Vec::new(), Vec::new(), 0);
    loop {
        at = skip_hidden(text, at);
        if at >= text.len() {
            found.push(Lexeme { token: Token::End, start: text.len(), end: text.len() });
            return (found, unread);
        }
        match scan(text, at) {
            Ok((token, end)) => {
                found.push(Lexeme { token, start: at, end });
                at = end;
            }
            Err(dead) => {
                let end = (dead + 1).min(text.len());
                unread.push(Unrecognized { start: at, end });
                at = end;
            }
        }
    }
}

/// Past white space and comments.
fn skip_hidden(text: &[char], mut at: usize) -> usize {
    loop {
        match text.get(at) {
            Some('\t' | ' ' | '\r' | '\n' | '\u{c}') => at += 1,
            Some('/') if text.get(at + 1) == Some(&'/') => {
                at += text[at..].iter().take_while(|char| **char != '\n').count();
            }
            _ => return at,
        }
    }
}

/// The token at a place and its end, or where it became clear that there is none.
fn scan(text: &[char], at: usize) -> Result<(Token, usize), usize> {
    let first = text[at];
    if first == '\'' || first == '"' {
        return quoted(text, at, false).map(|end| (Token::String, end));
    }
    if first == '`' {
        return escaped_ident(text, at).map(|end| (Token::EscapedIdent, end));
    }
    if first.is_ascii_digit() || first == '.' && text.get(at + 1).is_some_and(char::is_ascii_digit) {
        return Ok(number(text, at));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        return Ok(word(text, at));
    }
    let starts = |operator: &str| operator.chars().enumerate().all(|(i, char)| text.get(at + i) == Some(&char));
    match OPERATORS.iter().filter(|(_, token)| *token != Token::End).find(|(operator, _)| starts(operator)) {
        Some((operator, token)) => Ok((*token, at + operator.len())),
        // `&`, `|` and `=` alone are beginnings; the next code point shows that nothing follows.
        None if matches!(first, '&' | '|' | '=') => Err(at + 1),
        None => Err(at),
    }
}

fn run(text: &[char], at: usize, wanted: impl Fn(&char) -> bool) -> usize {
    at + text[at.min(text.len())..].iter().take_while(|char| wanted(char)).count()
}

/// A name, a keyword, or a prefixed string.
fn word(text: &[char], at: usize) -> (Token, usize) {
    if let Some(found) = prefixed(text, at) {
        return found;
    }
    let end = run(text, at, |char| char.is_ascii_alphanumeric() || *char == '_');
    let token = match text[at..end].iter().collect::<String>().as_str() {
        "in" => Token::In,
        "true" => Token::True,
        "false" => Token::False,
        "null" => Token::Null,
        _ => Token::Ident,
    };
    (token, end)
}

/// `b'...'`, `r'...'` and `br'...'`.
fn prefixed(text: &[char], at: usize) -> Option<(Token, usize)> {
    let bytes = matches!(text[at], 'b' | 'B');
    let quote = at + usize::from(bytes);
    let raw = matches!(text.get(quote), Some('r' | 'R'));
    let quote = quote + usize::from(raw);
    if quote == at || !matches!(text.get(quote), Some('\'' | '"')) {
        return None;
    }
    let end = quoted(text, quote, raw).ok()?;
    Some((if bytes { Token::Bytes } else { Token::String }, end))
}

/// The end of the string that opens at a quote, or where it went wrong.
fn quoted(text: &[char], at: usize, raw: bool) -> Result<usize, usize> {
    let quote = text[at];
    let triple = |from: usize| (0..3).all(|i| text.get(from + i) == Some(&quote));
    let short = until(text, at + 1, raw, |from| match text[from] {
        '\n' | '\r' => Err(()),
        char if char == quote => Ok(Some(1)),
        _ => Ok(None),
    });
    if !triple(at) {
        return short;
    }
    let long = until(text, at + 3, raw, |from| Ok(triple(from).then_some(3)));
    // `''` is a string where the long one never closes.
    long.or(short)
}

/// Scans a string's inside until `close` says how long the closing quote is.
fn until(
    text: &[char],
    mut at: usize,
    raw: bool,
    close: impl Fn(usize) -> Result<Option<usize>, ()>,
) -> Result<usize, usize> {
    while at < text.len() {
        match close(at) {
            Err(()) => return Err(at),
            Ok(Some(length)) => return Ok(at + length),
            Ok(None) if text[at] == '\\' && !raw => at = escape(text, at)?,
            Ok(None) => at += 1,
        }
    }
    Err(text.len())
}

/// The end of the escape sequence at a backslash.
fn escape(text: &[char], at: usize) -> Result<usize, usize> {
    let digits = |from: usize, count: usize, wanted: fn(&char) -> bool| {
        (from..from + count).find(|i| !text.get(*i).is_some_and(wanted)).map_or(Ok(from + count), Err)
    };
    match text.get(at + 1) {
        Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`') => Ok(at + 2),
        Some('x' | 'X') => digits(at + 2, 2, char::is_ascii_hexdigit),
        Some('u') => digits(at + 2, 4, char::is_ascii_hexdigit),
        Some('U') => digits(at + 2, 8, char::is_ascii_hexdigit),
        Some('0'..='3') => digits(at + 2, 2, |char| matches!(char, '0'..='7')),
        _ => Err(at + 1),
    }
}

fn escaped_ident(text: &[char], at: usize) -> Result<usize, usize> {
    let end = run(text, at + 1, |char| char.is_ascii_alphanumeric() || matches!(char, '_' | '.' | '-' | '/' | ' '));
    match text.get(end) {
        Some('`') if end > at + 1 => Ok(end + 1),
        _ => Err(end),
    }
}

fn number(text: &[char], at: usize) -> (Token, usize) {
    let hex = run(text, at + 2, char::is_ascii_hexdigit);
    if text[at] == '0' && text.get(at + 1) == Some(&'x') && hex > at + 2 {
        return with_suffix(text, hex);
    }
    let digits = run(text, at, char::is_ascii_digit);
    let fraction = run(text, digits + 1, char::is_ascii_digit);
    let has_fraction = text.get(digits) == Some(&'.') && fraction > digits + 1;
    let mantissa = if has_fraction { fraction } else { digits };
    if matches!(text.get(mantissa), Some('e' | 'E')) {
        let sign = usize::from(matches!(text.get(mantissa + 1), Some('+' | '-')));
        let exponent = run(text, mantissa + 1 + sign, char::is_ascii_digit);
        if exponent > mantissa + 1 + sign {
            return (Token::Float, exponent);
        }
    }
    if has_fraction { (Token::Float, mantissa) } else { with_suffix(text, digits) }
}

fn with_suffix(text: &[char], end: usize) -> (Token, usize) {
    if matches!(text.get(end), Some('u' | 'U')) { (Token::Uint, end + 1) } else { (Token::Int, end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let source = Source::new(text);
        let (found, unread) = tokens(&source);
        let shown =
            found.iter().map(|lexeme| format!("{:?}<{}>", lexeme.token, source.slice(lexeme.start, lexeme.end)));
        let shown: Vec<String> = shown.collect();
        let bad = unread.iter().map(|bad| format!(" !<{}>", source.slice(bad.start, bad.end)));
        shown[..shown.len() - 1].join(" ") + &bad.collect::<String>()
    }

    #[test]
    fn longest_matches() {
        let cases = [
            ("a.b // c\n<=1", "Ident<a> Dot<.> Ident<b> LessEquals<<=> Int<1>"),
            ("1u 0x1fU 1.5e-3 .5 1e", "Uint<1u> Uint<0x1fU> Float<1.5e-3> Float<.5> Int<1> Ident<e>"),
            ("1. 0x", "Int<1> Dot<.> Int<0> Ident<x>"),
            ("inn in null", "Ident<inn> In<in> Null<null>"),
            (r#"r'\' b"\x00" br'''a'b'''"#, r#"String<r'\'> Bytes<b"\x00"> Bytes<br'''a'b'''>"#),
            ("'''a''b'''", "String<'''a''b'''>"),
            ("''", "String<''>"),
            ("`a-b/c`", "EscapedIdent<`a-b/c`>"),
        ];
        for (text, want) in cases {
            assert_eq!(read(text), want, "{text}");
        }
    }

    #[test]
    fn unrecognized() {
        let cases = [
            ("'abc", " !<'abc>"),
            (r"'a\q'", r" !<'a\q> !<'>"),
            ("@a", "Ident<a> !<@>"),
            ("b'a", "Ident<b> !<'a>"),
            ("a & b", "Ident<a> Ident<b> !<& >"),
            ("'''a", "String<''> !<'a>"),
            ("``", " !<``>"),
        ];
        for (text, want) in cases {
            assert_eq!(read(text), want, "{text}");
        }
    }
}
