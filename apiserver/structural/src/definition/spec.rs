//! The spec of a definition: group, names, versions, and what an update may keep although a create may not have it
//! (validateCustomResourceDefinitionSpec in
//! k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go@v0.37.2).

use std::collections::HashSet;

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::internal::{Internal, Version};
use super::openapi::{self, Known, TYPES};
use super::{Compiler, columns, label_error, schemas, shown, structure, webhook};
use crate::default;
use crate::props::Props;
use crate::schema::Schema;

/// A deprecation warning, in bytes.
const DEPRECATION_BYTES_MAX: usize = 256;
const IMMUTABLE: &str = "field is immutable";

/// What is demanded of a spec.
pub(super) struct Demands<'a> {
    schema: bool,
    schemas: schemas::Demands,
    webhook: webhook::Demands,
    known: Known<'a>,
    /// Versions whose schema an update does not change; "" is the spec's.
    unchanged: HashSet<&'a str>,
    /// Versions that keep their too many selectable fields; "" is the spec.
    many_selectable: HashSet<&'a str>,
}

impl<'a> Demands<'a> {
    /// Of a new definition; its CA bundle is looked at before it is established.
    pub(super) fn strict() -> Demands<'a> {
        let openapi = openapi::Demands {
            valid_types: true,
            atomic_sets: true,
            keyed_lists: true,
            expressions_may_be_dear: false,
        };
        Demands {
            schema: true,
            schemas: schemas::Demands { structural: true, pruned_defaults: true, openapi },
            webhook: webhook::Demands { known_review_version: true, valid_ca_bundle: false },
            known: Known::default(),
            unchanged: HashSet::new(),
            many_selectable: HashSet::new(),
        }
    }

    /// Of a change: what the old one had wrong may stay so.
    pub(super) fn after(new: &Internal<'a>, old: &Internal<'a>, established: bool) -> Demands<'a> {
        let mut demands = Demands::strict();
        let conversion = old.spec.map("conversion");
        demands.webhook.known_review_version = webhook::has_known_review_version(conversion);
        let bundle_is_bad = webhook::has_bad_ca_bundle(conversion);
        demands.webhook.valid_ca_bundle = established && !bundle_is_bad;
        demands.schema = old.schema().is_some() || old.versions.iter().all(|version| version.schema().is_some());
        let openapi = &mut demands.schemas.openapi;
        openapi.valid_types = !old.any_schema(|schema| !schema.ty().is_empty() && !TYPES.contains(&schema.ty()));
        openapi.atomic_sets = !old.any_schema(|schema| !openapi::set_errors(&Path::default(), schema).is_empty());
        openapi.keyed_lists =
            !old.any_schema(|schema| !openapi::keyed_list_errors(&Path::default(), schema).is_empty());
        demands.schemas.structural = old.schemas().all(is_structural);
        demands.schemas.pruned_defaults = !old.schemas().any(has_unpruned_defaults);
        old.any_schema(|schema| {
            for rule in schema.rules() {
                demands.known.rules.insert(rule.str("rule"));
                demands.known.messages.insert(rule.str("messageExpression"));
            }
            false
        });
        demands.unchanged = unchanged_schemas(new, old);
        demands.many_selectable = many_selectable(new, old);
        demands
    }

    fn schemas_of(&self, version: &str) -> schemas::Demands {
        let mut demands = self.schemas;
        demands.openapi.expressions_may_be_dear = self.unchanged.contains(version);
        demands
    }
}

fn is_structural(schema: Props<'_>) -> bool {
    Schema::parse(schema.0).is_ok() && structure::validate(&Path::default(), schema).is_empty()
}

fn has_unpruned_defaults(schema: Props<'_>) -> bool {
    let Ok(parsed) = Schema::parse(schema.0) else { return false };
    parsed.has_defaults && is_structural(schema) && !same_defaults(&parsed, &default::pruned(&parsed))
}

fn same_defaults(a: &Schema, b: &Schema) -> bool {
    let same = |a: Option<&Schema>, b: Option<&Schema>| match (a, b) {
        (Some(a), Some(b)) => same_defaults(a, b),
        _ => true,
    };
    a.default == b.default
        && same(a.items.as_deref(), b.items.as_deref())
        && same(a.additional.schema(), b.additional.schema())
        && a.properties.iter().zip(b.properties.iter()).all(|(a, b)| same_defaults(a.1, b.1))
}

