//! JSON text as Go's scanner reads it: what is wrong with it in Go's words, and the pieces of an object or array as
//! they stand there (encoding/json/scanner.go of Go 1.26, which sigs.k8s.io/json has a copy of).
//!
//! Non-goal: values. Texts are cut, not decoded; only names are.

/// Values nested deeper are refused (encoding/json/scanner.go: maxNestingDepth).
const DEPTH_MAX: usize = 10_000;

/// What Go says of values that are nested deeper than can be read.
pub const TOO_DEEP: &str = "exceeded max depth";
const END: &str = "unexpected end of JSON input";

/// Refuses what is no JSON.
///
/// # Errors
/// Go's text.
pub fn check(text: &[u8]) -> Result<(), String> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.document()
}

/// The members of an object as they stand there, in their order; `None` when the text is no object.
pub fn members(text: &str) -> Option<Vec<(String, &str)>> {
    let mut scanner = Scanner { text: text.as_bytes(), at: 0 };
    let mut found = Vec::new();
    if scanner.next_is(b'{')? != b'{' {
        return None;
    }
    if scanner.next_is(b'}')? == b'}' {
        return Some(found);
    }
    loop {
        let name = scanner.piece(text)?;
        scanner.skip(b':')?;
        found.push((serde_json::from_str(name).ok()?, scanner.piece(text)?));
        if scanner.next()? == b'}' {
            return Some(found);
        }
    }
}

/// The elements of an array as they stand there; `None` when the text is no array.
pub fn elements(text: &str) -> Option<Vec<&str>> {
    let mut scanner = Scanner { text: text.as_bytes(), at: 0 };
    let mut found = Vec::new();
    if scanner.next_is(b'[')? != b'[' {
        return None;
    }
    if scanner.next_is(b']')? == b']' {
        return Some(found);
    }
    loop {
        found.push(scanner.piece(text)?);
        if scanner.next()? == b']' {
            return Some(found);
        }
    }
}

/// How deep the values of a text are nested; 0 is one that holds no other.
pub fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut inside, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' if !inside => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !inside => depth = depth.saturating_sub(1),
            b'"' if !escaped => inside = !inside,
            _ => {}
        }
        escaped = inside && byte == b'\\' && !escaped;
    }
    deepest
}

/// What Go's type errors call a value.
pub fn kind(text: &str) -> &'static str {
    match text.trim_start().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        _ => "number",
    }
}

/// Appends the text without white space, with what HTML gives a meaning to escaped, as Go writes a RawMessage.
pub fn compact(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let (mut inside, mut escaped, mut from) = (false, false, 0);
    for (at, &byte) in bytes.iter().enumerate() {
        let replaced: Option<&[u8]> = match byte {
            b'<' => Some(b"\\u003c"),
            b'>' => Some(b"\\u003e"),
            b'&' => Some(b"\\u0026"),
            b' ' | b'\t' | b'\n' | b'\r' if !inside => Some(b""),
            _ => None,
        };
        if let Some(replaced) = replaced {
            out.extend_from_slice(&bytes[from..at]);
            out.extend_from_slice(replaced);
            from = at + 1;
        }
        inside ^= byte == b'"' && !escaped;
        escaped = inside && byte == b'\\' && !escaped;
    }
    let rest = String::from_utf8_lossy(&bytes[from..]);
    out.extend_from_slice(rest.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").as_bytes());
}

struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
}

type Scanned = Result<(), String>;

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn invalid(byte: u8, context: &str) -> String {
    let shown = match byte {
        b'\'' => "\\'".to_owned(),
        b'"' => "\"".to_owned(),
        byte => crate::field::go_quote(&char::from(byte).to_string()).trim_matches('"').to_owned(),
    };
    format!("invalid character '{shown}' {context}")
}

impl<'t> Scanner<'t> {
    fn peek(&self) -> Result<u8, String> {
        self.text.get(self.at).copied().ok_or_else(|| END.to_owned())
    }

