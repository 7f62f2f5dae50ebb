//! The plugin ValidatingAdmissionPolicy (k8s.io/apiserver/pkg/admission/plugin/policy/validating/dispatcher.go@v0.37.2).
//!
//! Invariant: every policy is asked; the first refusal is what the client is told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::status::{Cause, Status};
use api::value::{Map, Value as ApiValue};
use cel::value::Value;
use futures::future::BoxFuture;

use super::matching::Matched;
use super::params;
use super::request::{Request, Sight, concerns};
use super::source::{Binding, Hook, Policies, Policy};
use super::validator::{Annotation, Decision, Validator, Verdict};
use crate::admission::expression::subject::Name;
use crate::admission::{Attributes, Operation, Plugin, Reader};
use crate::authz::Authorizers;
use crate::registry::Entry;

/// Failures told in one audit annotation.
const FAILURES_MAX: usize = 50;
/// Longest value of an audit annotation, in bytes.
const ANNOTATION_BYTES_MAX: usize = 10 * 1024;
const FAILURES: &str = "validation.policy.admission.k8s.io/validation_failure";

pub(crate) struct ValidatingAdmissionPolicy {
    pub(crate) policies: Arc<Policies>,
    pub(crate) authorizers: Arc<Authorizers>,
}

impl Plugin for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
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
            let hooks = self.policies.validating.hooks();
            if hooks.is_empty() || !concerns(attributes.group, attributes.resource) {
                return Ok(());
            }
            let Some(request) = Request::new(attributes, objects) else { return Ok(()) };
            let mut dispatch = Dispatch::new(&request, &self.authorizers);
            for hook in hooks.iter() {
                dispatch.ask(hook).await?;
            }
            dispatch.end()
        })
    }
}

/// One refusal.
struct Denied {
    policy: String,
    binding: Option<String>,
    message: String,
    reason: String,
}

/// The policies' opinions of one request.
struct Dispatch<'a> {
    request: &'a Request<'a>,
    authorizers: &'a Arc<Authorizers>,
    denied: Vec<Denied>,
    failures: Vec<ApiValue>,
    /// `object` and `oldObject` by kind.
    seen: HashMap<Name, (Value, Value)>,
}

impl<'a> Dispatch<'a> {
    fn new(request: &'a Request<'a>, authorizers: &'a Arc<Authorizers>) -> Self {
        Dispatch { request, authorizers, denied: Vec::new(), failures: Vec::new(), seen: HashMap::new() }
    }

    /// What is wrong with a policy or binding refuses the request, unless failures are ignored.
    fn misconfigured(&mut self, policy: &Policy<Validator>, binding: Option<&Binding>, why: &str) {
        if policy.ignores_failures {
            return;
        }
        let what = if binding.is_none() { "policy" } else { "binding" };
        self.denied.push(Denied {
            policy: policy.name.clone(),
            binding: binding.map(|binding| binding.name.clone()),
            message: format!("failed to configure {what}: {why}"),
            reason: String::new(),
        });
    }

    async fn ask(&mut self, hook: &Hook<Validator>) -> Result<(), Status> {
        let policy = &*hook.policy;
        let matched = match &policy.criteria {
            Some(criteria) => criteria.matches(self.request).await,
            None => Err("policy contained no match constraints, a required field".into()),
        };
        let matched = match matched {
            Ok(Some(matched)) => matched,
            Ok(None) => return Ok(()),
            Err(why) => {
                self.misconfigured(policy, None, &why);
                return Ok(());
            }
        };
        let kind = policy.param_kind.as_ref().map(|kind| kind.resolve(self.request.objects.registry())).transpose();
        let kind = match kind {
            Ok(kind) => kind,
            Err(why) => {
                self.misconfigured(policy, None, &why);
                return Ok(());
            }
        };
        let mut annotations = Annotations::default();
        for binding in &hook.bindings {
            if let Some(verdicts) = self.ask_for(policy, binding, &matched, kind.as_ref()).await? {
                verdicts.into_iter().for_each(|verdict| self.tell(policy, binding, verdict, &mut annotations));
            }
        }
        annotations.publish(&policy.name, self.request.attributes);
        Ok(())
    }

    /// What the policy says for one binding, parameter by parameter; `None` where it says nothing.
    async fn ask_for(
        &mut self,
        policy: &Policy<Validator>,
        binding: &Binding,
        matched: &Matched,
        kind: Option<&Arc<Entry>>,
    ) -> Result<Option<Vec<Verdict>>, Status> {
        let matches = match &binding.criteria {
            Some(criteria) => criteria.matches(self.request).await.map(|matched| matched.is_some()),
            None => Ok(true),
        };
        let params = match matches {
            Ok(false) => return Ok(None),
            Ok(true) => params::collect(kind, binding.param_ref.as_ref(), self.request).await,
            Err(why) => Err(why),
        };
        let params = match params {
            Ok(params) => params,
            Err(why) => {
                self.misconfigured(policy, Some(binding), &why);
                return Ok(None);
            }
        };
        let namespace = self.request.namespace().await?;
        Ok(Some(params.iter().map(|param| self.judge(policy, matched, param.as_ref(), namespace.as_deref())).collect()))
    }

