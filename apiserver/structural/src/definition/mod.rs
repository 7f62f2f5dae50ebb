//! The CustomResourceDefinition itself: defaults, what a write keeps, validation, warnings
//! (k8s.io/apiextensions-apiserver/pkg/{apis/apiextensions/v1/defaults.go,apis/apiextensions/validation/validation.go,
//! registry/customresourcedefinition/strategy.go}@v0.37.2).
//!
//! Invariant: a definition is a decoded v1 object; errors speak of upstream's internal form, where a field that all versions
//! have alike stands in the spec (`spec.validation.openAPIV3Schema`).
//! Non-goal: metadata that every kind has; conditions ([`crate::conditions`]).

mod columns;
mod cost;
pub(crate) mod defaults;
mod internal;
mod openapi;
mod schemas;
mod shown;
mod spec;
pub(crate) mod structure;
#[cfg(test)]
mod tests;
pub(crate) mod webhook;

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta as _;
use api::value::{Map, Value};

use crate::conditions::{self, Approval};
use crate::format;
use crate::props::Props;
use crate::rules::Rules;
use crate::schema::{RuleNode, Schema};
use internal::Internal;
use spec::Demands;

/// Compiles rules: the other side of [`crate::rules`].
pub trait Compiler {
    /// What is to be said about each rule of a node.
    fn compile(&self, compilation: &Compilation<'_>) -> Result<Vec<Compiled>, String>;

    /// Evaluates the rules of a schema whose rules compile, on its defaults.
    fn evaluator<'a>(&'a self, schema: &'a Schema) -> Box<dyn Rules + 'a>;
}

/// The rules of one node.
pub struct Compilation<'a> {
    /// Declares `self`.
    pub schema: &'a Schema,
    pub node: &'a RuleNode,
    /// Whether a rule was accepted before: it may use what only stored expressions may.
    pub known_rule: &'a dyn Fn(&str) -> bool,
    pub known_message: &'a dyn Fn(&str) -> bool,
}

/// One rule, compiled. Costs are estimates in cost units.
#[derive(Debug, Default)]
pub struct Compiled {
    pub error: Option<CompileError>,
    pub uses_old_self: bool,
    pub max_cost: u64,
    /// How often the place can be in an object, as far as the rule knows.
    pub max_cardinality: u64,
    /// Of the message expression, if there is one that compiles.
    pub message_max_cost: Option<u64>,
    pub message_error: Option<String>,
}

#[derive(Debug)]
pub struct CompileError {
    /// Something is missing, not wrong.
    pub required: bool,
    pub detail: String,
}

/// Fills in the defaults of v1.
pub fn apply_defaults(definition: &mut Map) {
    let spec = definition.map_mut("spec");
    let names = spec.map_mut("names");
    let kind = names.str("kind").to_owned();
    if names.str("singular").is_empty() && !kind.is_empty() {
        names.set("singular", kind.to_lowercase());
    }
    if names.str("listKind").is_empty() && !kind.is_empty() {
        names.set("listKind", format!("{kind}List"));
    }
    if !spec.contains("conversion") {
        spec.set("conversion", api::map! { "strategy" => "None" });
    }
    let service = spec.get_mut("conversion").and_then(Value::as_map_mut).and_then(webhook::service_mut);
    if let Some(service) = service.filter(|service| !service.contains("port")) {
        service.set("port", 443i64);
    }
    if definition.at(&["status"]).is_none_or(|status| status.list("storedVersions").is_empty()) {
        store_version(definition);
    }
}

/// A new definition has no status but the version it is stored in.
pub fn prepare_for_create(definition: &mut Map) {
    definition.set("status", Map::new());
    store_version(definition);
}

/// An update keeps the status, but for a new storage version. True when the spec changed.
pub fn prepare_for_update(definition: &mut Map, old: &Map) -> bool {
    match old.get("status") {
        Some(status) => definition.set("status", status.clone()),
        None => drop(definition.remove("status")),
    }
    store_version(definition);
    definition.get("spec") != old.get("spec")
}