/// The schema of a version in the internal form; `Err` when it is malformed.
fn validation_of<'a>(internal: &Internal<'a>, name: &str) -> Option<Option<&'a Map>> {
    if internal.versions.iter().all(|version| version.validation.is_none()) {
        return Some(internal.validation);
    }
    internal.versions.iter().find(|version| version.name() == name).map(|version| version.validation)
}

fn unchanged_schemas<'a>(new: &Internal<'a>, old: &Internal<'a>) -> HashSet<&'a str> {
    let names = new.versions.iter().map(Version::name);
    names.filter(|name| validation_of(old, name).is_some_and(|old| validation_of(new, name) == Some(old))).collect()
}

fn many_selectable<'a>(new: &Internal<'a>, old: &Internal<'a>) -> HashSet<&'a str> {
    let many = |fields: &[Value]| fields.len() > columns::SELECTABLE_FIELDS_MAX;
    let kept = new.versions.iter().filter(|version| {
        let was = old.versions.iter().rfind(|old| old.name() == version.name());
        was.is_some_and(|was| many(was.selectable) && was.selectable == version.selectable)
    });
    let spec = (many(old.selectable) && old.selectable == new.selectable).then_some("");
    kept.map(Version::name).chain(spec).collect()
}

/// Everything wrong with a spec.
pub(super) fn validate(internal: &Internal<'_>, demands: &Demands<'_>, compiler: &dyn Compiler) -> Errors {
    let mut checks = Checks { internal, demands, compiler, structural: false, errors: Errors::new() };
    checks.structural = demands.schemas.structural
        || !internal.preserves_unknown_fields()
        || has_defaults(internal)
        || internal.any_schema(has_extensions);
    checks.group_and_scope();
    checks.schemas_are_there();
    checks.versions();
    checks.names();
    checks.alike();
    checks.conversion();
    checks.errors
}

fn has_defaults(internal: &Internal<'_>) -> bool {
    internal.any_schema(|schema| schema.value("default").is_some())
}

fn has_extensions(schema: Props<'_>) -> bool {
    schema.embedded()
        || schema.value("x-kubernetes-preserve-unknown-fields").is_some()
        || schema.int_or_string()
        || schema.texts("x-kubernetes-list-map-keys").next().is_some()
        || schema.list_type().is_some()
        || schema.rules().next().is_some()
}

struct Checks<'a> {
    internal: &'a Internal<'a>,
    demands: &'a Demands<'a>,
    compiler: &'a dyn Compiler,
    structural: bool,
    errors: Errors,
}

fn at(name: &str) -> Path {
    Path::new("spec").child(name)
}

