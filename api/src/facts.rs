//! Facts about every built-in kind: names, schema, verbs, storage. Generated tables plus lookups.
//!
//! Invariant: a fact is written once; routes, discovery, OpenAPI, codecs and apply schemas derive from here.
//! Non-goal: behaviour. What a kind does beyond its schema lives in the API server's strategies.

use std::sync::{LazyLock, OnceLock};

use crate::generated;

/// A Go struct of the API: what its JSON object and its protobuf message look like.
pub struct Struct {
    /// OpenAPI name, as `io.k8s.api.core.v1.PodSpec`.
    pub name: &'static str,
    /// Applied as a whole (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Carries `apiVersion` and `kind` in JSON.
    pub kinded: bool,
    /// Holds any other fields as they are: a custom resource, whose schema is not among the facts.
    pub open: bool,
    pub index: Index,
    /// In the order of the Go declaration, which is the order of JSON output.
    pub fields: &'static [Field],
}

/// One field of a [`Struct`].
pub struct Field {
    /// JSON name; for an embedded struct, whose fields appear in the parent's object, its Go name.
    pub name: &'static str,
    /// Protobuf field number; 0 when the field has none.
    pub number: u32,
    pub ty: Type,
    /// How Go's reflection prints the type where that does not follow from `ty`: `v1.RestartPolicy`. Errors show it.
    pub go_type: &'static str,
    /// When JSON output leaves the field out.
    pub omit: Omit,
    /// Embedded: its fields appear in the parent's JSON object.
    pub inline: bool,
    /// Pointer, slice or map in Go: absent differs from zero.
    pub nilable: bool,
    pub required: bool,
    /// The map is applied as a whole.
    pub atomic_map: bool,
    /// The struct is applied field by field although its type is atomic elsewhere.
    pub granular: bool,
    pub list: List,
    /// `patchStrategy` tag, comma-separated: merge, replace, retainKeys.
    pub patch_strategy: &'static str,
    pub patch_merge_key: &'static str,
    /// JSON text of the OpenAPI default (Go zero values included).
    pub default: Option<&'static str>,
}

impl Field {
    pub const BASE: Field = Field {
        name: "",
        number: 0,
        ty: Type::Bool,
        go_type: "",
        omit: Omit::Never,
        inline: false,
        nilable: false,
        required: false,
        atomic_map: false,
        granular: false,
        list: List::Atomic,
        patch_strategy: "",
        patch_merge_key: "",
        default: None,
    };

    /// True when JSON output has the field even if the object does not.
    pub fn always_in_json(&self) -> bool {
        match self.omit {
            Omit::Never => true,
            Omit::Empty => !self.nilable && self.ty.is_go_struct(),
            Omit::Zero => false,
        }
    }
}

/// When Go's JSON encoding leaves a field out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omit {
    Never,
    /// `omitempty`: false, 0, "", nil pointer, empty list or map; never a struct.
    Empty,
    /// `omitzero`: also a zero struct.
    Zero,
}

/// How server-side apply treats a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Atomic,
    Set,
    Map(&'static [&'static str]),
}