    fn judge(
        &mut self,
        policy: &Policy<Validator>,
        matched: &Matched,
        param: Option<&Map>,
        namespace: Option<&Map>,
    ) -> Verdict {
        let request = self.request;
        let see = || request.seen(&request.versioned(matched));
        let seen = self.seen.entry(matched.kind.clone()).or_insert_with(see);
        let sight = Sight { matched, seen, param, namespace };
        let for_conditions = || request.condition_inputs(&sight, self.authorizers);
        policy.evaluator().judge(for_conditions, &request.inputs(&sight, self.authorizers))
    }

    /// What follows from a verdict, by the actions of the binding.
    fn tell(&mut self, policy: &Policy<Validator>, binding: &Binding, verdict: Verdict, into: &mut Annotations) {
        for (at, decision) in verdict.decisions.into_iter().enumerate() {
            let Decision::Deny { message, reason } = decision else { continue };
            for action in &binding.actions {
                match action.as_str() {
                    "Deny" => self.deny(policy, binding, message.clone(), reason.clone()),
                    "Audit" => self.failures.push(failure(binding, at, &message)),
                    "Warn" => self.request.attributes.warn(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {message}",
                        policy.name, binding.name
                    )),
                    _ => {}
                }
            }
        }
        for annotation in verdict.annotations {
            match annotation {
                Annotation::Publish { key, value } => into.add(key, value),
                Annotation::Error(message) => self.deny(policy, binding, message, String::new()),
                Annotation::Exclude => {}
            }
        }
    }

    fn deny(&mut self, policy: &Policy<Validator>, binding: &Binding, message: String, reason: String) {
        let (policy, binding) = (policy.name.clone(), Some(binding.name.clone()));
        self.denied.push(Denied { policy, binding, message, reason });
    }

    fn end(mut self) -> Result<(), Status> {
        let attributes = self.request.attributes;
        if !self.failures.is_empty() {
            self.failures.truncate(FAILURES_MAX);
            let mut text = Vec::new();
            api::json::encode_value(&mut text, &ApiValue::List(self.failures));
            attributes.annotate(FAILURES.into(), String::from_utf8_lossy(&text).into_owned());
        }
        let Some(denied) = self.denied.into_iter().next() else { return Ok(()) };
        let with = denied.binding.map_or_else(String::new, |binding| format!(" with binding '{binding}'"));
        let message = format!("ValidatingAdmissionPolicy '{}'{with} denied request: {}", denied.policy, denied.message);
        let mut status = attributes.forbidden(&message);
        (status.reason, status.code) = answer(&denied.reason);
        status.causes.push(Cause { message, ..Cause::default() });
        Err(status)
    }
}

/// The reasons that a validation may give, with their codes.
fn answer(reason: &str) -> (&'static str, u16) {
    match reason {
        "Forbidden" => ("Forbidden", 403),
        "Unauthorized" => ("Unauthorized", 401),
        "RequestEntityTooLarge" => ("RequestEntityTooLarge", 413),
        _ => ("Invalid", 422),
    }
}

fn failure(binding: &Binding, at: usize, message: &str) -> ApiValue {
    let actions = binding.actions.iter().map(|action| action.as_str().into()).collect();
    let mut failure = Map::new();
    failure.set("message", message);
    failure.set("policy", binding.policy.as_str());
    failure.set("binding", binding.name.as_str());
    failure.set("expressionIndex", i64::try_from(at).unwrap_or(i64::MAX));
    failure.set("validationActions", ApiValue::List(actions));
    failure.into()
}

/// Audit annotations of one policy; several values of one key are told together.
#[derive(Default)]
struct Annotations(BTreeMap<String, Vec<String>>);

impl Annotations {
    fn add(&mut self, key: String, mut value: String) {
        let end = (0..=ANNOTATION_BYTES_MAX.min(value.len())).rev().find(|at| value.is_char_boundary(*at));
        value.truncate(end.unwrap_or(0));
        let values = self.0.entry(key).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }

    fn publish(self, policy: &str, attributes: &Attributes<'_>) {
        for (key, values) in self.0 {
            attributes.annotate(format!("{policy}/{key}"), values.join(", "));
        }
    }
}
