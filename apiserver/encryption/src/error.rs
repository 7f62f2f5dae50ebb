//! Why stored bytes cannot be read or made.

use std::fmt;

/// One failure, or several that Go's aggregate would show together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    texts: Vec<String>,
    /// Of a call that failed, as Go names it: `Unavailable`.
    grpc_code: Option<&'static str>,
}

impl Error {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Error { texts: vec![text.into()], grpc_code: None }
    }

    /// A call to a plugin failed: `code` as Go names it, `text` what the plugin said.
    pub fn call(code: &'static str, text: &str) -> Self {
        Error { texts: vec![format!("rpc error: code = {code} desc = {text}")], grpc_code: Some(code) }
    }

    /// The same failure behind some words.
    pub(crate) fn within(&self, words: &str) -> Self {
        Error { texts: vec![format!("{words}{self}")], grpc_code: self.grpc_code }
    }

    /// Several as one (k8s.io/apimachinery/pkg/util/errors/errors.go@v0.37.2: NewAggregate, Reduce); `None` of none.
    pub(crate) fn all(errors: Vec<Error>) -> Option<Self> {
        match <[Error; 1]>::try_from(errors) {
            Ok([one]) => Some(one),
            Err(none) if none.is_empty() => None,
            Err(many) => {
                Some(Error { texts: many.into_iter().flat_map(|error| error.texts).collect(), grpc_code: None })
            }
        }
    }

    /// The `status` label of upstream's metrics (k8s.io/apiserver/pkg/storage/value/metrics.go@v0.37.2: getErrorCode).
    pub(crate) fn code(&self) -> &'static str {
        self.grpc_code.unwrap_or("unknown-non-grpc")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seen: Vec<&str> = Vec::with_capacity(self.texts.len());
        for text in &self.texts {
            if !seen.contains(&text.as_str()) {
                seen.push(text);
            }
        }
        match &seen[..] {
            [one] => f.write_str(one),
            many => write!(f, "[{}]", many.join(", ")),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_are_shown_as_gos_aggregate_shows_them() {
        let of = |texts: &[&str]| Error::all(texts.iter().map(|text| Error::new(*text)).collect());
        let shown = |texts: &[&str]| of(texts).map(|error| error.to_string());
        assert_eq!(shown(&[]), None);
        assert_eq!(shown(&["a"]).as_deref(), Some("a"));
        assert_eq!(shown(&["a", "b", "a"]).as_deref(), Some("[a, b]"));
        assert_eq!(shown(&["a", "a"]).as_deref(), Some("a"));
    }

    #[test]
    fn the_code_of_a_call_is_kept_behind_words_and_lost_in_company() {
        let call = Error::call("Unavailable", "gone").within("failed to decrypt DEK, error: ");
        assert_eq!(call.to_string(), "failed to decrypt DEK, error: rpc error: code = Unavailable desc = gone");
        assert_eq!(call.code(), "Unavailable");
        let both = Error::all(vec![call, Error::new("x")]).map(|error| error.code());
        assert_eq!(both, Some("unknown-non-grpc"));
    }
}
