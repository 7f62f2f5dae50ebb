//! E-mail addresses as Go's net/mail.ParseAddress reads them (RFC 5322, RFC 6532).

use std::net::IpAddr;

/// One address: `a@b.c`, `Name <a@b.c>`, or a group that holds one.
pub(super) fn is_email(text: &str) -> bool {
    let mut reader = Reader(text);
    let count = reader.address(true);
    count == Some(1) && reader.skip_comments() && reader.0.is_empty()
}

#[derive(Clone, Copy)]
struct Reader<'a>(&'a str);

fn visible(c: char) -> bool {
    ('!'..='~').contains(&c) || !c.is_ascii()
}

fn in_atom(c: char) -> bool {
    visible(c) && !"()<>[]:;@\\,\"".contains(c)
}

impl<'a> Reader<'a> {
    fn skip_space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn consume(&mut self, c: char) -> bool {
        let rest = self.0.strip_prefix(c);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// How many addresses were read.
    fn address(&mut self, groups: bool) -> Option<usize> {
        self.skip_space();
        if self.0.is_empty() {
            return None;
        }
        let start = *self;
        if self.spec().is_some() {
            self.skip_space();
            if self.consume('(') {
                return self.named_comment().then_some(1);
            }
            return Some(1);
        }
        *self = start;
        if !self.0.starts_with('<') {
            self.phrase()?;
        }
        self.skip_space();
        if groups && self.consume(':') {
            return self.group();
        }
        if !self.consume('<') {
            return None;
        }
        let start = *self;
        if self.spec().is_none() {
            *self = start;
            return None;
        }
        self.consume('>').then_some(1)
    }

    fn group(&mut self) -> Option<usize> {
        self.skip_space();
        if self.consume(';') {
            return self.skip_comments().then_some(0);
        }
        let mut count = 0;
        loop {
            self.skip_space();
            count += self.address(false)?;
            if !self.skip_comments() {
                return None;
            }
            if self.consume(';') {
                return self.skip_comments().then_some(count);
            }
            if !self.consume(',') {
                return None;
            }
        }
    }

    fn spec(&mut self) -> Option<()> {
        self.skip_space();
        if self.0.starts_with('"') {
            self.quoted().filter(|text| !text.is_empty())?;
        } else {
            self.dot_atom()?;
        }
        if !self.consume('@') {
            return None;
        }
        self.skip_space();
        if self.0.starts_with('[') { self.literal() } else { self.dot_atom().map(drop) }
    }

    fn atom(&mut self) -> Option<&'a str> {
        let end = self.0.find(|c| !in_atom(c)).unwrap_or(self.0.len());
        let (atom, rest) = self.0.split_at(end);
        self.0 = rest;
        (end > 0).then_some(atom)
    }

    fn dot_atom(&mut self) -> Option<&'a str> {
        self.atom().filter(|atom| !atom.starts_with('.') && !atom.contains("..") && !atom.ends_with('.'))
    }

    /// Text between quotes, still escaped.
    fn quoted(&mut self) -> Option<&'a str> {
        let mut escaped = false;
        for (at, c) in self.0.char_indices().skip(1) {
            match c {
                _ if escaped && (visible(c) || matches!(c, ' ' | '\t')) => escaped = false,
                _ if escaped => return None,
                '"' => {
                    let text = &self.0[1..at];
                    self.0 = &self.0[at + 1..];
                    return Some(text);
                }
                '\\' => escaped = true,
                c if visible(c) || matches!(c, ' ' | '\t') => {}
                _ => return None,
            }
        }
        None
    }

    fn literal(&mut self) -> Option<()> {
        let (inner, rest) = self.0.strip_prefix('[')?.split_once(']')?;
        let plain = inner.chars().all(|c| visible(c) && !matches!(c, '[' | '\\'));
        self.0 = rest;
        (plain && inner.parse::<IpAddr>().is_ok()).then_some(())
    }

    fn phrase(&mut self) -> Option<()> {
        let mut words = 0;
        loop {
            if words > 0 && !self.skip_comments() {
                return None;
            }
            self.skip_space();
            if self.0.is_empty() {
                return Some(());
            }
            let start = *self;
            let word = if self.0.starts_with('"') { self.quoted() } else { self.atom() };
            let good = word.is_some_and(|word| start.0.starts_with('"') || is_decodable(word));
            if !good {
                if word.is_none() {
                    *self = start;
                }
                return (words > 0).then_some(());
            }
            words += 1;
        }
    }

    fn named_comment(&mut self) -> bool {
        let start = self.0;
        self.comment() && start[..start.len() - self.0.len()].trim_end_matches(')').split([' ', '\t']).all(is_decodable)
    }

    /// The rest of a comment whose parenthesis is open.
    fn comment(&mut self) -> bool {
        let mut depth = 1;
        let mut chars = self.0.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => drop(chars.next()),
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.0 = &self.0[at + 1..];
                return true;
            }
        }
        false
    }

    fn skip_comments(&mut self) -> bool {
        self.skip_space();
        while self.consume('(') {
            if !self.comment() {
                return false;
            }
            self.skip_space();
        }
        true
    }
}

/// False for encoded words (RFC 2047) of a character set that Go does not know.
fn is_decodable(word: &str) -> bool {
    let inner = word.strip_prefix("=?").and_then(|rest| rest.strip_suffix("?="));
    let parts: Vec<&str> = inner.map(|inner| inner.splitn(3, '?').collect()).unwrap_or_default();
    let [charset, encoding, text] = parts[..] else { return true };
    let known = ["utf-8", "iso-8859-1", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known));
    let encoded = match encoding {
        "b" | "B" => text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')),
        "q" | "Q" => true,
        _ => false,
    };
    known || !encoded || charset.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let cases = [
            ("a@b.c", true),
            ("John Doe <jdoe@machine.example>", true),
            ("\"Joe & J.\" <j@x.test>", true),
            ("a@b.c (comment)", true),
            ("group: a@b.c;", true),
            ("group: a@b.c, d@e.f;", false),
            ("a", false),
            ("a..b@c.d", false),
            ("a@[127.0.0.1]", true),
            ("a@[nope]", false),
            ("<a@b.c", false),
            ("a@b.c d", false),
        ];
        for (text, want) in cases {
            assert_eq!(is_email(text), want, "{text}");
        }
    }
}
