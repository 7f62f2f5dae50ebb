//! Names of properties as identifiers of CEL.
//!
//! Invariant: both ways as `k8s.io/apiserver/pkg/cel/escaping.go@v0.37.2`.

/// Words no identifier may be.
const KEYWORDS: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

const ESCAPES: [(&str, &str); 4] = [("__", "underscores"), (".", "dot"), ("-", "dash"), ("/", "slash")];

pub fn is_keyword(name: &str) -> bool {
    KEYWORDS.contains(&name)
}

/// The identifier a property is known by; None when there cannot be one.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|char: char| char.is_ascii_digit()) {
        return None;
    }
    if is_keyword(name) {
        return Some(format!("__{name}__"));
    }
    let (mut out, mut rest) = (String::with_capacity(name.len()), name);
    while let Some(char) = rest.chars().next() {
        match ESCAPES.iter().find(|(text, _)| rest.starts_with(text)) {
            Some((text, word)) => {
                out.push_str(&format!("__{word}__"));
                rest = &rest[text.len()..];
            }
            None if char.is_ascii_alphanumeric() || char == '_' => {
                out.push(char);
                rest = &rest[1..];
            }
            None => return None,
        }
    }
    Some(out)
}

/// The property an identifier stands for; None when it is no escaped name.
pub fn unescape(identifier: &str) -> Option<String> {
    let (mut out, mut rest) = (String::with_capacity(identifier.len()), identifier);
    while let Some(at) = rest.find("__") {
        let after = &rest[at + 2..];
        let length = after.bytes().take_while(|byte| *byte != b'_').count();
        if length == 0 || !after[length..].starts_with("__") {
            // Not the beginning of an escape; the next underscore may be.
            out.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            continue;
        }
        let word = &after[..length];
        out.push_str(&rest[..at]);
        match ESCAPES.iter().find(|(_, known)| *known == word) {
            Some((text, _)) => out.push_str(text),
            None if is_keyword(word) && identifier.len() == length + 4 => out.push_str(word),
            None => return None,
        }
        rest = &after[length + 2..];
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let cases = [
            ("a", "a"),
            ("a.b-c/d", "a__dot__b__dash__c__slash__d"),
            ("a__b", "a__underscores__b"),
            ("namespace", "__namespace__"),
            ("a_b_", "a_b_"),
            ("___", "__underscores___"),
        ];
        for (name, escaped) in cases {
            assert_eq!(escape(name).as_deref(), Some(escaped));
            assert_eq!(unescape(escaped).as_deref(), Some(name));
        }
    }

    #[test]
    fn refused() {
        assert_eq!([escape(""), escape("1a"), escape("a b"), escape("é")], [None, None, None, None]);
        assert_eq!([unescape("a__for__"), unescape("__nope__")], [None, None]);
    }
}