    fn spaces(&mut self) {
        while self.text.get(self.at).is_some_and(|byte| is_space(*byte)) {
            self.at += 1;
        }
    }

    fn peek_past_spaces(&mut self) -> Result<u8, String> {
        self.spaces();
        self.peek()
    }

    fn document(&mut self) -> Scanned {
        self.value()?;
        self.spaces();
        match self.text.get(self.at) {
            None => Ok(()),
            Some(byte) => Err(invalid(*byte, "after top-level value")),
        }
    }

    /// One value with all that is in it. What it stands in is on a list, not on the stack: no text is too deep for it.
    fn value(&mut self) -> Scanned {
        let mut open: Vec<u8> = Vec::new();
        loop {
            if self.begins(&mut open)? {
                continue;
            }
            while let Some(&container) = open.last() {
                if self.goes_on(container)? {
                    break;
                }
                open.pop();
            }
            if open.is_empty() {
                return Ok(());
            }
        }
    }

    /// The begin of a value, or the whole of one that holds no other; true when one is to come within it.
    fn begins(&mut self, open: &mut Vec<u8>) -> Result<bool, String> {
        let byte = self.peek_past_spaces()?;
        match byte {
            b'{' | b'[' => {
                if open.len() == DEPTH_MAX {
                    return Err(TOO_DEEP.into());
                }
                self.at += 1;
                let close = if byte == b'{' { b'}' } else { b']' };
                if self.peek_past_spaces()? == close {
                    self.at += 1;
                    return Ok(false);
                }
                open.push(byte);
                if byte == b'{' {
                    self.name()?;
                }
                return Ok(true);
            }
            b'"' => self.string()?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            b'-' | b'0'..=b'9' => self.number()?,
            other => return Err(invalid(other, "looking for beginning of value")),
        }
        Ok(false)
    }

    /// What follows a value in its container; true when that is another value.
    fn goes_on(&mut self, container: u8) -> Result<bool, String> {
        let next = self.peek_past_spaces()?;
        self.at += 1;
        match (container, next) {
            (b'{', b',') => self.name().map(|()| true),
            (b'[', b',') => Ok(true),
            (b'{', b'}') | (b'[', b']') => Ok(false),
            (b'{', other) => Err(invalid(other, "after object key:value pair")),
            (_, other) => Err(invalid(other, "after array element")),
        }
    }

    /// The name of a member and the colon.
    fn name(&mut self) -> Scanned {
        match self.peek_past_spaces()? {
            b'"' => self.string()?,
            other => return Err(invalid(other, "looking for beginning of object key string")),
        }
        match self.peek_past_spaces()? {
            b':' => self.at += 1,
            other => return Err(invalid(other, "after object key")),
        }
        Ok(())
    }

    fn string(&mut self) -> Scanned {
        loop {
            self.at += 1;
            match self.peek()? {
                b'"' => break,
                b'\\' => self.escape()?,
                byte if byte < 0x20 => return Err(invalid(byte, "in string literal")),
                _ => {}
            }
        }
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self) -> Scanned {
        self.at += 1;
        match self.peek()? {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => Ok(()),
            b'u' => (0..4).try_for_each(|_| {
                self.at += 1;
                let byte = self.peek()?;
                let wrong = || invalid(byte, "in \\u hexadecimal character escape");
                byte.is_ascii_hexdigit().then_some(()).ok_or_else(wrong)
            }),
            other => Err(invalid(other, "in string escape code")),
        }
    }