impl Checks<'_> {
    fn push(&mut self, error: field::Error) {
        self.errors.push(error);
    }

    fn group_and_scope(&mut self) {
        let (group, path) = (self.internal.spec.str("group"), at("group"));
        let wrong = names::is_dns1123_subdomain(group);
        if group.is_empty() {
            self.push(field::required(&path, ""));
        } else if !wrong.is_empty() {
            self.push(field::invalid(&path, group, wrong.join(",")));
        } else if !group.contains('.') {
            self.push(field::invalid(&path, group, "should be a domain with at least one dot"));
        }
        match self.internal.spec.str("scope") {
            "" => self.push(field::required(&at("scope"), "")),
            "Cluster" | "Namespaced" => {}
            other => self.push(field::not_supported(&at("scope"), other, &["Cluster", "Namespaced"])),
        }
    }

    fn schemas_are_there(&mut self) {
        let internal = self.internal;
        let pruning = !internal.preserves_unknown_fields();
        for (index, version) in internal.versions.iter().enumerate() {
            if internal.schema().is_some() || version.schema().is_some() {
                continue;
            }
            let path = at("versions").index(index).child("schema").child("openAPIV3Schema");
            if self.demands.schema {
                self.push(field::required(&path, ""));
            } else if pruning && version.flag("served") {
                self.push(field::required(&path, "because otherwise all fields are pruned"));
            }
        }
        if !pruning && has_defaults(internal) {
            let why = "must be false in order to use defaults in the schema";
            self.push(field::invalid(&at("preserveUnknownFields"), true, why));
        }
    }

    fn versions(&mut self) {
        let internal = self.internal;
        for (index, version) in internal.versions.iter().enumerate() {
            let path = at("versions").index(index);
            if let Some(error) = label_error(version.name()) {
                self.push(field::invalid(&path.child("name"), version.name(), error));
            }
            self.version(&path, version);
        }
        let path = at("versions");
        let named = |name: &str| internal.versions.iter().filter(|version| version.name() == name).count();
        if internal.versions.iter().any(|version| named(version.name()) > 1) {
            let why = "must contain unique version names";
            self.push(field::invalid(&path, shown_versions(internal), why));
        }
        if internal.versions.iter().filter(|version| version.flag("storage")).count() != 1 {
            let why = "must have exactly one version marked as storage version";
            self.push(field::invalid(&path, shown_versions(internal), why));
        }
        if let Some(first) = internal.versions.first()
            && let Some(error) = label_error(first.name()).filter(|_| !first.name().is_empty())
        {
            self.push(field::invalid(&at("version"), first.name(), error));
        }
    }

    fn version(&mut self, path: &Path, version: &Version<'_>) {
        let deprecation = path.child("deprecationWarning");
        let warning = version.map.get("deprecationWarning");
        for why in deprecation_errors(version.flag("deprecated"), warning.and_then(Value::as_str)) {
            self.push(field::invalid(&deprecation, Json(warning), why));
        }
        let status = self.internal.status_of(version);
        self.schema(&path.child("schema"), version.validation, status, version.name());
        self.errors.extend(columns::subresource_errors(&path.child("subresources"), version.subresources));
        self.columns(path, version.columns);
        if version.selectable.is_empty() {
            return;
        }
        let fields = path.child("selectableFields");
        match version.schema() {
            None => {
                let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
                self.push(field::invalid(&fields, "", why));
            }
            Some(schema) => self.selectable(path, &fields, version.selectable, schema, version.name()),
        }
    }

    fn selectable(&mut self, path: &Path, fields: &Path, list: &[Value], schema: Props<'_>, version: &str) {
        let many = self.demands.many_selectable.contains(version);
        match Schema::parse(schema.0) {
            Ok(schema) => self.errors.extend(columns::selectable_errors(fields, list, &schema, many)),
            Err(error) => {
                self.push(field::invalid(&path.child("schema.openAPIV3Schema"), "", error.to_string()));
                self.errors.extend(columns::unreadable_errors(fields, list));
            }
        }
    }

    fn columns(&mut self, path: &Path, columns: &[Value]) {
        let path = path.child("additionalPrinterColumns");
        for (at, column) in columns.iter().filter_map(Value::as_map).enumerate() {
            self.errors.extend(columns::column_errors(&path.index(at), column));
        }
    }

    fn schema(&mut self, path: &Path, validation: Option<&Map>, status: bool, version: &str) {
        let demands = schemas::Demands { structural: self.structural, ..self.demands.schemas_of(version) };
        let errors = schemas::errors(path, validation, status, demands, &self.demands.known, self.compiler);
        self.errors.extend(errors);
    }

    fn names(&mut self) {
        let path = at("names");
        let names = self.internal.spec.map("names").unwrap_or(Map::EMPTY);
        for name in ["plural", "singular", "kind", "listKind"] {
            if names.str(name).is_empty() {
                self.push(field::required(&path.child(name), ""));
            }
        }
        self.errors.extend(names_errors(&path, names));
    }

    /// What all versions have alike.
    fn alike(&mut self) {
        let internal = self.internal;
        let first = internal.versions.first().map_or("", Version::name);
        self.schema(&at("validation"), internal.validation, internal.any_status(), first);
        self.errors.extend(columns::subresource_errors(&at("subresources"), internal.subresources));
        self.columns(&Path::new("spec"), internal.columns);
        if internal.selectable.is_empty() {
            return;
        }
        let fields = at("selectableFields");
        match (internal.validation, internal.schema()) {
            (None, _) => {
                self.push(field::invalid(&fields, "", "may only be set when validations.schema is included"));
            }
            (Some(_), Some(schema)) => {
                self.selectable(&Path::new("spec"), &fields, internal.selectable, schema, "");
            }
            (Some(_), None) => self.errors.extend(columns::selectable_errors(
                &fields,
                internal.selectable,
                &Schema::default(),
                self.demands.many_selectable.contains(""),
            )),
        }
    }

    fn conversion(&mut self) {
        let path = at("conversion");
        let conversion = self.internal.spec.map("conversion");
        let strategy = conversion.map(|conversion| conversion.str("strategy"));
        if let Some(strategy) = strategy.filter(|strategy| *strategy != "None")
            && self.internal.preserves_unknown_fields()
        {
            let why = "must be None if spec.preserveUnknownFields is true";
            self.push(field::invalid(&path.child("strategy"), strategy, why));
        }
        self.errors.extend(webhook::errors(&path, conversion, self.demands.webhook));
    }
}

