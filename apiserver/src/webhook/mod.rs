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
#[cfg(test)]
pub(crate) mod testing;
mod trust;
