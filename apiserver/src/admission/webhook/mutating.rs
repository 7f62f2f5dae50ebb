//! MutatingAdmissionWebhook: one webhook after the other, each seeing what those before it made
//! (k8s.io/apiserver/pkg/admission/plugin/webhook/mutating@v0.37.2).

use std::sync::Arc;
use std::time::Instant;

use api::field::go_quote;
use api::json::{self, Strictness};
use api::object::set_kind;
use api::status::Status;
use api::value::{Map, Value};
use futures::future::BoxFuture;

use super::call::{Call, Seen, Stopped, settle};
use super::configuration::Hook;
use super::matching::{Versions, wanted};
use super::reinvocation::Memory;
use super::{Webhooks, is_exempt};
use crate::admission::{Attributes, Operation, Plugin, Reader};
use crate::audit::Level;
use crate::authz::Authorizers;
use crate::patch;
use crate::registry::Entry;
use crate::webhook::admission_review::Answer;

const NAME: &str = "MutatingAdmissionWebhook";
/// Prefixes of audit annotations.
const MUTATION: &str = "mutation.webhook.admission.k8s.io";
const PATCH: &str = "patch.webhook.admission.k8s.io";

pub(crate) struct MutatingAdmissionWebhook {
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) authorizers: Arc<Authorizers>,
}

impl Plugin for MutatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let hooks = self.webhooks.mutating.all();
            if hooks.is_empty() || is_exempt(attributes) {
                return Ok(());
            }
            let object = attributes.object.as_deref();
            let state = attributes.reinvocation.get_mut();
            let is_second = state.is_reinvoke();
            state.kept::<Memory>(NAME).begin(is_second, object);
            let outcome = self.dispatch(&hooks, attributes, objects).await;
            let object = attributes.object.as_deref();
            attributes.reinvocation.get_mut().kept::<Memory>(NAME).end(object);
            outcome
        })
    }
}

impl MutatingAdmissionWebhook {
    async fn dispatch(
        &self,
        hooks: &[Arc<Hook>],
        attributes: &mut Attributes<'_>,
        objects: &dyn Reader,
    ) -> Result<(), Status> {
        let is_second = attributes.reinvocation.get_mut().is_reinvoke();
        let mut versions = Versions::default();
        for (at, hook) in hooks.iter().enumerate() {
            let Some(entry) = wanted(hook, attributes, objects, &mut versions, &self.authorizers).await? else {
                continue;
            };
            if !attributes.reinvocation.get_mut().kept::<Memory>(NAME).is_due(is_second, &hook.uid) {
                continue;
            }
            let started = Instant::now();
            let place = format!("round_{}_index_{at}", u8::from(is_second));
            let outcome = self.call(hook, &entry, attributes, objects, &place).await;
            let changed = matches!(outcome, Ok(Some(_)));
            attributes.annotate_at(Level::Metadata, || format!("{MUTATION}/{place}"), || told(hook, changed));
            let settled = settle(&self.webhooks, hook, attributes, "admit", started, outcome)?;
            if settled.is_none() {
                let key = || format!("failed-open.{MUTATION}/{place}");
                attributes.annotate_at(Level::Metadata, key, || hook.name.clone());
            }
            if let (Some(patched), Some(object)) = (settled.flatten(), attributes.object.as_deref_mut()) {
                *object = patched;
            }
            let state = attributes.reinvocation.get_mut();
            state.kept::<Memory>(NAME).asked(&hook.uid, changed, hook.again);
            if changed {
                state.want();
            }
        }
        Ok(())
    }

