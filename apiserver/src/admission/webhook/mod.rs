//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook
//! (k8s.io/apiserver/pkg/admission/plugin/webhook/{generic,mutating,validating}@v0.37.2).
//!
//! Invariant: which webhooks there are is known before a request asks; what is asked of one is in the version that
//! its rules name.

mod call;
mod condition;
mod configuration;
mod matching;
mod metrics;
mod mutating;
mod reinvocation;
#[cfg(test)]
mod tests;
mod validating;

use std::sync::Arc;

use super::{Attributes, is_excluded};
use crate::cache::Item;
use crate::hub::Observer;
use crate::registry::Storage;
use crate::webhook::client::Clients;

use configuration::Index;
pub(crate) use metrics::Metrics;
pub(crate) use mutating::MutatingAdmissionWebhook;
pub(crate) use validating::ValidatingAdmissionWebhook;

const GROUP: &str = "admissionregistration.k8s.io";

/// The webhooks that are configured, and the connections to them.
#[derive(Default)]
pub(crate) struct Webhooks {
    pub(crate) clients: Arc<Clients>,
    pub(crate) metrics: Metrics,
    mutating: Index,
    validating: Index,
}

impl Webhooks {
    pub(crate) fn new(clients: Arc<Clients>) -> Self {
        Webhooks { clients, ..Webhooks::default() }
    }
}

/// Keeps [`Webhooks`] current.
pub(crate) struct Configurations(pub(crate) Arc<Webhooks>);

impl Observer for Configurations {
    fn changed(&self, storage: &Storage, key: &str, item: Option<&Item>) {
        let index = match (storage.group, storage.plural) {
            (GROUP, "mutatingwebhookconfigurations") => &self.0.mutating,
            (GROUP, "validatingwebhookconfigurations") => &self.0.validating,
            _ => return,
        };
        index.set(key, item.map(|item| item.object(storage)).as_ref());
    }
}

/// Kinds that no webhook is asked about: those that configure admission, which could lock themselves, and questions of
/// identity and permission (predicates/rules/rules.go).
fn is_exempt(attributes: &Attributes<'_>) -> bool {
    let kinds = [
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
    ];
    let configures = attributes.group == GROUP && kinds.contains(&attributes.kind);
    configures || is_excluded(attributes.group, attributes.resource)
}
