//! The plugin MutatingAdmissionPolicy
//! (k8s.io/apiserver/pkg/admission/plugin/policy/{generic/policy_dispatcher,mutating/dispatcher}.go@v0.37.2).
//!
//! Invariant: who is asked is settled before anything is changed; then each one sees what those before made of the
//! object.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api::object::Meta;
use api::status::{Cause, Status};
use api::value::Map;
use futures::future::BoxFuture;

use super::matching::Matched;
use super::mutator::{Failure, Mutator};
use super::params;
use super::request::{Request, Sight, Versioned, concerns};
use super::source::{Binding, Hook, Policies, Policy};
use crate::admission::expression::evaluate::Session;
use crate::admission::expression::subject::Name;
use crate::admission::{Attributes, Operation, Plugin, Reader};
use crate::authz::Authorizers;

const NAME: &str = "MutatingAdmissionPolicy";

pub(crate) struct MutatingAdmissionPolicy {
    pub(crate) policies: Arc<Policies>,
    pub(crate) authorizers: Arc<Authorizers>,
}

impl Plugin for MutatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, operation: Operation) -> bool {
        // A deletion has no object to change.
        operation != Operation::Delete
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let hooks = self.policies.mutating.hooks();
            if hooks.is_empty() || !concerns(attributes.group, attributes.resource) {
                return Ok(());
            }
            let changed = self.dispatch(&hooks, attributes, objects).await?;
            if let (Some(changed), Some(object)) = (changed, attributes.object.as_deref_mut()) {
                *object = changed;
            }
            Ok(())
        })
    }
}

/// A policy to be asked with a binding and a parameter.
struct Invocation {
    policy: Arc<Policy<Mutator>>,
    binding: Arc<Binding>,
    matched: Matched,
    param: Option<Map>,
}

/// Policy, binding, and namespace and name of the parameter.
type Key = (String, String, Option<(String, String)>);

/// What the plugin remembers between the two runs.
#[derive(Default)]
struct Kept {
    last_output: Option<Map>,
    /// Policies that were asked and may be asked again.
    invoked: HashSet<Key>,
    /// Those of them that are to be asked again.
    again: HashSet<Key>,
}

impl Kept {
    fn require(&mut self) {
        self.again.extend(self.invoked.drain());
    }
}

/// What keeps a policy from being applied.
struct Trouble {
    policy: Arc<Policy<Mutator>>,
    binding: Option<String>,
    message: String,
    /// Empty unless an evaluation failed.
    reason: &'static str,
}

impl Trouble {
    fn text(&self) -> String {
        let (policy, message) = (&self.policy.name, &self.message);
        match &self.binding {
            Some(binding) => format!("policy '{policy}' with binding '{binding}' denied request: {message}"),
            None => format!("policy {policy:?} denied request: {message}"),
        }
    }
}

impl Invocation {
    fn key(&self) -> Key {
        let param = self.param.as_ref().map(|param| (param.namespace().to_owned(), param.name().to_owned()));
        (self.policy.name.clone(), self.binding.name.clone(), param)
    }
}

impl MutatingAdmissionPolicy {
    /// The object that comes out, if one that is asked had a say.
    async fn dispatch(
        &self,
        hooks: &[Hook<Mutator>],
        attributes: &Attributes<'_>,
        objects: &dyn Reader,
    ) -> Result<Option<Map>, Status> {
        let Some(request) = Request::new(attributes, objects) else { return Ok(None) };
        let mut select = Selection { request: &request, invocations: Vec::new(), troubles: Vec::new() };
        for hook in hooks {
            select.ask(hook).await;
        }
        let Selection { invocations, mut troubles, .. } = select;
        let mut changed = None;
        if !invocations.is_empty() {
            changed = self.invoke(&request, &invocations, &mut troubles).await?;
        }
        troubles.retain(|trouble| !trouble.policy.ignores_failures);
        if troubles.is_empty() { Ok(changed) } else { Err(refusal(attributes, &troubles)) }
    }

    async fn invoke(
        &self,
        request: &Request<'_>,
        invocations: &[Invocation],
        troubles: &mut Vec<Trouble>,
    ) -> Result<Option<Map>, Status> {
        let namespace = request.namespace().await?;
        let attributes = request.attributes;
        let mut run = Run {
            request,
            authorizers: &self.authorizers,
            namespace: namespace.as_deref(),
            versions: HashMap::new(),
            last: None,
        };
        {
            let mut reinvocation = attributes.reinvocation.lock();
            let again = reinvocation.is_reinvoke();
            let kept: &mut Kept = reinvocation.kept(NAME);
            if again && kept.last_output.as_ref() != attributes.object.as_deref() {
                // Other plugins have changed it since.
                kept.require();
            }
        }
        for invocation in invocations {
            run.invoke(invocation, troubles)?;
        }
        let changed = run.end();
        let mut reinvocation = attributes.reinvocation.lock();
        if changed.is_some() {
            reinvocation.kept::<Kept>(NAME).require();
            reinvocation.want();
        }
        reinvocation.kept::<Kept>(NAME).last_output = changed.as_ref().or(attributes.object.as_deref()).cloned();
        Ok(changed)
    }
}

/// Finds out who is to be asked.
struct Selection<'a> {
    request: &'a Request<'a>,
    invocations: Vec<Invocation>,
    troubles: Vec<Trouble>,
}

