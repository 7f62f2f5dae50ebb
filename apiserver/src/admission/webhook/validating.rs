//! ValidatingAdmissionWebhook: all webhooks at once, the first refusal wins
//! (k8s.io/apiserver/pkg/admission/plugin/webhook/validating@v0.37.2).

use std::sync::Arc;
use std::time::Instant;

use api::status::Status;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};

use super::call::{Call, Seen, settle};
use super::configuration::Hook;
use super::matching::{Versions, wanted};
use super::{Webhooks, is_exempt};
use crate::admission::{Attributes, Operation, Plugin, Reader};
use crate::audit::Level;
use crate::authz::Authorizers;

pub(crate) struct ValidatingAdmissionWebhook {
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) authorizers: Arc<Authorizers>,
}

impl Plugin for ValidatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let hooks = self.webhooks.validating.all();
            if hooks.is_empty() || is_exempt(attributes) {
                return Ok(());
            }
            self.dispatch(&hooks, attributes, objects).await
        })
    }
}

impl ValidatingAdmissionWebhook {
    async fn dispatch(
        &self,
        hooks: &[Arc<Hook>],
        attributes: &Attributes<'_>,
        objects: &dyn Reader,
    ) -> Result<(), Status> {
        let mut versions = Versions::default();
        let mut relevant = Vec::new();
        for hook in hooks {
            if let Some(entry) = wanted(hook, attributes, objects, &mut versions, &self.authorizers).await? {
                relevant.push((hook, entry));
            }
        }
        // Each version is made once.
        let mut seen: Vec<Seen<'_>> = Vec::new();
        for (_, entry) in &relevant {
            if !seen.iter().any(|seen| Arc::ptr_eq(seen.entry, entry)) {
                seen.push(Seen::of(entry, attributes, objects).await.map_err(|why| Status::internal(&why.message))?);
            }
        }
        let calls: FuturesUnordered<_> = relevant
            .iter()
            .enumerate()
            .filter_map(|(at, (hook, entry))| {
                let seen = seen.iter().find(|seen| Arc::ptr_eq(seen.entry, entry))?;
                Some(self.call(at, hook, attributes, seen, objects))
            })
            .collect();
        // All are awaited, as upstream does: a webhook sees the request even when another refuses it.
        let outcomes: Vec<Result<(), Status>> = calls.collect().await;
        outcomes.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }

    async fn call(
        &self,
        at: usize,
        hook: &Hook,
        attributes: &Attributes<'_>,
        seen: &Seen<'_>,
        objects: &dyn Reader,
    ) -> Result<(), Status> {
        let started = Instant::now();
        let call = Call { webhooks: &self.webhooks, hook, mutating: false, attributes, seen };
        let outcome = call.ask(objects).await;
        let settled = settle(&self.webhooks, hook, attributes, "validating", started, outcome)?;
        if settled.is_none() {
            let key = || format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{at}");
            attributes.annotate_at(Level::Metadata, key, || hook.name.clone());
        }
        Ok(())
    }
}