    /// The object as the webhook wants it, if that is another; in the request's version.
    async fn call(
        &self,
        hook: &Hook,
        entry: &Arc<Entry>,
        attributes: &Attributes<'_>,
        objects: &dyn Reader,
        place: &str,
    ) -> Result<Option<Map>, Stopped> {
        let failed = |status: Status| Stopped::Broken(Status::internal(&status.message));
        let seen = Seen::of(entry, attributes, objects).await.map_err(failed)?;
        let call = Call { webhooks: &self.webhooks, hook, mutating: true, attributes, seen: &seen };
        let answer = call.ask(objects).await?;
        let patched = patched(hook, &seen, attributes.subresource, &answer)?;
        if !answer.patch.is_empty() {
            let key = || format!("{PATCH}/{place}");
            attributes.annotate_at(Level::Request, key, || told_patch(hook, &answer.patch));
        }
        let Some(object) = patched else { return Ok(None) };
        if Arc::ptr_eq(entry, attributes.entry) || !attributes.is_own_kind() {
            return Ok(Some(object));
        }
        entry.converted(attributes.entry, &object, objects).await.map(Some).map_err(failed)
    }
}

/// The audit annotation of a call.
fn told(hook: &Hook, mutated: bool) -> String {
    let text = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let (configuration, webhook) = (text(&hook.configuration), text(&hook.name));
    format!("{{\"configuration\":{configuration},\"webhook\":{webhook},\"mutated\":{mutated}}}")
}

/// The audit annotation of a patch.
fn told_patch(hook: &Hook, patch: &[u8]) -> String {
    let text = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let (configuration, webhook) = (text(&hook.configuration), text(&hook.name));
    let patch = json::decode_any(patch, Strictness::Lenient).map(|(patch, _)| patch).unwrap_or_default();
    let mut told = format!("{{\"configuration\":{configuration},\"webhook\":{webhook},\"patch\":").into_bytes();
    json::encode_value(&mut told, &patch);
    told.extend_from_slice(b",\"patchType\":\"JSONPatch\"}");
    String::from_utf8_lossy(&told).into_owned()
}

/// What an answer's patch makes of the object; `None` when that is the same.
fn patched(hook: &Hook, seen: &Seen<'_>, subresource: &str, answer: &Answer) -> Result<Option<Map>, Stopped> {
    if answer.patch.is_empty() {
        return Ok(None);
    }
    let undecodable =
        |why: String| Stopped::Uncalled(format!("received undecodable patch in webhook response: {why}"), 503);
    let operations = patch::json::operations(&answer.patch).map_err(undecodable)?;
    if operations.is_empty() {
        return Ok(None);
    }
    let internal = |why: &str| Stopped::Broken(Status::internal(why));
    let Some(object) = seen.object.as_deref() else {
        let name = go_quote(&hook.name);
        let why = format!(
            "admission webhook {name} attempted to modify the object, which is not supported for this operation"
        );
        return Err(internal(&why));
    };
    if answer.patch_type != "JSONPatch" {
        return Err(Stopped::Uncalled(format!("unsupported patch type {}", go_quote(&answer.patch_type)), 400));
    }
    let text = patch::json::apply(object, &operations).map_err(|why| internal(&why))?;
    let new = canonical(seen.entry, subresource, &text).map_err(|why| internal(&why))?;
    Ok((new != *object).then_some(new))
}

/// A patched text as an object of its kind, with its defaults.
fn canonical(entry: &Entry, subresource: &str, text: &[u8]) -> Result<Map, String> {
    let expected = entry.expected(subresource);
    let decoded = json::decode(text, expected.ty, Strictness::Lenient);
    let mut object = decoded.map_err(|error| error.to_string())?.value;
    set_kind(&mut object, &api::facts::api_version(expected.group, expected.version), expected.kind);
    if expected.ty.open {
        expected.hooks.settle(&mut object)?;
    }
    api::defaults::apply(&mut object, expected.ty);
    if expected.kind == entry.facts.kind {
        entry.strategy.default(&mut object);
    }
    // Canonical objects have no empty metadata.
    if matches!(object.get("metadata"), Some(Value::Null)) {
        object.set("metadata", Map::new());
    }
    Ok(object)
}
