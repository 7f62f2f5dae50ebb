//! Webhooks: whom a configuration names, the connection to it, and what is asked and answered
//! (k8s.io/apiserver/pkg/util/webhook@v0.37.2).
//!
//! Invariant: a webhook is trusted by its configuration's CA alone, and every call has a deadline and a largest
//! answer. Must not know: what a webhook decides about; who calls says what the answer means.

pub(crate) mod admission_review;
mod answer;
pub(crate) mod client;
pub(crate) mod conversion_review;
pub(crate) mod place;
pub(crate) mod resolve;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod trust;

use api::value::Value;

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
        let known = |text: &str| Version::ALL.into_iter().find(|version| version.text() == text);
        accepted.iter().find_map(|version| known(version.as_str()?))
    }

    fn text(self) -> &'static str {
        match self {
            Version::V1 => "v1",
            Version::V1beta1 => "v1beta1",
        }
    }

    fn of_group(self, group: &str) -> String {
        format!("{group}/{}", self.text())
    }
}