/// The type of a value: its JSON and protobuf forms.
#[derive(Clone, Copy)]
pub enum Type {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Float64,
    String,
    /// base64 in JSON.
    Bytes,
    Time,
    MicroTime,
    Duration,
    Quantity,
    IntOrString,
    /// Any JSON object, kept as its text in protobuf.
    RawExtension,
    FieldsV1,
    /// Any JSON value, kept as its text in protobuf.
    Json,
    SchemaOrBool(&'static Struct),
    SchemaOrArray(&'static Struct),
    SchemaOrStrings(&'static Struct),
    Struct(&'static Struct),
    List(&'static Type),
    /// A named list: an array in JSON, a message with one repeated field 1 in protobuf.
    Wrapped(&'static Type),
    Map(&'static Type),
}

impl Type {
    /// A struct in Go, which `omitempty` never leaves out.
    pub(crate) fn is_go_struct(&self) -> bool {
        matches!(
            self,
            Type::Struct(_) | Type::Time | Type::MicroTime | Type::Quantity | Type::IntOrString | Type::RawExtension
        )
    }
}

/// A struct's JSON names, embedded structs' included; built on first use.
pub struct Index(OnceLock<Lookup>);

/// A field of the protobuf message, and where it (or, embedded, its first field) stands in JSON output.
pub(crate) struct Numbered {
    pub(crate) field: &'static Field,
    pub(crate) order: u16,
}

/// An order of names in which most are told apart by a number.
fn by_length(name: &str) -> (usize, &str) {
    (name.len(), name)
}

struct Lookup {
    /// In the order of [`by_length`].
    by_name: Vec<(&'static str, u16, &'static Field)>,
    in_order: Vec<&'static Field>,
    by_number: Vec<Numbered>,
    as_type: Type,
    defaulted: OnceLock<Vec<&'static Field>>,
}

impl Index {
    pub const fn new() -> Self {
        Index(OnceLock::new())
    }
}

impl Default for Index {
    fn default() -> Self {
        Index::new()
    }
}

impl Struct {
    /// The last part of the name, as `PodSpec`.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The field with this JSON name, looking into embedded structs, and its place in JSON output.
    pub fn find(&'static self, name: &str) -> Option<(u16, &'static Field)> {
        let index = &self.lookup().by_name;
        let at = index.binary_search_by_key(&by_length(name), |entry| by_length(entry.0)).ok()?;
        Some((index[at].1, index[at].2))
    }

    /// The field with this JSON name.
    pub fn field(&'static self, name: &str) -> Option<&'static Field> {
        self.find(name).map(|(_, field)| field)
    }

    /// The Go names of the embedded structs, from the outermost in, that have the field with this JSON name.
    pub fn embedding(&'static self, name: &str) -> Vec<&'static str> {
        self.embedding_of(name).unwrap_or_default()
    }

    fn embedding_of(&'static self, name: &str) -> Option<Vec<&'static str>> {
        self.fields.iter().find_map(|field| match field.ty {
            Type::Struct(inner) if field.inline => {
                inner.embedding_of(name).map(|within| std::iter::once(field.name).chain(within).collect())
            }
            _ => (field.name == name).then(Vec::new),
        })
    }

    /// All fields that appear in the JSON object, in output order, embedded structs' in their place.
    pub fn json_fields(&'static self) -> &'static [&'static Field] {
        &self.lookup().in_order
    }

    /// The fields of the protobuf message by number; embedded structs are messages of their own here.
    pub(crate) fn proto_fields(&'static self) -> &'static [Numbered] {
        &self.lookup().by_number
    }

    pub(crate) fn by_number(&'static self, number: u32) -> Option<&'static Numbered> {
        let fields = self.proto_fields();
        // Most messages number their fields 1, 2, 3, ...
        match fields.get(number.wrapping_sub(1) as usize) {
            Some(entry) if entry.field.number == number => Some(entry),
            _ => fields.iter().find(|entry| entry.field.number == number),
        }
    }

    /// The fields that have a default or have one somewhere inside.
    pub(crate) fn defaulted_fields(&'static self) -> &'static [&'static Field] {
        let lookup = self.lookup();
        lookup.defaulted.get_or_init(|| {
            let wanted = |field: &&&'static Field| has_default(field, &mut Vec::new());
            lookup.in_order.iter().filter(wanted).copied().collect()
        })
    }

    pub(crate) fn as_type(&'static self) -> &'static Type {
        &self.lookup().as_type
    }

    fn lookup(&'static self) -> &'static Lookup {
        self.index.0.get_or_init(|| {
            let mut in_order = Vec::new();
            self.flatten(&mut in_order);
            let mut by_name: Vec<_> =
                (0u16..).zip(&in_order).map(|(order, field)| (field.name, order, *field)).collect();
            by_name.sort_by_key(|entry| by_length(entry.0));
            let mut by_number = Vec::new();
            let mut order = 0u16;
            for field in self.fields {
                if field.number > 0 {
                    by_number.push(Numbered { field, order });
                }
                order += match field.ty {
                    Type::Struct(inner) if field.inline => inner.json_fields().len() as u16,
                    _ => 1,
                };
            }
            by_number.sort_by_key(|entry| entry.field.number);
            Lookup { by_name, in_order, by_number, as_type: Type::Struct(self), defaulted: OnceLock::new() }
        })
    }

    fn flatten(&'static self, into: &mut Vec<&'static Field>) {
        for field in self.fields {
            match field.ty {
                Type::Struct(inner) if field.inline => inner.flatten(into),
                _ => into.push(field),
            }
        }
    }
}

/// True when the field, or one inside it, has a default. `seen` ends recursive types.
fn has_default(field: &'static Field, seen: &mut Vec<&'static str>) -> bool {
    if crate::defaults::default(field).is_some() {
        return true;
    }
    let mut ty = &field.ty;
    while let Type::List(inner) | Type::Map(inner) = ty {
        ty = inner;
    }
    let Type::Struct(inner) = ty else { return false };
    if seen.contains(&inner.name) {
        return false;
    }
    seen.push(inner.name);
    inner.json_fields().iter().any(|field| has_default(field, seen))
}

/// A resource of one served version: its names, verbs and place in the store.
pub struct Resource {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub namespaced: bool,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub verbs: &'static [&'static str],
    pub ty: &'static Struct,
    pub storage_hash: &'static str,
    /// Key prefix below `/registry/`; empty when the resource is not stored.
    pub storage_prefix: &'static str,
    pub storage_group: &'static str,
    pub storage_version: &'static str,
    /// The warning that comes with every answer; empty for what is not deprecated
    /// (k8s.io/apiserver/pkg/endpoints/deprecation@v0.37.2).
    pub deprecated: &'static str,
    pub subresources: &'static [Subresource],
}

/// A subresource and the kind it takes and gives.
pub struct Subresource {
    pub name: &'static str,
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
    pub ty: Option<&'static Struct>,
    /// As [`Resource::deprecated`], of the kind it takes and gives.
    pub deprecated: &'static str,
}

impl Resource {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        api_version(self.group, self.version)
    }

    /// Served unless --runtime-config says otherwise: GA versions only
    /// (pkg/controlplane/instance.go@v1.37.2, DefaultAPIResourceConfigSource).
    pub fn served_by_default(&self) -> bool {
        !self.version.contains("alpha") && !self.version.contains("beta")
    }

    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }
}

/// `version`, or `group/version` outside the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_string() } else { format!("{group}/{version}") }
}

/// Splits `group/version`; the core group is empty.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Every resource of every version, in the order of upstream's discovery files.
pub fn resources() -> &'static [Resource] {
    generated::resources::ALL
}

/// The row of the version that a resource is stored in, which need not be served.
pub fn storage_version(resource: &'static Resource) -> &'static Resource {
    static UNSERVED: LazyLock<Vec<Resource>> = LazyLock::new(|| {
        resources().iter().filter(|row| stored(resources(), row).is_none()).filter_map(unserved).collect()
    });
    stored(resources(), resource).or_else(|| stored(&UNSERVED, resource)).unwrap_or(resource)
}

fn stored<'r>(rows: &'r [Resource], resource: &Resource) -> Option<&'r Resource> {
    let is_it = |row: &&Resource| {
        row.plural == resource.plural && row.group == resource.storage_group && row.version == resource.storage_version
    };
    rows.iter().find(is_it)
}

/// The row of a resource in its storage version, when only the types know that one.
fn unserved(resource: &Resource) -> Option<Resource> {
    let (group, version) = (resource.storage_group, resource.storage_version);
    let ty = kind(group, version, resource.kind)?;
    Some(Resource { group, version, ty, ..*resource })
}

/// Every group with its versions, in upstream's order of preference.
pub fn groups() -> &'static [(&'static str, &'static [&'static str])] {
    generated::resources::GROUPS
}

/// What upstream publishes of a type that has no Rust type (a list), of its field, or of a query parameter. Parameters
/// have no owner, or the kind or method (`patch`) for which they mean something else. Empty when there is nothing.
pub fn words(owner: &str, name: &str) -> &'static str {
    text_of(generated::words::ALL, owner, name)
}

/// Extensions of a type's schema, or of a field's, that no other fact has: a JSON object, or empty.
pub fn extensions(ty: &str, field: &str) -> &'static str {
    text_of(generated::words::EXTENSIONS, ty, field)
}

fn text_of(rows: &'static [(&'static str, &'static str, &'static str)], owner: &str, name: &str) -> &'static str {
    rows.binary_search_by(|row| (row.0, row.1).cmp(&(owner, name))).map_or("", |at| rows[at].2)
}

/// Every group and version of the API, served or not: those that options of deletions and events of watches have.
pub fn option_versions() -> &'static [(&'static str, &'static str)] {
    generated::words::VERSIONS
}

/// Every struct, by name.
pub fn structs() -> &'static [&'static Struct] {
    generated::types::ALL
}

