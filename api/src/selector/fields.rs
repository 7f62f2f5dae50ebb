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
        let was_escaped = std::mem::replace(&mut escaped, !escaped && c == '\\');
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
