//! Regular expressions as Go writes them.
//!
//! Invariant: a pattern is accepted or refused as Go's `regexp/syntax` (Perl flags) does, with its error text, and matches
//! the same texts. It is written anew for the `regex` crate, whose classes `\d`, `\s`, `\w` and `\b` know Unicode and whose
//! brackets nest. Non-goal: replacing.

use regex::{Regex, RegexBuilder};

/// Most a counted repetition repeats, nested ones multiplied.
const MAX_REPEAT: u32 = 1000;
/// Most groups within each other.
const MAX_DEPTH: usize = 1000;
/// Most memory of a compiled expression, in bytes.
const MAX_BYTES: usize = 10 << 20;
/// Most memory of the cache of a lazy automaton.
const MAX_CACHE_BYTES: usize = 2 << 20;

/// The compiled expression, or Go's message.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let written = Writer::write(pattern).map_err(|error| format!("error parsing regexp: {error}"))?;
    let built = RegexBuilder::new(&written).size_limit(MAX_BYTES).dfa_size_limit(MAX_CACHE_BYTES).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("error parsing regexp: expression too large: `{pattern}`"),
        _ => format!("error parsing regexp: invalid or unsupported Perl syntax: `{pattern}`"),
    })
}

struct Writer<'a> {
    rest: &'a str,
    out: String,
    depth: usize,
    /// The names of groups so far.
    names: Vec<&'a str>,
    /// Whether something stands there that can be repeated, and by how much it is repeated already.
    last: Option<u32>,
    /// Where the last repetition stands, if nothing came after it.
    repeated: Option<&'a str>,
}

type Written<T> = Result<T, String>;

fn error<T>(kind: &str, text: &str) -> Written<T> {
    Err(format!("{kind}: `{text}`"))
}

