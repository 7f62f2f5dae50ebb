//! The types of `request` and `namespaceObject`, of `variables`, and of what mutations are made of
//! (k8s.io/apiserver/pkg/admission/plugin/cel/compile.go, k8s.io/apiserver/pkg/cel/mutation/typeresolver.go@v0.37.2).
//!
//! Invariant: nothing is known of the type of `object`: it is dynamic. Non-goal: sizes, for nothing is estimated here.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use cel::declaration::{Declaration, DeclaredTypes};
use cel::types::{Type, TypeProvider};
use cel::value::{Outcome, Value};

use super::mutation;

pub(super) const REQUEST_TYPE: &str = "kubernetes.AdmissionRequest";
pub(super) const NAMESPACE_TYPE: &str = "kubernetes.Namespace";
pub(super) const VARIABLES_TYPE: &str = "kubernetes.variables";

static FIXED: LazyLock<DeclaredTypes> = LazyLock::new(|| DeclaredTypes::new([&request(), &namespace()]));

fn of(of: Type) -> Declaration {
    Declaration::simple(of, 0, 0)
}

fn text() -> Declaration {
    of(Type::String)
}

fn texts() -> Declaration {
    Declaration::list(text(), 0)
}

fn object(name: &str, fields: impl IntoIterator<Item = (&'static str, Declaration)>) -> Declaration {
    Declaration::object(fields.into_iter().map(|(name, field)| (Arc::from(name), field)), 0).named(name)
}

/// BuildRequestType: `uid`, `object` and `oldObject` of an AdmissionRequest are left out.
fn request() -> Declaration {
    let parts = |name, last| object(name, [("group", text()), ("version", text()), (last, text())]);
    let kind = || parts("kubernetes.GroupVersionKind", "kind");
    let resource = || parts("kubernetes.GroupVersionResource", "resource");
    let user = object(
        "kubernetes.UserInfo",
        [("username", text()), ("uid", text()), ("groups", texts()), ("extra", Declaration::map(text(), texts(), 0))],
    );
    object(
        REQUEST_TYPE,
        [
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", text()),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", of(Type::Bool)),
            ("options", of(Type::Dyn)),
        ],
    )
}

/// BuildNamespaceType.
fn namespace() -> Declaration {
    let labels = || Declaration::map(text(), text(), 0);
    let time = || of(Type::Timestamp);
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        [
            ("name", text()),
            ("generateName", text()),
            ("namespace", text()),
            ("labels", labels()),
            ("annotations", labels()),
            ("UID", text()),
            ("creationTimestamp", time()),
            ("deletionGracePeriodSeconds", of(Type::Int)),
            ("deletionTimestamp", time()),
            ("generation", of(Type::Int)),
            ("resourceVersion", text()),
            ("finalizers", texts()),
        ],
    );
    let condition = object(
        "kubernetes.NamespaceCondition",
        [("status", text()), ("type", text()), ("lastTransitionTime", time()), ("message", text()), ("reason", text())],
    );
    let status =
        object("kubernetes.NamespaceStatus", [("conditions", Declaration::list(condition, 0)), ("phase", text())]);
    let spec = object("kubernetes.NamespaceSpec", [("finalizers", texts())]);
    object(NAMESPACE_TYPE, [("metadata", metadata), ("spec", spec), ("status", status)])
}

/// The object types of an environment.
#[derive(Debug)]
pub(super) struct Types {
    /// Of the variables that were compiled before; `None` where there are no variables.
    pub(super) variables: Option<BTreeMap<Arc<str>, Type>>,
    /// Whether `Object{}` and `JSONPatch{}` can be made.
    pub(super) patches: bool,
}

impl TypeProvider for Types {
    fn has_type(&self, name: &str) -> bool {
        let variables = || self.variables.is_some() && name == VARIABLES_TYPE;
        FIXED.has_type(name) || variables() || (self.patches && mutation::has_type(name))
    }

    fn field(&self, object: &str, field: &str) -> Option<Type> {
        if object == VARIABLES_TYPE {
            return self.variables.as_ref()?.get(field).cloned();
        }
        if self.patches && mutation::has_type(object) {
            return Some(mutation::field(object, field));
        }
        FIXED.field(object, field)
    }

    fn make(&self, name: &str, fields: Vec<(Arc<str>, Value)>) -> Option<Outcome> {
        (self.patches && mutation::has_type(name)).then(|| mutation::make(name, fields))
    }
}

/// The type under which a variable is known; what has parts nobody names is dynamic (convertCelTypeToDeclType).
pub(super) fn variable_type(of: &Type) -> Type {
    match of {
        Type::List(element) => Type::list(variable_type(element)),
        Type::Map(entry) => Type::map(variable_type(&entry.0), variable_type(&entry.1)),
        Type::Bool
        | Type::Bytes
        | Type::Double
        | Type::Duration
        | Type::Int
        | Type::Null
        | Type::String
        | Type::Timestamp
        | Type::Uint => of.clone(),
        _ => Type::Dyn,
    }
}
