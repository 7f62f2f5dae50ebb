//! Label and field selectors: what list, watch and controllers select objects by.
//!
//! Invariant: the grammar, the canonical text and the error texts are upstream's. Non-goal: knowing which fields a kind
//! can be selected by; the API server checks a parsed selector's requirements against that.

pub mod fields;
pub mod labels;

/// Why a selector is refused; the texts are upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A label selector, with the reason spelt out.
    #[error("{0}")]
    Label(String),
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    FieldTerm { selector: String, term: String },
    #[error("invalid field selector: invalid escape sequence: {0}")]
    FieldEscape(String),
    /// Upstream shows the character's number.
    #[error("invalid field selector: unescaped character in value: {}", u32::from(*.0))]
    FieldUnescaped(char),
    /// The kind cannot be selected by this field.
    #[error("field label not supported: {0}")]
    FieldNotSupported(String),
    /// The same, for kinds that can be selected by name and namespace only.
    #[error("{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", crate::field::go_quote(.0))]
    FieldNotKnown(String),
}