impl<'a> Writer<'a> {
    fn write(pattern: &'a str) -> Written<String> {
        let mut writer =
            Writer { rest: pattern, out: String::new(), depth: 0, names: Vec::new(), last: None, repeated: None };
        let mut groups = Vec::new();
        while let Some(char) = writer.rest.chars().next() {
            writer.step(char, pattern, &mut groups)?;
        }
        if !groups.is_empty() {
            return error("missing closing )", pattern);
        }
        Ok(writer.out)
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    fn literal(&mut self, char: char) {
        self.out.push_str(&regex::escape(char.encode_utf8(&mut [0; 4])));
        self.last = Some(1);
        self.repeated = None;
    }

    fn piece(&mut self, bytes: usize) {
        let taken = self.take(bytes);
        self.out.push_str(taken);
        self.last = Some(1);
        self.repeated = None;
    }

    fn step(&mut self, char: char, pattern: &'a str, groups: &mut Vec<u32>) -> Written<()> {
        match char {
            '(' => {
                self.open()?;
                // Flags alone open no group.
                if self.depth > groups.len() {
                    groups.push(1);
                }
                if self.depth > MAX_DEPTH {
                    return error("expression nests too deeply", pattern);
                }
            }
            ')' => {
                if groups.pop().is_none() {
                    return error("unexpected )", pattern);
                }
                self.depth -= 1;
                self.piece(1);
            }
            '|' => {
                self.piece(1);
                self.last = None;
            }
            '*' | '+' | '?' => self.repeat(1, 0)?,
            '{' => match counts(self.rest) {
                Some((length, counts)) => {
                    let most = self.counted(length, counts)?;
                    self.repeat(length, most)?;
                }
                None => {
                    self.take(1);
                    self.literal('{');
                }
            },
            '[' => self.class()?,
            '\\' => self.escape()?,
            '^' | '$' | '.' => self.piece(1),
            char => {
                self.take(char.len_utf8());
                self.literal(char);
            }
        }
        Ok(())
    }

    fn counted(&self, length: usize, (least, most): (u32, Option<u32>)) -> Written<u32> {
        let bad = least > MAX_REPEAT || most.is_some_and(|most| most > MAX_REPEAT || least > most);
        if bad { error("invalid repeat count", &self.rest[..length]) } else { Ok(most.unwrap_or(least).max(1)) }
    }

    /// A repetition of what stands before; `most` is 0 but for counted ones.
    fn repeat(&mut self, length: usize, most: u32) -> Written<()> {
        let before = self.rest;
        let taken = self.take(length);
        let Some(times) = self.last else { return error("missing argument to repetition operator", taken) };
        if let Some(first) = self.repeated {
            let both = &first[..first.len() - self.rest.len()];
            return error("invalid nested repetition operator", both);
        }
        let times = times.saturating_mul(most.max(1));
        if times > MAX_REPEAT {
            return error("invalid repeat count", taken);
        }
        self.out.push_str(taken);
        if self.rest.starts_with('?') {
            self.take(1);
            self.out.push('?');
        }
        self.last = Some(times);
        self.repeated = Some(before);
        Ok(())
    }

    fn open(&mut self) -> Written<()> {
        self.last = None;
        self.repeated = None;
        let Some(rest) = self.rest.strip_prefix("(?") else {
            self.take(1);
            self.out.push('(');
            self.depth += 1;
            return Ok(());
        };
        for prefix in ["P<", "<"] {
            if let Some(name) = rest.strip_prefix(prefix) {
                return self.named(name, 2 + prefix.len());
            }
        }
        let end = rest.find([':', ')']);
        let flags = end.map_or(rest, |end| &rest[..end]);
        let (on, off) = flags.split_once('-').unwrap_or((flags, "i"));
        let known = |flags: &str| flags.chars().all(|flag| "imsU".contains(flag));
        let Some(end) = end.filter(|_| known(on) && known(off) && !off.is_empty()) else {
            return self.bad_flags(rest);
        };
        let group = rest.as_bytes()[end] == b':';
        if !group && flags.is_empty() {
            return error("missing argument to repetition operator", "?");
        }
        let taken = self.take(2 + end + 1);
        self.out.push_str(taken);
        self.depth += usize::from(group);
        Ok(())
    }

    /// The message names the text up to the first flag that is none.
    fn bad_flags(&self, rest: &str) -> Written<()> {
        let mut sign = false;
        for (at, char) in rest.char_indices() {
            match char {
                'i' | 'm' | 's' | 'U' => {}
                '-' if !sign => sign = true,
                _ => return error("invalid or unsupported Perl syntax", &self.rest[..2 + at + char.len_utf8()]),
            }
        }
        error("missing closing )", self.rest)
    }

    fn named(&mut self, name: &'a str, prefix: usize) -> Written<()> {
        let Some(end) = name.find('>') else { return error("invalid named capture", self.rest) };
        let whole = &self.rest[..prefix + end + 1];
        let name = &name[..end];
        if name.is_empty() || !name.chars().all(|char| char == '_' || char.is_ascii_alphanumeric()) {
            return error("invalid named capture", whole);
        }
        if self.names.contains(&name) {
            return error("duplicate capture group name", name);
        }
        self.names.push(name);
        self.take(whole.len());
        // Nothing reads groups by name, and Go's names may begin with digits.
        self.out.push('(');
        self.depth += 1;
        Ok(())
    }

    fn escape(&mut self) -> Written<()> {
        let rest = &self.rest[1..];
        let Some(char) = rest.chars().next() else { return error("trailing backslash at end of expression", "") };
        let written = match char {
            'A' => r"\A",
            'z' => r"\z",
            'b' => r"(?-u:\b)",
            'B' => r"(?-u:\B)",
            'Q' => {
                let (quoted, length) = match rest[1..].find(r"\E") {
                    Some(end) => (&rest[1..=end], end + 4),
                    None => (&rest[1..], self.rest.len()),
                };
                quoted.chars().for_each(|char| self.literal(char));
                self.take(length);
                return Ok(());
            }
            'C' => return error("invalid escape sequence", r"\C"),
            'E' => "",
            'p' | 'P' => return self.property(),
            char => match perl_class(char) {
                Some(class) => class,
                None => {
                    let (code, length) = escaped(self.rest)?;
                    self.take(length);
                    self.literal(code);
                    return Ok(());
                }
            },
        };
        self.take(2);
        self.out.push_str(written);
        if !written.is_empty() {
            self.last = Some(1);
            self.repeated = None;
        }
        Ok(())
    }

    fn property(&mut self) -> Written<()> {
        let length = property_length(self.rest)?;
        let name = &self.rest[..length];
        // `regex` writes the negation before the backslash's letter only.
        let written = name.replace("{^", "{");
        let negated = name.contains("{^") != name.starts_with(r"\P");
        let written = format!("{}{}", if negated { r"\P" } else { r"\p" }, &written[2..]);
        if Regex::new(&written).is_err() {
            return error("invalid character class range", name);
        }
        self.take(length);
        self.out.push_str(&written);
        self.last = Some(1);
        self.repeated = None;
        Ok(())
    }

    fn class(&mut self) -> Written<()> {
        let whole = self.rest;
        let mut out = String::from("[");
        self.take(1);
        if self.rest.starts_with('^') {
            self.take(1);
            out.push('^');
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            if self.rest.is_empty() {
                return error("missing closing ]", whole);
            }
            self.class_item(first, whole, &mut out)?;
            first = false;
        }
        self.take(1);
        out.push(']');
        self.out.push_str(&out);
        self.last = Some(1);
        self.repeated = None;
        Ok(())
    }

    fn class_item(&mut self, first: bool, whole: &str, out: &mut String) -> Written<()> {
        let rest = self.rest;
        // A dash stands for itself at the ends only.
        if rest.starts_with('-') && !first && !rest[1..].starts_with(']') {
            let next = rest[1..].chars().next().map_or(0, char::len_utf8);
            return error("invalid character class range", &rest[..1 + next]);
        }
        if rest.starts_with("[:")
            && let Some(end) = rest.find(":]")
        {
            let name = self.take(end + 2);
            return match Regex::new(&format!("[{name}]")) {
                Ok(_) => {
                    out.push_str(name);
                    Ok(())
                }
                Err(_) => error("invalid character class range", name),
            };
        }
        if rest.starts_with(r"\p") || rest.starts_with(r"\P") {
            let mut inner =
                Writer { rest, out: String::new(), names: Vec::new(), depth: 0, last: None, repeated: None };
            inner.property()?;
            out.push_str(&inner.out);
            self.rest = inner.rest;
            return Ok(());
        }
        if let Some(class) = rest.strip_prefix('\\').and_then(|rest| rest.chars().next()).and_then(perl_class) {
            self.take(2);
            out.push_str(class);
            return Ok(());
        }
        let low = self.class_char(whole)?;
        let mut high = low;
        if self.rest.starts_with('-') && !self.rest[1..].starts_with(']') && self.rest.len() > 1 {
            self.take(1);
            high = self.class_char(whole)?;
            if high < low {
                return error("invalid character class range", &rest[..rest.len() - self.rest.len()]);
            }
        }
        out.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", low as u32, high as u32));
        Ok(())
    }

    fn class_char(&mut self, whole: &str) -> Written<char> {
        let Some(char) = self.rest.chars().next() else { return error("missing closing ]", whole) };
        let (char, length) = if char == '\\' { escaped(self.rest)? } else { (char, char.len_utf8()) };
        self.take(length);
        Ok(char)
    }
}

/// Classes that know ASCII only.
fn perl_class(char: char) -> Option<&'static str> {
    Some(match char {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\f\r ]",
        'S' => r"[^\t\n\f\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// The character an escape sequence stands for, and its length.
fn escaped(text: &str) -> Written<(char, usize)> {
    let rest = &text[1..];
    let Some(char) = rest.chars().next() else { return error("trailing backslash at end of expression", "") };
    let invalid = |length: usize| error("invalid escape sequence", &text[..length.min(text.len())]);
    let plain = match char {
        'a' => Some('\u{7}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        char if char.is_ascii() && !char.is_ascii_alphanumeric() => Some(char),
        _ => None,
    };
    if let Some(plain) = plain {
        return Ok((plain, 1 + char.len_utf8()));
    }
    match char {
        // One digit would refer to a group, but for zero.
        '1'..='7' if !matches!(rest.as_bytes().get(1), Some(b'0'..=b'7')) => invalid(2),
        '0'..='7' => {
            let digits = rest.bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
            let code = u32::from_str_radix(&rest[..digits], 8).ok().and_then(char::from_u32);
            code.map_or_else(|| invalid(1 + digits), |code| Ok((code, 1 + digits)))
        }
        'x' => {
            let braced = rest[1..].strip_prefix('{');
            let (digits, length) = match braced {
                Some(inner) => match inner.find('}') {
                    Some(end) => (&inner[..end], end + 4),
                    None => return invalid(text.len()),
                },
                None => (rest.get(1..3).unwrap_or_default(), 4),
            };
            let code =
                u32::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+')).and_then(char::from_u32);
            code.map_or_else(|| invalid(length), |code| Ok((code, length)))
        }
        char => invalid(1 + char.len_utf8()),
    }
}

fn property_length(text: &str) -> Written<usize> {
    match text[2..].chars().next() {
        None => error("invalid character class range", text),
        Some('{') => match text.find('}') {
            Some(end) => Ok(end + 1),
            None => error("invalid character class range", text),
        },
        Some(char) => Ok(2 + char.len_utf8()),
    }
}

/// `{2}`, `{2,}` or `{2,3}`; anything else in braces stands for itself.
fn counts(text: &str) -> Option<(usize, (u32, Option<u32>))> {
    let end = text.find('}')?;
    let inner = &text[1..end];
    let number = |text: &str| {
        let plain =
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        plain.then(|| text.parse().unwrap_or(MAX_REPEAT + 1))
    };
    let counts = match inner.split_once(',') {
        None => {
            let count = number(inner)?;
            (count, Some(count))
        }
        Some((least, "")) => (number(least)?, None),
        Some((least, most)) => (number(least)?, Some(number(most)?)),
    };
    Some((end + 1, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_go() {
        let cases = [
            (r"^\d+$", "123", true),
            (r"^\d+$", "١٢٣", false),
            (r"^\w+$", "é", false),
            (r"\bfoo\b", "éfoo", true),
            (r"^[[a]$", "[", true),
            (r"^[a&&b]+$", "&a", true),
            (r"^[\w-]+$", "a-b", true),
            (r"\Qa.b\E.", "a.bc", true),
            (r"^\x{e9}\x41\101$", "éAA", true),
            (r"a{,2}", "a{,2}", true),
            (r"(?i)^É$", "é", true),
            (r"^(?P<a>x)(?:y)$", "xy", true),
            (r"^[^\d]$", "a", true),
            (r"\<", "<", true),
            (r"^\p{Greek}\pL$", "λa", true),
            (r"^[]a]+$", "]a", true),
        ];
        for (pattern, text, want) in cases {
            let regex = compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(regex.is_match(text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn refuses_as_go() {
        let cases = [
            ("(", "missing closing ): `(`"),
            (")", "unexpected ): `)`"),
            ("[a", "missing closing ]: `[a`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            (r"\y", r"invalid escape sequence: `\y`"),
            (r"\1", r"invalid escape sequence: `\1`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("\\", "trailing backslash at end of expression: ``"),
            (r"\p{Nope}", r"invalid character class range: `\p{Nope}`"),
        ];
        for (pattern, want) in cases {
            let error = compile(pattern).map(drop);
            assert_eq!(error, Err(format!("error parsing regexp: {want}")), "{pattern}");
        }
    }
}
