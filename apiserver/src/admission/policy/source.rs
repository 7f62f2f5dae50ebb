//! The policies and bindings that the store has, ready to be asked
//! (k8s.io/apiserver/pkg/admission/plugin/policy/generic/policy_source.go@v0.37.2).
//!
//! Invariant: written by the feed alone; a request sees one state of it. A policy is compiled when it is first asked
//! and not again before its spec changes.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use api::value::{Map, Value};
use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::matching::Criteria;
use super::mutator::Mutator;
use super::params::{ParamKind, ParamRef};
use super::validator::Validator;
use crate::cache::Item;
use crate::hub::Observer;
use crate::registry::Storage;

const GROUP: &str = "admissionregistration.k8s.io";

/// What becomes of a policy.
pub(super) trait Evaluator: Send + Sync {
    fn compile(spec: &Map) -> Self;
}

pub(super) struct Policy<E> {
    pub(super) name: String,
    spec: Map,
    /// `failurePolicy: Ignore`.
    pub(super) ignores_failures: bool,
    pub(super) param_kind: Option<ParamKind>,
    /// `matchConstraints`; a policy without any is broken.
    pub(super) criteria: Option<Criteria>,
    evaluator: OnceLock<E>,
}

impl<E: Evaluator> Policy<E> {
    fn of(name: &str, spec: &Map) -> Policy<E> {
        Policy {
            name: name.to_owned(),
            ignores_failures: spec.str("failurePolicy") == "Ignore",
            param_kind: spec.map("paramKind").map(ParamKind::of),
            criteria: spec.map("matchConstraints").map(Criteria::of),
            evaluator: OnceLock::new(),
            spec: spec.clone(),
        }
    }

    pub(super) fn evaluator(&self) -> &E {
        self.evaluator.get_or_init(|| E::compile(&self.spec))
    }
}

pub(super) struct Binding {
    pub(super) name: String,
    pub(super) policy: String,
    pub(super) param_ref: Option<ParamRef>,
    pub(super) criteria: Option<Criteria>,
    /// `validationActions`.
    pub(super) actions: Vec<String>,
}

impl Binding {
    fn of(name: &str, spec: &Map) -> Binding {
        Binding {
            name: name.to_owned(),
            policy: spec.str("policyName").to_owned(),
            param_ref: spec.map("paramRef").map(ParamRef::of),
            criteria: spec.map("matchResources").map(Criteria::of),
            actions: spec.list("validationActions").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }
}

/// A policy with its bindings.
pub(super) struct Hook<E> {
    pub(super) policy: Arc<Policy<E>>,
    pub(super) bindings: Vec<Arc<Binding>>,
}

struct State<E> {
    policies: BTreeMap<String, Arc<Policy<E>>>,
    bindings: BTreeMap<String, Arc<Binding>>,
}

/// The policies of one kind.
pub(super) struct Source<E> {
    state: Mutex<State<E>>,
    hooks: ArcSwap<Vec<Hook<E>>>,
}

impl<E> Default for Source<E> {
    fn default() -> Self {
        let state = State { policies: BTreeMap::new(), bindings: BTreeMap::new() };
        Source { state: Mutex::new(state), hooks: ArcSwap::default() }
    }
}

impl<E: Evaluator> Source<E> {
    /// Policies that have bindings.
    pub(super) fn hooks(&self) -> Arc<Vec<Hook<E>>> {
        self.hooks.load_full()
    }

    fn set_policy(&self, name: &str, spec: Option<&Map>) {
        let mut state = self.state.lock();
        match spec {
            // A new status changes nothing here.
            Some(spec) if state.policies.get(name).is_some_and(|policy| policy.spec == *spec) => return,
            Some(spec) => drop(state.policies.insert(name.to_owned(), Arc::new(Policy::of(name, spec)))),
            None => drop(state.policies.remove(name)),
        }
        self.publish(&state);
    }

    fn set_binding(&self, name: &str, spec: Option<&Map>) {
        let mut state = self.state.lock();
        match spec {
            Some(spec) => drop(state.bindings.insert(name.to_owned(), Arc::new(Binding::of(name, spec)))),
            None => drop(state.bindings.remove(name)),
        }
        self.publish(&state);
    }

    fn publish(&self, state: &State<E>) {
        let hook = |policy: &Arc<Policy<E>>| {
            let own = state.bindings.values().filter(|binding| binding.policy == policy.name);
            Hook { policy: policy.clone(), bindings: own.cloned().collect() }
        };
        let hooks = state.policies.values().map(hook).filter(|hook| !hook.bindings.is_empty());
        self.hooks.store(Arc::new(hooks.collect()));
    }
}

/// All policies and bindings.
#[derive(Default)]
pub(crate) struct Policies {
    pub(super) validating: Source<Validator>,
    pub(super) mutating: Source<Mutator>,
}

impl Policies {
    /// A policy or binding is there or has changed, or is gone.
    pub(crate) fn set(&self, plural: &str, name: &str, object: Option<&Map>) {
        let spec = object.map(|object| object.map("spec").unwrap_or(Map::EMPTY));
        match plural {
            "validatingadmissionpolicies" => self.validating.set_policy(name, spec),
            "validatingadmissionpolicybindings" => self.validating.set_binding(name, spec),
            "mutatingadmissionpolicies" => self.mutating.set_policy(name, spec),
            "mutatingadmissionpolicybindings" => self.mutating.set_binding(name, spec),
            _ => {}
        }
    }
}

/// Keeps [`Policies`] as the store has them.
pub(crate) struct Views(pub(crate) Arc<Policies>);

impl Observer for Views {
    fn changed(&self, storage: &Storage, key: &str, item: Option<&Item>) {
        if storage.group == GROUP {
            let object = item.map(|item| item.object(storage));
            self.0.set(storage.plural, key, object.as_ref());
        }
    }
}