    fn word(&mut self, word: &str) -> Scanned {
        for expected in word.bytes() {
            let byte = self.peek()?;
            if byte != expected {
                let expected = char::from(expected);
                return Err(invalid(byte, &format!("in literal {word} (expecting '{expected}')")));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn digits(&mut self, context: &str) -> Scanned {
        let byte = self.peek()?;
        if !byte.is_ascii_digit() {
            return Err(invalid(byte, context));
        }
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Scanned {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits("in numeric literal")?,
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    /// The next byte that is no space, taken when it is the wanted one.
    fn next_is(&mut self, wanted: u8) -> Option<u8> {
        let byte = self.peek_past_spaces().ok()?;
        self.at += usize::from(byte == wanted);
        Some(byte)
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek_past_spaces().ok()?;
        self.at += 1;
        Some(byte)
    }

    fn skip(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// The next value's text.
    fn piece(&mut self, text: &'t str) -> Option<&'t str> {
        self.spaces();
        let from = self.at;
        self.value().ok()?;
        text.get(from..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str, want: &str) {
        assert_eq!(check(text.as_bytes()).err().unwrap_or_default(), want, "{text}");
    }

    /// What Go 1.26's json.Unmarshal says.
    #[test]
    fn words_of_go() {
        for fine in [r#"{"a":[1,-0.5e+7,true,false,null,"x\u00e9\n"],"b":{}}"#, " [] ", "0", "\"\""] {
            check_text(fine, "");
        }
        check_text("", "unexpected end of JSON input");
        check_text("{", "unexpected end of JSON input");
        check_text("{\"a\"", "unexpected end of JSON input");
        check_text("x", "invalid character 'x' looking for beginning of value");
        check_text("{} x", "invalid character 'x' after top-level value");
        check_text("{x", "invalid character 'x' looking for beginning of object key string");
        check_text("{\"a\"}", "invalid character '}' after object key");
        check_text("{\"a\":1 2", "invalid character '2' after object key:value pair");
        check_text("[1 2]", "invalid character '2' after array element");
        check_text("\"\n\"", "invalid character '\\n' in string literal");
        check_text("\"\\x\"", "invalid character 'x' in string escape code");
        check_text("\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape");
        check_text("trux", "invalid character 'x' in literal true (expecting 'e')");
        check_text("-x", "invalid character 'x' in numeric literal");
        check_text("1.x", "invalid character 'x' after decimal point in numeric literal");
        check_text("1ex", "invalid character 'x' in exponent of numeric literal");
        check_text("01", "invalid character '1' after top-level value");
        check_text("'a'", "invalid character '\\'' looking for beginning of value");
        check_text("a\"", "invalid character 'a' looking for beginning of value");
    }

    #[test]
    fn nesting() {
        for (text, want) in [("7", 0), ("[]", 1), (r#"{"a":[{"b":"[[\"{"}]}"#, 3), (r#"["\\",[[]]]"#, 3)] {
            assert_eq!(depth(text), want, "{text}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        check_text(&nested(DEPTH_MAX), "");
        check_text(&nested(DEPTH_MAX + 1), TOO_DEEP);
        check_text(&"{\"a\":".repeat(DEPTH_MAX + 1), TOO_DEEP);
        check_text(&"[".repeat(DEPTH_MAX), END);
    }

    #[test]
    fn pieces_stay_as_they_are() {
        let names = |text| members(text).map(|all| all.iter().map(|m| format!("{}={}", m.0, m.1)).collect::<Vec<_>>());
        assert_eq!(names(r#" {"b" : {"x": 1.0} ,"\u0061":[ ]} "#), Some(vec!["b={\"x\": 1.0}".into(), "a=[ ]".into()]));
        assert_eq!(names("{}"), Some(Vec::new()));
        assert_eq!(names("[]"), None);
        assert_eq!(elements("[1e3, \"a,b\" ,{}]"), Some(vec!["1e3", "\"a,b\"", "{}"]));
        assert_eq!(elements("7"), None);
    }

    #[test]
    fn compact_as_go_writes_it() {
        let mut out = Vec::new();
        compact(&mut out, "{ \"a <b\" : [1, \"\\\"  &\"] }");
        assert_eq!(String::from_utf8(out).expect("text"), r#"{"a \u003cb":[1,"\"  \u0026"]}"#);
    }
}
