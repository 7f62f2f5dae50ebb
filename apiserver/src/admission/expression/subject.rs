//! What a request is to expressions: `request`, `object`, `oldObject`, `namespaceObject`
//! (k8s.io/apiserver/pkg/admission/plugin/cel/condition.go@v0.37.2: CreateAdmissionRequest, CreateNamespaceObject).
//!
//! Invariant: fields that Go would leave out are left out.

use std::sync::Arc;

use api::value::Map;
use cel::value::Value;
use rules::open::{self, Origin};

use crate::admission::Attributes;
use crate::webhook::admission_review::Question;

/// A group, a version, and a kind or resource of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) group: String,
    pub(crate) version: String,
    /// The kind, or the resource.
    pub(crate) name: String,
}

impl Name {
    pub(crate) fn new(group: &str, version: &str, name: &str) -> Name {
        Name { group: group.into(), version: version.into(), name: name.into() }
    }

    pub(crate) fn to_map(&self, last: &'static str) -> Map {
        let mut map = Map::new();
        map.set("group", self.group.as_str());
        map.set("version", self.version.as_str());
        map.set(last, self.name.as_str());
        map
    }
}

/// As Go prints a GroupVersionKind.
impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.name)
    }
}

/// A request, and as what it was matched.
pub(crate) struct Subject<'a> {
    pub(crate) attributes: &'a Attributes<'a>,
    /// The kind of the request's body.
    pub(crate) request_kind: &'a Name,
    /// What the rules matched: the request's own, or an equivalent of it.
    pub(crate) kind: &'a Name,
    pub(crate) resource: &'a Name,
}

impl Subject<'_> {
    /// `request`: a webhook is sent the same, and the objects with it.
    pub(crate) fn request(&self) -> Map {
        let attributes = self.attributes;
        let question = Question {
            uid: "",
            kind: self.kind.clone(),
            resource: self.resource.clone(),
            request_kind: self.request_kind.clone(),
            request_resource: Name::new(attributes.group, attributes.version, attributes.resource),
            subresource: attributes.subresource,
            name: attributes.name,
            namespace: attributes.namespace,
            operation: attributes.operation.text(),
            user: attributes.user,
            object: None,
            old: None,
            dry_run: attributes.dry_run,
            options: &attributes.options,
        };
        question.request()
    }
}

/// A tree that Go has a type for, as a value.
pub(crate) fn typed(map: Map) -> Value {
    open::value(Arc::new(map.into()), Origin::Typed)
}

/// An object of a kind, built-in or custom; absent ones are null.
pub(crate) fn object(object: Option<&Map>, custom: bool) -> Value {
    let origin = if custom { Origin::Tree } else { Origin::Typed };
    object.map_or(Value::Null, |object| open::value(Arc::new(object.clone().into()), origin))
}

/// What of a Namespace is `namespaceObject`: its metadata without owners and managers, spec and status.
pub(crate) fn namespace(namespace: Option<&Map>) -> Value {
    let Some(namespace) = namespace else { return Value::Null };
    let mut seen = Map::new();
    let mut meta = namespace.map("metadata").cloned().unwrap_or_default();
    meta.remove("ownerReferences");
    meta.remove("managedFields");
    meta.remove("selfLink");
    seen.set("metadata", meta);
    for part in ["spec", "status"] {
        seen.set(part, namespace.map(part).cloned().unwrap_or_default());
    }
    typed(seen)
}