/// The struct with this OpenAPI name.
pub fn structure(name: &str) -> Option<&'static Struct> {
    let all = structs();
    all.binary_search_by(|entry| entry.name.cmp(name)).ok().map(|at| all[at])
}

/// The struct of a kind, wherever the kind is defined (kinds without a resource included).
pub fn kind(group: &str, version: &str, kind: &str) -> Option<&'static Struct> {
    if let Some(resource) = resources().iter().find(|r| r.group == group && r.version == version && r.kind == kind) {
        return Some(resource.ty);
    }
    let wanted = |name: &str| {
        let mut parts = name.rsplit('.');
        parts.next() == Some(kind) && parts.next() == Some(version) && parts.next() == Some(package_of(group))
    };
    let meta = || structure(&format!("io.k8s.apimachinery.pkg.apis.meta.{version}.{kind}"));
    structs().iter().copied().find(|entry| wanted(entry.name)).or_else(meta)
}

/// The Go package segment that holds a group's types: the first label of the group, with exceptions.
pub fn package_of(group: &str) -> &str {
    match group {
        "" => "core",
        "internal.apiserver.k8s.io" => "apiserverinternal",
        "flowcontrol.apiserver.k8s.io" => "flowcontrol",
        "rbac.authorization.k8s.io" => "rbac",
        _ => group.split('.').next().unwrap_or(group),
    }
}

/// The struct of a custom resource: metadata, and whatever else there is.
pub const fn custom(name: &'static str) -> Struct {
    const META: Field = Field {
        name: "metadata",
        number: 1,
        ty: Type::Struct(&generated::types::APIMACHINERY_PKG_APIS_META_V1_OBJECTMETA),
        ..Field::BASE
    };
    Struct { name, atomic: false, kinded: true, open: true, index: Index::new(), fields: &[META] }
}

/// The metadata struct of every object.
pub fn object_meta() -> &'static Struct {
    &generated::types::APIMACHINERY_PKG_APIS_META_V1_OBJECTMETA
}

/// The metadata struct of every list.
pub fn list_meta() -> &'static Struct {
    &generated::types::APIMACHINERY_PKG_APIS_META_V1_LISTMETA
}