impl Selection<'_> {
    fn misconfigured(&mut self, policy: &Arc<Policy<Mutator>>, binding: Option<&Binding>, why: &str) {
        let what = if binding.is_none() { "policy" } else { "binding" };
        self.troubles.push(Trouble {
            policy: policy.clone(),
            binding: binding.map(|binding| binding.name.clone()),
            message: format!("failed to configure {what}: {why}"),
            reason: "",
        });
    }

    async fn ask(&mut self, hook: &Hook<Mutator>) {
        let policy = &hook.policy;
        let matched = match &policy.criteria {
            Some(criteria) => criteria.matches(self.request).await,
            None => Err("policy contained no match constraints, a required field".into()),
        };
        let matched = match matched {
            Ok(Some(matched)) => matched,
            Ok(None) => return,
            Err(why) => return self.misconfigured(policy, None, &why),
        };
        let kind = policy.param_kind.as_ref().map(|kind| kind.resolve(self.request.objects.registry())).transpose();
        let kind = match kind {
            Ok(kind) => kind,
            Err(why) => return self.misconfigured(policy, None, &why),
        };
        for binding in &hook.bindings {
            let matches = match &binding.criteria {
                Some(criteria) => criteria.matches(self.request).await.map(|matched| matched.is_some()),
                None => Ok(true),
            };
            let params = match matches {
                Ok(false) => continue,
                Ok(true) => params::collect(kind.as_ref(), binding.param_ref.as_ref(), self.request).await,
                Err(why) => Err(why),
            };
            match params {
                Ok(params) => self.invocations.extend(params.into_iter().map(|param| Invocation {
                    policy: policy.clone(),
                    binding: binding.clone(),
                    matched: matched.clone(),
                    param,
                })),
                Err(why) => self.misconfigured(policy, Some(binding), &why),
            }
        }
    }
}

/// The object on its way through the policies.
struct Run<'a> {
    request: &'a Request<'a>,
    authorizers: &'a Arc<Authorizers>,
    namespace: Option<&'a Map>,
    /// By kind: the objects, and whether the object was changed.
    versions: HashMap<Name, (Versioned, bool)>,
    /// As what the object was last changed.
    last: Option<Matched>,
}

impl Run<'_> {
    fn versioned(&mut self, matched: &Matched) -> &mut (Versioned, bool) {
        let request = self.request;
        self.versions.entry(matched.kind.clone()).or_insert_with(|| (request.versioned(matched), false))
    }

    fn invoke(&mut self, invocation: &Invocation, troubles: &mut Vec<Trouble>) -> Result<(), Status> {
        let mut trouble = |message| {
            troubles.push(Trouble {
                policy: invocation.policy.clone(),
                binding: Some(invocation.binding.name.clone()),
                message,
                reason: "Invalid",
            });
        };
        let mutator = invocation.policy.evaluator();
        match self.meets_conditions(invocation, mutator) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(why) => {
                trouble(why);
                return Ok(());
            }
        }
        let attributes = self.request.attributes;
        let key = invocation.key();
        {
            let mut reinvocation = attributes.reinvocation.lock();
            if reinvocation.is_reinvoke() && !reinvocation.kept::<Kept>(NAME).again.contains(&key) {
                return Ok(());
            }
        }
        let before = self.versioned(&invocation.matched).0.object.clone();
        for mutation in 0..mutator.mutations.len() {
            self.last = Some(invocation.matched.clone());
            match self.mutate(invocation, mutator, mutation) {
                Ok(()) => {}
                Err(Failure::Policy(why)) => trouble(why),
                Err(Failure::Ends(status)) => return Err(*status),
            }
        }
        let mut reinvocation = attributes.reinvocation.lock();
        if before != self.versioned(&invocation.matched).0.object {
            reinvocation.kept::<Kept>(NAME).require();
            reinvocation.want();
        }
        if mutator.reinvoked {
            reinvocation.kept::<Kept>(NAME).invoked.insert(key);
        }
        Ok(())
    }

    fn meets_conditions(&mut self, invocation: &Invocation, mutator: &Mutator) -> Result<bool, String> {
        let Some(conditions) = &mutator.conditions else { return Ok(true) };
        let request = self.request;
        let seen = request.seen(&self.versioned(&invocation.matched).0);
        let param = invocation.param.as_ref();
        let sight = Sight { matched: &invocation.matched, seen: &seen, param, namespace: None };
        let inputs = request.condition_inputs(&sight, self.authorizers);
        conditions.matches(&Session::new(inputs, mutator.variables.clone()))
    }

    fn mutate(&mut self, invocation: &Invocation, mutator: &Mutator, at: usize) -> Result<(), Failure> {
        let (request, namespace, authorizers) = (self.request, self.namespace, self.authorizers);
        let matched = &invocation.matched;
        let (versioned, changed) = self.versioned(matched);
        let Some(object) = &versioned.object else { return Ok(()) };
        let seen = request.seen(versioned);
        let sight = Sight { matched, seen: &seen, param: invocation.param.as_ref(), namespace };
        let inputs = request.inputs(&sight, authorizers);
        let sub = request.attributes.subresource;
        let new = mutator.mutations[at].apply(object, &matched.entry, sub, inputs, &mutator.variables)?;
        request.convertible(matched)?;
        versioned.object = Some(new);
        *changed = true;
        Ok(())
    }

    /// The object as the request has it, if it was changed.
    fn end(mut self) -> Option<Map> {
        let last = self.last.take()?;
        let (versioned, changed) = self.versions.remove(&last.kind)?;
        let object = versioned.object.filter(|_| changed)?;
        Some(self.request.unversioned(&object, &last))
    }
}

fn refusal(attributes: &Attributes<'_>, troubles: &[Trouble]) -> Status {
    let mut status = attributes.forbidden("admission request denied by policy");
    if let Some(first) = troubles.first() {
        status.message = first.text();
        if !first.reason.is_empty() {
            status.reason = first.reason;
        }
    }
    status.causes.extend(troubles.iter().map(|trouble| Cause { message: trouble.text(), ..Cause::default() }));
    status
}
