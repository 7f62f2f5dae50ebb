//! One webhook asked about one request (the callHook functions of
//! k8s.io/apiserver/pkg/admission/plugin/webhook/{mutating,validating}/dispatcher.go@v0.37.2).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use api::field::go_quote;
use api::status::Status;
use api::value::Map;

use super::Webhooks;
use super::configuration::{Hook, SideEffects};
use super::metrics::{Over, Rejection};
use crate::admission::expression::subject::Name;
use crate::admission::{Attributes, Reader};
use crate::audit::layer;
use crate::registry::Entry;
use crate::webhook::admission_review::{self as review, Answer, Question};

/// Why a webhook does not let a request through.
#[derive(Debug)]
pub(super) enum Stopped {
    /// It could not be asked: text and code. Its failurePolicy decides.
    Uncalled(String, u16),
    Denied(Status),
    /// The server cannot go on.
    Broken(Status),
}

/// The objects of a request in the version that a webhook is asked in.
pub(super) struct Seen<'a> {
    pub(super) entry: &'a Arc<Entry>,
    pub(super) object: Option<Cow<'a, Map>>,
    pub(super) old: Option<Cow<'a, Map>>,
}

impl<'a> Seen<'a> {
    /// Converts what has to be.
    pub(super) async fn of(
        entry: &'a Arc<Entry>,
        attributes: &'a Attributes<'_>,
        objects: &dyn Reader,
    ) -> Result<Seen<'a>, Status> {
        let (object, old) = (attributes.object.as_deref(), attributes.old);
        if Arc::ptr_eq(entry, attributes.entry) || !attributes.is_own_kind() {
            return Ok(Seen { entry, object: object.map(Cow::Borrowed), old: old.map(Cow::Borrowed) });
        }
        let mut seen = Seen { entry, object: None, old: None };
        if let Some(object) = object {
            seen.object = Some(Cow::Owned(attributes.entry.converted(entry, object, objects).await?));
        }
        if let Some(old) = old {
            seen.old = Some(Cow::Owned(attributes.entry.converted(entry, old, objects).await?));
        }
        Ok(seen)
    }
}

/// A call under way.
pub(super) struct Call<'a> {
    pub(super) webhooks: &'a Webhooks,
    pub(super) hook: &'a Hook,
    pub(super) mutating: bool,
    pub(super) attributes: &'a Attributes<'a>,
    pub(super) seen: &'a Seen<'a>,
}

impl Call<'_> {
    /// Asks, and takes over what is to be told: warnings and annotations.
    pub(super) async fn ask(&self, objects: &dyn Reader) -> Result<Answer, Stopped> {
        let (hook, attributes) = (self.hook, self.attributes);
        if attributes.dry_run {
            check_dry_run(hook)?;
        }
        let Some(version) = hook.review else {
            let why = "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)";
            return Err(Stopped::Uncalled(why.into(), 400));
        };
        let uid = uuid::Uuid::new_v4().to_string();
        let asked = review::asked(version, &self.question(&uid));
        let answered = self.webhooks.clients.post(&hook.place, objects, &asked, hook.timeout).await;
        let answered = answered.map_err(|failure| Stopped::Uncalled(failure.told(), failure.code))?;
        if let Some(why) = review::undecodable(version, &answered) {
            return Err(Stopped::Uncalled(format!("failed to call webhook: {why}"), 503));
        }
        let answer = review::answered(version, &uid, self.mutating, &answered)
            .map_err(|why| Stopped::Uncalled(format!("received invalid webhook response: {why}"), 503))?;
        for (key, value) in &answer.annotations {
            attributes.annotate(format!("{}/{key}", hook.name), value.clone());
        }
        answer.warnings.iter().for_each(|warning| attributes.warn(warning.clone()));
        match answer.allowed {
            true => Ok(answer),
            false => Err(Stopped::Denied(review::denial(&hook.name, answer.result.as_ref()))),
        }
    }

    fn question<'q>(&'q self, uid: &'q str) -> Question<'q> {
        Question {
            uid,
            kind: kind_of(self.seen.entry, self.attributes.subresource),
            resource: resource_of(self.seen.entry),
            request_kind: kind_of(self.attributes.entry, self.attributes.subresource),
            request_resource: resource_of(self.attributes.entry),
            subresource: self.attributes.subresource,
            name: self.attributes.name,
            namespace: self.attributes.namespace,
            operation: self.attributes.operation.text(),
            user: self.attributes.user,
            object: self.seen.object.as_deref(),
            old: self.seen.old.as_deref(),
            dry_run: self.attributes.dry_run,
            options: &self.attributes.options,
        }
    }
}

fn kind_of(entry: &Entry, subresource: &str) -> Name {
    let expected = entry.expected(subresource);
    Name::new(expected.group, expected.version, expected.kind)
}

fn resource_of(entry: &Entry) -> Name {
    Name::new(entry.facts.group, entry.facts.version, entry.facts.plural)
}

fn check_dry_run(hook: &Hook) -> Result<(), Stopped> {
    match hook.side_effects {
        SideEffects::None => Ok(()),
        SideEffects::Unset => Err(Stopped::Uncalled("Webhook SideEffects is nil".into(), 400)),
        SideEffects::Possible => {
            let why = format!("admission webhook {} does not support dry run", go_quote(&hook.name));
            Err(Stopped::Broken(Status::bad_request(why)))
        }
    }
}

/// Whether the request goes on after a call that began at `started`; what is left of a failure goes by failurePolicy.
pub(super) fn settle<T>(
    webhooks: &Webhooks,
    hook: &Hook,
    attributes: &Attributes<'_>,
    step: &'static str,
    started: Instant,
    outcome: Result<T, Stopped>,
) -> Result<Option<T>, Status> {
    let layer = if step == "admit" { layer::MUTATING_WEBHOOK } else { layer::VALIDATING_WEBHOOK };
    attributes.annotations.lock().waited(layer, started.elapsed());
    let over = |code: u16| {
        let operation = attributes.operation.text();
        Over { name: &hook.name, step, operation, code, took: started.elapsed() }
    };
    match outcome {
        Ok(answer) => {
            webhooks.metrics.observe(&over(200), None);
            Ok(Some(answer))
        }
        Err(Stopped::Uncalled(why, code)) => {
            let text = format!("failed calling webhook {}: {why}", go_quote(&hook.name));
            webhooks.metrics.observe(&over(code), (!hook.may_fail).then_some(Rejection::Calling));
            if hook.may_fail {
                tracing::warn!(webhook = hook.name, text, "failed calling webhook, failing open");
                webhooks.metrics.failed_open(&hook.name, step);
                return Ok(None);
            }
            tracing::warn!(webhook = hook.name, text, "failed calling webhook, failing closed");
            Err(Status::internal(&text))
        }
        Err(Stopped::Denied(status)) => {
            webhooks.metrics.observe(&over(status.code), Some(Rejection::Webhook));
            Err(status)
        }
        Err(Stopped::Broken(status)) => {
            webhooks.metrics.observe(&over(0), Some(Rejection::Server));
            Err(status)
        }
    }
}
