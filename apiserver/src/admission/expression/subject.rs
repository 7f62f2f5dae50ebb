//! What a request is to expressions: `request`, `object`, `oldObject`, `namespaceObject`
//! (k8s.io/apiserver/pkg/admission/plugin/cel/condition.go@v0.37.2: CreateAdmissionRequest, CreateNamespaceObject).
//!
//! Invariant: fields that Go would leave out are left out.

use std::sync::Arc;

use api::value::{Map, Value as ApiValue};
use cel::value::Value;
use rules::open::{self, Origin};

use crate::admission::{Attributes, Operation};

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

    fn to_map(&self, last: &'static str) -> Map {
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

pub(crate) fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

fn set_present(map: &mut Map, name: &'static str, text: &str) {
    if !text.is_empty() {
        map.set(name, text);
    }
}

impl Subject<'_> {
    /// `request`.
    pub(crate) fn request(&self) -> Map {
        let attributes = self.attributes;
        let own = Name::new(attributes.group, attributes.version, attributes.resource);
        let mut request = Map::new();
        request.set("uid", "");
        request.set("kind", self.kind.to_map("kind"));
        request.set("resource", self.resource.to_map("resource"));
        set_present(&mut request, "subResource", attributes.subresource);
        request.set("requestKind", self.request_kind.to_map("kind"));
        request.set("requestResource", own.to_map("resource"));
        set_present(&mut request, "requestSubResource", attributes.subresource);
        set_present(&mut request, "name", attributes.name);
        set_present(&mut request, "namespace", attributes.namespace);
        request.set("operation", operation(attributes.operation));
        request.set("userInfo", self.user());
        request.set("object", ApiValue::Null);
        request.set("oldObject", ApiValue::Null);
        request.set("dryRun", attributes.dry_run);
        request.set("options", attributes.options.clone());
        request
    }

    fn user(&self) -> Map {
        let user = self.attributes.user;
        let texts = |texts: &[String]| ApiValue::List(texts.iter().map(|text| text.as_str().into()).collect());
        let mut info = Map::new();
        set_present(&mut info, "username", &user.name);
        set_present(&mut info, "uid", &user.uid);
        if !user.groups.is_empty() {
            info.set("groups", texts(&user.groups));
        }
        if !user.extra.is_empty() {
            let mut extra = Map::new();
            user.extra.iter().for_each(|(name, values)| extra.set(name.as_str(), texts(values)));
            info.set("extra", extra);
        }
        info
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
