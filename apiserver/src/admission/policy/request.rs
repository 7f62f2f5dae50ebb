//! A request as policies look at it: what it is equivalent to, its objects in other versions, its namespace.
//!
//! Invariant: nothing is converted or read before a policy needs it.

use std::sync::Arc;

use api::facts::Struct;
use api::status::Status;
use api::value::Map;
use cel::value::Value;
use tokio::sync::OnceCell;

use super::matching::Matched;
use crate::admission::expression::authorizer;
use crate::admission::expression::evaluate::Inputs;
use crate::admission::expression::subject::{self, Name, Subject};
use crate::admission::{Attributes, Reader, is_excluded};
use crate::authz::Authorizers;
use crate::registry::Entry;

/// Policies do not decide on what decides on them.
const CONFIGURATION: &[&str] = &[
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
];
/// Whether policies look at requests of the resource at all.
pub(super) fn concerns(group: &str, resource: &str) -> bool {
    let configuration = group == "admissionregistration.k8s.io" && CONFIGURATION.contains(&resource);
    !configuration && !is_excluded(group, resource)
}

pub(super) struct Request<'a> {
    pub(super) attributes: &'a Attributes<'a>,
    pub(super) objects: &'a dyn Reader,
    entry: Arc<Entry>,
    kind: Name,
    resource: Name,
    namespace: OnceCell<Arc<Map>>,
}

/// The kind of the body at a path.
pub(super) fn kind_of(entry: &Entry, subresource: &str) -> Option<Name> {
    let facts = entry.facts;
    match subresource {
        "" => Some(Name::new(facts.group, facts.version, facts.kind)),
        name => entry.subresource(name).map(|sub| Name::new(sub.group, sub.version, sub.kind)),
    }
}

/// The type of the body at a path.
pub(super) fn type_of(entry: &Entry, subresource: &str) -> &'static Struct {
    let facts = entry.facts;
    let sub = entry.subresource(subresource).filter(|sub| sub.kind != facts.kind);
    sub.and_then(|sub| sub.ty).unwrap_or(facts.ty)
}

fn resource_of(entry: &Entry) -> Name {
    Name::new(entry.facts.group, entry.facts.version, entry.facts.plural)
}

/// The objects of a request in one version.
#[derive(Clone, Default)]
pub(super) struct Versioned {
    pub(super) object: Option<Map>,
    pub(super) old: Option<Map>,
}

/// What an evaluation looks at besides the request.
pub(super) struct Sight<'a> {
    pub(super) matched: &'a Matched,
    /// `object` and `oldObject`.
    pub(super) seen: &'a (Value, Value),
    pub(super) param: Option<&'a Map>,
    pub(super) namespace: Option<&'a Map>,
}

