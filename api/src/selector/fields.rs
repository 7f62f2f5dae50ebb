//! Field selectors: `metadata.name=a,status.phase!=Running`.
//!
//! Invariant: same grammar, canonical text and errors as `k8s.io/apimachinery/pkg/fields@v0.37.2`. Non-goal: knowing the
//! fields of a kind; see [`Selector::transform`] and [`Selector::requirements`].

use std::fmt;

use super::Error;

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub field: String,
    pub value: String,
    /// True for `=` and `==`, false for `!=`.
    pub equal: bool,
}

/// A conjunction of requirements; empty selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

impl Selector {
    /// Upstream's `ParseSelector`: terms in the order of their text, empty ones dropped.
    pub fn parse(text: &str) -> Result<Selector, Error> {
        let mut terms = split_terms(text);
        terms.sort_unstable();
        let mut requirements = Vec::new();
        for term in terms.into_iter().filter(|term| !term.is_empty()) {
            let unclear = || Error::FieldTerm { selector: text.to_owned(), term: term.to_owned() };
            let (field, equal, value) = split_term(term).ok_or_else(unclear)?;
            requirements.push(Requirement { field: field.to_owned(), value: unescape(value)?, equal });
        }
        Ok(Selector { requirements }.without_empty())
    }

    /// The selector for one field with one value (`OneTermEqualSelector`).
    pub fn equal(field: &str, value: &str) -> Selector {
        Selector { requirements: vec![Requirement { field: field.to_owned(), value: value.to_owned(), equal: true }] }
    }

    /// Upstream drops terms of neither field nor value.
    fn without_empty(mut self) -> Selector {
        self.requirements.retain(|requirement| !(requirement.field.is_empty() && requirement.value.is_empty()));
        self
    }

    /// Replaces each field and value, as a kind's field label conversion does; a pair of empty ones is dropped.
    pub fn transform<E>(self, convert: impl Fn(String, String) -> Result<(String, String), E>) -> Result<Selector, E> {
        let convert = |Requirement { field, value, equal }| {
            convert(field, value).map(|(field, value)| Requirement { field, value, equal })
        };
        let requirements = self.requirements.into_iter().map(convert).collect::<Result<_, E>>()?;
        Ok(Selector { requirements }.without_empty())
    }

    /// Whether an object whose fields `get` looks up is selected. An absent field is empty.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        let satisfied = |r: &Requirement| (get(&r.field).unwrap_or_default() == r.value) == r.equal;
        self.requirements.iter().all(satisfied)
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The value a field must have (upstream's `RequiresExactMatch`).
    pub fn requires_exact_match(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| r.equal && r.field == field).map(|r| r.value.as_str())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let operator = if requirement.equal { "=" } else { "!=" };
            write!(f, "{separator}{}{operator}{}", requirement.field, escape(&requirement.value))?;
        }
        Ok(())
    }
}

/// A value as it must stand in a selector's text (`EscapeValue`).
pub fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The inverse of [`escape`] (`UnescapeValue`).
pub fn unescape(text: &str) -> Result<String, Error> {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => value.push(escaped),
                other => return Err(Error::FieldEscape(['\\'].into_iter().chain(other).collect())),
            },
            ',' | '=' => return Err(Error::FieldUnescaped(c)),
            _ => value.push(c),
        }
    }
    Ok(value)
}

/// Splits at commas that are not escaped; escapes stay.
fn split_terms(text: &str) -> Vec<&str> {
    let mut escaped = false;
    let splits = |c: char| {
        let was_escaped = escaped;
        escaped = !was_escaped && c == '\\';
        c == ',' && !was_escaped
    };
    text.split(splits).collect()
}

/// Field, whether it must be equal, and the escaped value: split at the first operator.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    const OPERATORS: [(&str, bool); 3] = [("!=", false), ("==", true), ("=", true)];
    term.char_indices().find_map(|(at, _)| {
        let (field, rest) = term.split_at(at);
        OPERATORS.iter().find_map(|(operator, equal)| Some((field, *equal, rest.strip_prefix(operator)?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_text() {
        let cases = [
            ("", ""),
            (",,", ""),
            ("=", ""),
            ("a=b", "a=b"),
            ("z==1,a!=2", "a!=2,z=1"),
            (r"a=b\,c", r"a=b\,c"),
            (r"a=\\\=", r"a=\\\="),
            ("metadata.name=", "metadata.name="),
        ];
        for (text, want) in cases {
            assert_eq!(Selector::parse(text).map(|selector| selector.to_string()).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn refused() {
        let cases = [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            ("b=1,a<2", "invalid selector: 'b=1,a<2'; can't understand 'a<2'"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
            (r"a=b\", r"invalid field selector: invalid escape sequence: \"),
        ];
        for (text, want) in cases {
            assert_eq!(Selector::parse(text).map_err(|error| error.to_string()), Err(want.to_owned()), "{text}");
        }
        assert_eq!(Error::FieldNotSupported("x".to_owned()).to_string(), "field label not supported: x");
        let unknown = r#""x" is not a known field selector: only "metadata.name", "metadata.namespace""#;
        assert_eq!(Error::FieldNotKnown("x".to_owned()).to_string(), unknown);
    }

    #[test]
    fn matching() {
        let get = |field: &str| match field {
            "name" => Some("a,b"),
            "phase" => Some("Running"),
            _ => None,
        };
        let cases = [
            ("", true),
            ("phase=Running", true),
            ("phase!=Running", false),
            (r"name=a\,b,phase==Running", true),
            ("none=", true),
            ("none!=", false),
            ("none!=x", true),
        ];
        for (text, want) in cases {
            assert_eq!(Selector::parse(text).map(|selector| selector.matches(get)), Ok(want), "{text}");
        }
    }

    #[test]
    fn exact_values_and_transforms() {
        let selector = Selector::parse("a!=1,b=2,a=3,c=4").expect("a selector");
        assert_eq!(selector.requires_exact_match("a"), Some("3"));
        assert_eq!(selector.requires_exact_match("d"), None);
        let renamed = selector.transform(|field, value| match field.as_str() {
            "b" => Ok(("renamed".to_owned(), value)),
            "c" => Ok((String::new(), String::new())),
            "d" => Err(Error::FieldNotSupported(field)),
            _ => Ok((field, value)),
        });
        assert_eq!(renamed.map(|selector| selector.to_string()).as_deref(), Ok("a!=1,a=3,renamed=2"));
        let refused = Selector::equal("d", "1").transform(|field, _| Err(Error::FieldNotSupported(field)));
        assert_eq!(refused, Err(Error::FieldNotSupported("d".to_owned())));
    }
}