/// An update of the status keeps all else, but what metadata a status update may change.
pub fn prepare_for_status_update(definition: &mut Map, old: &Map) {
    if let Some(spec) = old.get("spec") {
        definition.set("spec", spec.clone());
    }
}

/// Notes the storage version among those that objects are stored in.
fn store_version(definition: &mut Map) {
    let storage = storage_version(definition).map(Value::from);
    if let Some(name) = storage {
        let stored = definition.map_mut("status").list_mut("storedVersions");
        if !stored.contains(&name) {
            stored.push(name);
        }
    }
}

/// The name of the version that objects are stored in.
pub fn storage_version(definition: &Map) -> Option<&str> {
    let mut versions = definition.map("spec")?.maps("versions");
    versions.find(|version| version.bool("storage") == Some(true)).map(|version| version.str("name"))
}

/// The version of a name.
pub fn version<'a>(definition: &'a Map, name: &str) -> Option<&'a Map> {
    definition.map("spec")?.maps("versions").find(|version| version.str("name") == name)
}

/// Everything wrong with a new definition, besides what metadata of every kind is checked for.
pub fn validate_create(definition: &Map, compiler: &dyn Compiler) -> Errors {
    let internal = Internal::of(definition);
    let mut errors = name_errors(definition);
    errors.extend(spec::validate(&internal, &Demands::strict(), compiler));
    errors.extend(status_errors(definition));
    errors.extend(approval_errors(definition, None));
    errors.extend(preserve_errors(&internal, None));
    errors
}

/// Everything wrong with a changed definition, besides what metadata of every kind is checked for.
pub fn validate_update(definition: &Map, old: &Map, compiler: &dyn Compiler) -> Errors {
    let (internal, was) = (Internal::of(definition), Internal::of(old));
    let established = conditions::is_true(old, "Established");
    let demands = Demands::after(&internal, &was, established);
    let mut errors = spec::validate(&internal, &demands, compiler);
    errors.extend(spec::immutable_errors(&internal, &was, established));
    errors.extend(status_errors(definition));
    errors.extend(approval_errors(definition, Some(old)));
    errors.extend(preserve_errors(&internal, Some(&was)));
    errors
}

/// Everything wrong with a changed status, besides what metadata of every kind is checked for.
pub fn validate_status_update(definition: &Map) -> Errors {
    let names = definition.at(&["status", "acceptedNames"]).unwrap_or(Map::EMPTY);
    spec::names_errors(&Path::new("status").child("acceptedNames"), names)
}

/// The name is made of the plural and the group.
fn name_errors(definition: &Map) -> Errors {
    let spec = definition.map("spec").unwrap_or(Map::EMPTY);
    let plural = spec.map("names").unwrap_or(Map::EMPTY).str("plural");
    let wanted = format!("{plural}.{}", spec.str("group"));
    let meta = definition.meta();
    let wrong = |name: &&str| !meta.str(name).is_empty() && meta.str(name) != wanted;
    let names = ["generateName", "name"].into_iter().filter(wrong);
    let why = r#"must be spec.names.plural+"."+spec.group"#;
    names.map(|name| field::invalid(&Path::new("metadata").child(name), meta.str(name), why)).collect()
}