impl<'a> Request<'a> {
    /// `None` for what is served by no entry: nothing that policies could match.
    pub(super) fn new(attributes: &'a Attributes<'a>, objects: &'a dyn Reader) -> Option<Request<'a>> {
        let entry = objects.registry().get(attributes.group, attributes.version, attributes.resource)?;
        let kind = kind_of(&entry, attributes.subresource)?;
        let resource = resource_of(&entry);
        Some(Request { attributes, objects, entry, kind, resource, namespace: OnceCell::new() })
    }

    /// The request as it is.
    pub(super) fn own(&self) -> Matched {
        Matched { resource: self.resource.clone(), kind: self.kind.clone(), entry: self.entry.clone() }
    }

    /// Other versions and groups under which the same objects are served.
    pub(super) fn equivalents(&self) -> Vec<(Name, Arc<Entry>)> {
        let Some(storage) = &self.entry.storage else { return Vec::new() };
        let sub = self.attributes.subresource;
        let same = |entry: &Arc<Entry>| {
            entry.storage.as_ref().is_some_and(|other| Arc::ptr_eq(other, storage))
                && !Arc::ptr_eq(entry, &self.entry)
                && (sub.is_empty() || entry.subresource(sub).is_some())
        };
        let entries = self.objects.registry().entries();
        entries.into_iter().filter(same).map(|entry| (resource_of(&entry), entry)).collect()
    }

    fn converted(&self, object: &Map, from: &Arc<Entry>, to: &Arc<Entry>) -> Map {
        // The kind of a subresource's own body has one version.
        let own_kind = kind_of(to, self.attributes.subresource).is_some_and(|kind| kind.name == to.facts.kind);
        if Arc::ptr_eq(from, to) || !own_kind {
            return object.clone();
        }
        to.from_storage(from.to_storage(object).into_owned())
    }

    /// The objects as the matched version has them.
    pub(super) fn versioned(&self, matched: &Matched) -> Versioned {
        let convert = |object: &Map| self.converted(object, &self.entry, &matched.entry);
        Versioned { object: self.attributes.object.as_deref().map(convert), old: self.attributes.old.map(convert) }
    }

    /// An object of the matched version as the request has it.
    pub(super) fn unversioned(&self, object: &Map, matched: &Matched) -> Map {
        self.converted(object, &matched.entry, &self.entry)
    }

    /// Upstream wants what was changed in the version of the request, and cannot make that of a built-in kind's other
    /// version.
    pub(super) fn convertible(&self, matched: &Matched) -> Result<(), String> {
        let (from, to) = (&matched.kind, &self.kind);
        if from == to || self.is_custom() {
            return Ok(());
        }
        let shown = |name: &Name| format!("({}.{})", name.version, name.name);
        Err(format!("converting {} to {}: unknown conversion", shown(from), shown(to)))
    }

    /// A namespace, from the store when the cache does not have it yet.
    pub(super) async fn namespace_of(&self, name: &str) -> Result<Arc<Map>, Status> {
        let read = || async {
            if let Some(found) = self.objects.cached("", "namespaces", "", name) {
                return Ok(found);
            }
            let found = self.objects.live("", "namespaces", "", name).await?;
            found.map(Arc::new).ok_or_else(|| Status::not_found("", "namespaces", name))
        };
        self.namespace.get_or_try_init(read).await.cloned()
    }

    /// The namespace of the object, if it has one. A Namespace is in none.
    pub(super) async fn namespace(&self) -> Result<Option<Arc<Map>>, Status> {
        let is_namespace = self.kind == Name::new("", "v1", "Namespace");
        match self.attributes.namespace {
            "" => Ok(None),
            _ if is_namespace => Ok(None),
            name => self.namespace_of(name).await.map(Some),
        }
    }

    fn is_custom(&self) -> bool {
        self.entry.facts.ty.open
    }

    /// `object` and `oldObject`.
    pub(super) fn seen(&self, versioned: &Versioned) -> (Value, Value) {
        let custom = self.is_custom();
        let see = |object: &Option<Map>| subject::object(object.as_ref(), custom);
        (see(&versioned.object), see(&versioned.old))
    }

    /// The variables of matchConditions: they see the resource of the request, and no namespace.
    pub(super) fn condition_inputs(&self, sight: &Sight<'_>, authorizers: &Arc<Authorizers>) -> Inputs {
        self.inputs_of(sight, &self.resource, None, authorizers)
    }

    /// The variables of everything else in a policy.
    pub(super) fn inputs(&self, sight: &Sight<'_>, authorizers: &Arc<Authorizers>) -> Inputs {
        self.inputs_of(sight, &sight.matched.resource, sight.namespace, authorizers)
    }

    fn inputs_of(
        &self,
        sight: &Sight<'_>,
        resource: &Name,
        namespace: Option<&Map>,
        authorizers: &Arc<Authorizers>,
    ) -> Inputs {
        let subject =
            Subject { attributes: self.attributes, request_kind: &self.kind, kind: &sight.matched.kind, resource };
        Inputs {
            object: sight.seen.0.clone(),
            old_object: sight.seen.1.clone(),
            params: sight.param.map_or(Value::Null, |param| subject::typed(param.clone())),
            request: subject::typed(subject.request()),
            namespace: subject::namespace(namespace),
            authorizer: Some(authorizer::values(authorizers, &subject)),
        }
    }
}
