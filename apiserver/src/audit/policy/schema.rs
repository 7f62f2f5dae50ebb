//! The type of an audit policy, for the decoder (k8s.io/apiserver/pkg/apis/audit/v1/types.go@v0.37.2).

use api::facts::{Field, Index, Omit, Struct, Type};

const TEXT: Type = Type::String;
const TEXTS: Type = Type::List(&Type::String);

const fn optional(name: &'static str, ty: Type, nilable: bool) -> Field {
    Field { name, ty, omit: Omit::Empty, nilable, ..Field::BASE }
}

const fn structure(name: &'static str, kinded: bool, open: bool, fields: &'static [Field]) -> Struct {
    Struct { name, atomic: false, kinded, open, index: Index::new(), fields }
}

/// Nobody looks at a policy's metadata.
static META: Struct = structure("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", false, true, &[]);

static GROUP_RESOURCES: Struct = structure(
    "io.k8s.apiserver.pkg.apis.audit.v1.GroupResources",
    false,
    false,
    &[optional("group", TEXT, false), optional("resources", TEXTS, true), optional("resourceNames", TEXTS, true)],
);

static RULE: Struct = structure(
    "io.k8s.apiserver.pkg.apis.audit.v1.PolicyRule",
    false,
    false,
    &[
        Field { name: "level", ty: TEXT, ..Field::BASE },
        optional("users", TEXTS, true),
        optional("userGroups", TEXTS, true),
        optional("verbs", TEXTS, true),
        optional("resources", Type::List(&Type::Struct(&GROUP_RESOURCES)), true),
        optional("namespaces", TEXTS, true),
        optional("nonResourceURLs", TEXTS, true),
        optional("omitStages", TEXTS, true),
        optional("omitManagedFields", Type::Bool, true),
    ],
);

pub(super) static POLICY: Struct = structure(
    "io.k8s.apiserver.pkg.apis.audit.v1.Policy",
    true,
    false,
    &[
        optional("metadata", Type::Struct(&META), false),
        Field { name: "rules", ty: Type::List(&Type::Struct(&RULE)), nilable: true, ..Field::BASE },
        optional("omitStages", TEXTS, true),
        optional("omitManagedFields", Type::Bool, false),
    ],
);