fn status_errors(definition: &Map) -> Errors {
    let mut errors = validate_status_update(definition);
    let path = Path::new("status").child("storedVersions");
    let stored = definition.at(&["status"]).map_or(&[][..], |status| status.list("storedVersions"));
    if stored.is_empty() {
        errors.push(field::invalid(&path, Value::Null, "must have at least one stored version"));
        return errors;
    }
    let versions = || definition.map("spec").into_iter().flat_map(|spec| spec.maps("versions"));
    // A name that comes twice is there but for the first time.
    let mut left: Vec<&str> = stored.iter().filter_map(Value::as_str).collect();
    for version in versions() {
        let name = version.str("name");
        if version.bool("storage") == Some(true) && !left.contains(&name) {
            let why = format!("must have the storage version {name}");
            errors.push(field::invalid(&path, Value::List(stored.to_vec()), why));
        }
        left.retain(|stored| *stored != name);
    }
    for (at, name) in stored.iter().enumerate().filter_map(|(at, name)| Some((at, name.as_str()?))) {
        let repeated = stored[at + 1..].iter().any(|later| later.as_str() == Some(name));
        if !repeated && versions().all(|version| version.str("name") != name) {
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.push(field::invalid(&path.index(at), name, why));
        }
    }
    errors
}

fn approval_errors(definition: &Map, old: Option<&Map>) -> Errors {
    let group = definition.map("spec").unwrap_or(Map::EMPTY).str("group");
    if !conditions::is_protected(group) {
        return Errors::new();
    }
    let (approval, reason) = conditions::approval(definition);
    let unchanged = old.is_some_and(|old| conditions::approval(old).0 == approval);
    if unchanged || matches!(approval, Approval::Approved | Approval::Bypassed) {
        return Errors::new();
    }
    let path = Path::new("metadata").child("annotations").key(conditions::APPROVED_ANNOTATION);
    if approval == Approval::Missing {
        return vec![field::required(&path, reason)];
    }
    let text = definition.annotation(conditions::APPROVED_ANNOTATION).unwrap_or("");
    vec![field::invalid(&path, text, reason)]
}

fn preserve_errors(internal: &Internal<'_>, old: Option<&Internal<'_>>) -> Errors {
    if old.is_some_and(Internal::preserves_unknown_fields) || !internal.preserves_unknown_fields() {
        return Errors::new();
    }
    let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    vec![field::invalid(&Path::new("spec").child("preserveUnknownFields"), true, why)]
}

/// Warnings about a new definition, or about what an update brings.
pub fn warnings(definition: &Map, old: Option<&Map>) -> Vec<String> {
    let internal = Internal::of(definition);
    let was = old.map(Internal::of);
    let (known_formats, known_sets) = was.map(|was| (strange_formats(&was), strange_sets(&was))).unwrap_or_default();
    let formats = strange_formats(&internal).into_iter().filter(|format| !known_formats.contains(format));
    let formats = formats.map(|format| format!("unrecognized format {}", field::go_quote(&format)));
    let sets = strange_sets(&internal).into_iter().filter(|warning| !known_sets.contains(warning));
    formats.chain(sets).collect()
}

fn strange_formats(internal: &Internal<'_>) -> Vec<String> {
    let mut formats = Vec::new();
    internal.any_schema(|schema| {
        let format = schema.text("format");
        if !format.is_empty() && !format::is_recognized(schema.ty(), format) {
            formats.push(format.to_owned());
        }
        false
    });
    formats
}

fn strange_sets(internal: &Internal<'_>) -> Vec<String> {
    let mut warnings = std::collections::BTreeSet::new();
    internal.any_schema(|schema| {
        let item = schema.item().filter(|_| schema.list_type() == Some("set")).map_or("", Props::ty);
        if matches!(item, "object" | "array") {
            warnings.insert(format!(
                "x-kubernetes-list-type: set for items of type {} is not supported by server-side apply or CEL validation rules",
                field::go_quote(item)
            ));
        }
        false
    });
    warnings.into_iter().collect()
}

/// Types that a schema can have.
pub(crate) fn openapi_types() -> &'static [&'static str] {
    &openapi::TYPES
}

/// Errors as one text, each once.
pub(crate) fn aggregated(errors: &[field::Error]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in errors.iter().map(ToString::to_string) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) }
}

/// What is wrong with a DNS label, in one text.
fn label_error(text: &str) -> Option<String> {
    let wrong = names::is_dns1035_label(text);
    (!wrong.is_empty()).then(|| wrong.join(","))
}
