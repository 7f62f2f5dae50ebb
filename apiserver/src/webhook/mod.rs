//! Webhooks: whom a configuration names, the connection to it, and what is asked and answered
//! (k8s.io/apiserver/pkg/util/webhook@v0.37.2).
//!
//! Invariant: a webhook is trusted by its configuration's CA alone, and every call has a deadline and a largest
//! answer. Must not know: what a webhook decides about; who calls says what the answer means.

pub(crate) mod admission_review;
pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod conversion_review;
pub(crate) mod kubeconfig;
pub(crate) mod place;
pub(crate) mod remote;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod trust;
pub(crate) mod wire;

use api::field::go_quote;
use api::value::{Map, Value};

/// Versions of reviews that are known here; admission and conversion have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V1beta1,
}

impl Version {
    pub(crate) const ALL: [Version; 2] = [Version::V1, Version::V1beta1];

    /// The first version of a configuration's list that is known here.
    pub(crate) fn chosen(accepted: &[Value]) -> Option<Self> {
        accepted.iter().find_map(|version| Version::named(version.as_str()?))
    }

    pub(crate) fn named(text: &str) -> Option<Self> {
        Version::ALL.into_iter().find(|version| version.text() == text)
    }

    fn text(self) -> &'static str {
        match self {
            Version::V1 => "v1",
            Version::V1beta1 => "v1beta1",
        }
    }

    pub(crate) fn of_group(self, group: &str) -> String {
        format!("{group}/{}", self.text())
    }
}

/// What keeps an answer from being decoded as a review of the version that was asked. Its kind may be left out.
pub(crate) fn unlike(group: &str, kind: &str, version: Version, review: &Map) -> Option<String> {
    let (api_version, named) = (review.str("apiVersion"), review.str("kind"));
    if api_version.is_empty() && named.is_empty() {
        return None;
    }
    let known = Version::ALL.into_iter().find(|version| version.of_group(group) == api_version);
    match known {
        Some(is) if named == kind && is == version => None,
        Some(is) if named == kind => {
            let (is, wanted) = (is.text(), version.text());
            Some(format!("converting ({is}.{kind}) to ({wanted}.{kind}): unknown conversion"))
        }
        _ => Some(format!(
            "no kind {} is registered for version {} in scheme \"pkg/runtime/scheme.go:111\"",
            go_quote(named),
            go_quote(api_version)
        )),
    }
}