fn shown_versions(internal: &Internal<'_>) -> Value {
    // None at all are no empty list.
    let is_none = internal.spec.get("versions").is_none_or(Value::is_null);
    if is_none { Value::Null } else { shown::versions(&internal.versions) }
}

/// A pointer to text, shown as JSON.
struct Json<'a>(Option<&'a Value>);

impl field::Shown for Json<'_> {
    fn shown(&self) -> String {
        self.0.map_or("null".into(), crate::go::json)
    }
}

fn deprecation_errors(deprecated: bool, warning: Option<&str>) -> Vec<String> {
    let Some(warning) = warning else { return Vec::new() };
    if !deprecated {
        return vec!["can only be set for deprecated versions".into()];
    }
    let mut errors = Vec::new();
    if warning.len() > DEPRECATION_BYTES_MAX {
        errors.push(format!("must be <= {DEPRECATION_BYTES_MAX} characters long"));
    }
    if warning.is_empty() {
        errors.push("must not be an empty string".into());
    }
    if let Some((at, _)) = warning.char_indices().find(|(_, c)| !is_printable(*c)) {
        errors
            .push(format!("must only contain printable UTF-8 characters; non-printable character found at index {at}"));
    }
    errors
}

/// Go's unicode.IsPrint: of spaces only the ASCII one.
fn is_printable(c: char) -> bool {
    c == ' '
        || !c.is_whitespace() && !c.is_control() && !field::go_quote(c.encode_utf8(&mut [0; 4])).starts_with("\"\\u")
}

/// Everything wrong with names, in the spec or accepted.
pub(super) fn names_errors(path: &Path, names: &Map) -> Errors {
    let mut errors = Errors::new();
    for name in ["plural", "singular"] {
        let text = names.str(name);
        let error = label_error(text).filter(|_| !text.is_empty());
        errors.extend(error.map(|error| field::invalid(&path.child(name), text, error)));
    }
    for name in ["kind", "listKind"] {
        let text = names.str(name);
        let error = label_error(&text.to_lowercase()).filter(|_| !text.is_empty());
        let why = |error| format!("may have mixed case, but should otherwise match: {error}");
        errors.extend(error.map(|error| field::invalid(&path.child(name), text, why(error))));
    }
    for name in ["shortNames", "categories"] {
        for (at, text) in names.list(name).iter().filter_map(Value::as_str).enumerate() {
            let path = path.child(name).index(at);
            errors.extend(label_error(text).map(|error| field::invalid(&path, text, error)));
        }
    }
    let (kind, list_kind) = (names.str("kind"), names.str("listKind"));
    if !kind.is_empty() && kind == list_kind {
        errors.push(field::invalid(&path.child("listKind"), list_kind, "kind and listKind may not be the same"));
    }
    errors
}

/// What an update may not change; scope and kind once the definition is established.
pub(super) fn immutable_errors(new: &Internal<'_>, old: &Internal<'_>, established: bool) -> Errors {
    let names = |internal: &Internal<'_>, name: &str| {
        internal.spec.at(&["names"]).map_or("", |names| names.str(name)).to_owned()
    };
    let spec = |internal: &Internal<'_>, name: &str| internal.spec.str(name).to_owned();
    let path = at("names");
    let fields = [
        (at("scope"), spec(new, "scope"), spec(old, "scope"), established),
        (path.child("kind"), names(new, "kind"), names(old, "kind"), established),
        (at("group"), spec(new, "group"), spec(old, "group"), true),
        (path.child("plural"), names(new, "plural"), names(old, "plural"), true),
    ];
    let changed = fields.into_iter().filter(|(_, new, old, fixed)| *fixed && new != old);
    changed.map(|(path, new, _, _)| field::invalid(&path, new, IMMUTABLE)).collect()
}
