//! What the schema of a version may say, structural or not, and its rules
//! (ValidateCustomResourceDefinitionOpenAPISchema in
//! k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go@v0.37.2).

use std::collections::HashSet;

use api::field::{self, Errors, Path};
use api::value::{Map, Str, Value};

use super::cost::{Cardinality, EXPRESSION_COST_MAX, Total, exceeded};
use super::shown;
use super::{Compilation, Compiler};
use crate::declared::resource_properties;
use crate::fieldpath::{self, Brackets};
use crate::props::{Additional, Items, Props};
use crate::prune::is_meta;
use crate::schema::Schema;

/// Types of OpenAPI v3 that a schema can have, sorted.
pub(super) const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Reasons of a rule's errors, sorted.
const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// What is not of structural schemas, with the words upstream has for it.
const UNSUPPORTED: [&str; 6] = ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];

/// What is demanded; an update may keep what was accepted before.
#[derive(Clone, Copy)]
pub(super) struct Demands {
    pub(super) valid_types: bool,
    pub(super) atomic_sets: bool,
    pub(super) keyed_lists: bool,
    /// The version's schema did not change: expressions keep their cost.
    pub(super) expressions_may_be_dear: bool,
}

/// Expressions that were there before an update.
#[derive(Default)]
pub(super) struct Known<'a> {
    pub(super) rules: HashSet<&'a str>,
    pub(super) messages: HashSet<&'a str>,
}

pub(super) struct Checks<'a> {
    pub(super) demands: Demands,
    pub(super) known: &'a Known<'a>,
    pub(super) compiler: &'a dyn Compiler,
    pub(super) total: Total,
    schema_errors: Errors,
    rule_errors: Errors,
}

/// What surrounds a schema.
#[derive(Clone, Default)]
struct Around {
    root: bool,
    in_meta: bool,
    /// Why no default may be here.
    no_defaults: Option<String>,
    /// The outermost place whose parts do not correlate.
    uncorrelated: Option<Path>,
}

/// For rules: the compiled schema and how often it can be there.
#[derive(Clone, Copy)]
struct Ruled<'a> {
    schema: &'a Schema,
    /// What stands for the schema in the declaration of the resource around it.
    fixed: Option<&'a Schema>,
    /// There are rules around the place, for which it is declared.
    in_scope: bool,
    cardinality: Cardinality,
}

impl<'a> Checks<'a> {
    pub(super) fn new(demands: Demands, known: &'a Known<'a>, compiler: &'a dyn Compiler) -> Self {
        let (schema_errors, rule_errors) = (Errors::new(), Errors::new());
        Checks { demands, known, compiler, total: Total::default(), schema_errors, rule_errors }
    }

    /// Checks a version's schema; rules only with `compiled`.
    pub(super) fn check(&mut self, path: &Path, schema: Props<'_>, compiled: Option<&Schema>) -> Errors {
        let ruled =
            compiled.map(|schema| Ruled { schema, fixed: None, in_scope: false, cardinality: Cardinality::ROOT });
        self.schema(path, schema, &Around { root: true, ..Around::default() }, ruled);
        let mut errors = std::mem::take(&mut self.schema_errors);
        errors.append(&mut self.rule_errors);
        errors
    }

    fn push(&mut self, error: field::Error) {
        self.schema_errors.push(error);
    }

    fn schema(&mut self, path: &Path, schema: Props<'_>, around: &Around, ruled: Option<Ruled<'_>>) {
        let before = self.schema_errors.len();
        self.standard(path, schema, around);
        if schema.flag("uniqueItems") {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.push(field::forbidden(&path.child("uniqueItems"), why));
        }
        self.additional(path, schema, around, ruled);
        self.properties(path, schema, around, ruled);
        self.junctors(path, schema, around);
        self.items(path, schema, around, ruled);
        if schema.value("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            let at = path.child("x-kubernetes-preserve-unknown-fields");
            self.push(field::invalid(&at, false, "must be true or undefined"));
        }
        self.map_type(path, schema);
        self.list_type(path, schema);
        if schema.list_type() == Some("map") {
            self.map_list(path, schema);
        }
        if self.demands.keyed_lists {
            let errors = keyed_list_errors(path, schema);
            self.schema_errors.extend(errors);
        }
        self.rules(path, schema);
        if let Some(ruled) = ruled.filter(|_| self.schema_errors.len() == before) {
            self.compile(path, schema, around, ruled);
        }
    }

    fn standard(&mut self, path: &Path, schema: Props<'_>, around: &Around) {
        let ty = schema.ty();
        if self.demands.valid_types && !ty.is_empty() && !TYPES.contains(&ty) {
            self.push(field::not_supported(&path.child("type"), ty, &TYPES));
        }
        if let (Some(reason), true) = (&around.no_defaults, schema.value("default").is_some()) {
            let why = format!("must not be set {reason}");
            self.push(field::forbidden(&path.child("default"), why));
        }
        for name in UNSUPPORTED {
            // Of these, Go has pointers.
            let is_pointer = matches!(name, "additionalItems" | "$ref");
            let set = schema.value(name).is_some_and(|value| !value.is_zero() || is_pointer && !value.is_null());
            if set {
                self.push(field::forbidden(&path.child(name), format!("{name} is not supported")));
            }
        }
        if ty == "null" {
            let why = "type cannot be set to null, use nullable as an alternative";
            self.push(field::forbidden(&path.child("type"), why));
        }
        if matches!(schema.items(), Some(Items::Each([_, ..]))) {
            self.push(field::forbidden(&path.child("items"), "items must be a schema object and not an array"));
        }
        if around.in_meta && schema.embedded() {
            let at = path.child("x-kubernetes-embedded-resource");
            self.push(field::forbidden(&at, "must not be used inside of resource meta"));
        }
    }

    fn additional(&mut self, path: &Path, schema: Props<'_>, around: &Around, ruled: Option<Ruled<'_>>) {
        let additional = schema.additional("additionalProperties");
        let path = path.child("additionalProperties");
        let excluded = matches!(additional, Additional::Allowed(false) | Additional::Schema(_));
        if excluded && schema.properties().next().is_some() {
            self.push(field::forbidden(&path, "additionalProperties and properties are mutual exclusive"));
        }
        let Additional::Schema(below) = additional else { return };
        let mut around = Around { root: false, ..around.clone() };
        if around.in_meta {
            around.no_defaults = Some("inside additionalProperties applying to object metadata".into());
        }
        let ruled = ruled.and_then(|ruled| ruled.below(schema, ruled.schema.additional.schema()));
        self.schema(&path, below, &around, ruled);
    }

    fn properties(&mut self, path: &Path, schema: Props<'_>, around: &Around, ruled: Option<Ruled<'_>>) {
        let fixed = ruled.map(|ruled| ruled.fixed(around.root || schema.embedded())).unwrap_or_default();
        for (name, below) in schema.properties() {
            let mut inner = Around { root: false, ..around.clone() };
            if !matches!(schema.map_type(), None | Some("granular" | "atomic")) {
                inner.uncorrelated.get_or_insert_with(|| path.clone());
            }
            if (around.root || schema.embedded()) && is_meta(name) {
                inner.in_meta = true;
                if around.root {
                    inner.no_defaults = Some(format!("in top-level {name}"));
                }
            }
            let ruled = ruled.and_then(|ruled| ruled.property(schema, name, &fixed));
            self.schema(&path.child("properties").key(name), below, &inner, ruled);
        }
    }

    fn junctors(&mut self, path: &Path, schema: Props<'_>, around: &Around) {
        let around = Around { root: false, ..around.clone() };
        if let Some(not) = schema.one("not") {
            self.schema(&path.child("not"), not, &around, None);
        }
        for name in ["allOf", "oneOf", "anyOf"] {
            for (at, below) in schema.many(name).enumerate() {
                self.schema(&path.child(name).index(at), below, &around, None);
            }
        }
        for name in ["definitions", "dependencies"] {
            for (key, below) in schema.named(name) {
                self.schema(&path.child(name).key(key), below, &around, None);
            }
        }
    }

    fn items(&mut self, path: &Path, schema: Props<'_>, around: &Around, ruled: Option<Ruled<'_>>) {
        let mut around = Around { root: false, ..around.clone() };
        if schema.list_type() != Some("map") {
            around.uncorrelated.get_or_insert_with(|| path.clone());
        }
        let path = path.child("items");
        match schema.items() {
            None => {}
            Some(Items::One(item)) => {
                let ruled = ruled.and_then(|ruled| ruled.below(schema, ruled.schema.items.as_deref()));
                self.schema(&path, item, &around, ruled);
            }
            Some(Items::Each(list)) => {
                for (at, item) in list.iter().filter_map(Value::as_map).enumerate() {
                    self.schema(&path.index(at), Props(item), &around, None);
                }
            }
        }
    }

    fn must_be(&mut self, path: &Path, schema: Props<'_>, wanted: &str, why: &str) -> bool {
        let (at, ty) = (path.child("type"), schema.ty());
        match ty {
            "" => self.push(field::required(&at, why)),
            ty if ty != wanted => self.push(field::invalid(&at, ty, why)),
            _ => return true,
        }
        false
    }

    fn map_type(&mut self, path: &Path, schema: Props<'_>) {
        let Some(map_type) = schema.map_type() else { return };
        self.must_be(path, schema, "object", "must be object if x-kubernetes-map-type is specified");
        if !matches!(map_type, "atomic" | "granular") {
            let at = path.child("x-kubernetes-map-type");
            self.push(field::not_supported(&at, map_type, &["atomic", "granular"]));
        }
    }

    fn list_type(&mut self, path: &Path, schema: Props<'_>) {
        let at = path.child("x-kubernetes-list-type");
        let list_type = schema.list_type();
        if let Some(list_type) = list_type {
            let array = self.must_be(path, schema, "array", "must be array if x-kubernetes-list-type is specified");
            if array && self.demands.atomic_sets {
                let errors = set_errors(path, schema);
                self.schema_errors.extend(errors);
            }
            if !matches!(list_type, "atomic" | "set" | "map") {
                self.push(field::not_supported(&at, list_type, &["atomic", "set", "map"]));
            }
        }
        if schema.texts("x-kubernetes-list-map-keys").next().is_some() {
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            match list_type {
                None => self.push(field::required(&at, why)),
                Some("map") => {}
                Some(other) => self.push(field::invalid(&at, other, why)),
            }
        }
    }

    fn map_list(&mut self, path: &Path, schema: Props<'_>) {
        let at_keys = path.child("x-kubernetes-list-map-keys");
        let keys: Vec<&str> = schema.texts("x-kubernetes-list-map-keys").collect();
        if keys.is_empty() {
            self.push(field::required(&at_keys, "must not be empty if x-kubernetes-list-type is map"));
        }
        let at = path.child("items");
        let item = match schema.items() {
            None => return self.push(field::required(&at, "must have a schema if x-kubernetes-list-type is map")),
            Some(Items::One(item)) => item,
            Some(items) => {
                let why = "must only have a single schema if x-kubernetes-list-type is map";
                return self.push(field::invalid(&at, shown::items(&items), why));
            }
        };
        if item.ty() != "object" {
            let why = "must be object if parent array's x-kubernetes-list-type is map";
            return self.push(field::invalid(&at.child("type"), item.ty(), why));
        }
        let all = || Value::List(keys.iter().map(|key| Value::from(*key)).collect());
        for (index, key) in keys.iter().enumerate() {
            match item.property(key) {
                None => self.push(field::invalid(&at_keys, all(), "entries must all be names of item properties")),
                Some(property) if matches!(property.ty(), "array" | "object") => {
                    let at = at.child("properties").key(key).child("type");
                    let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    self.push(field::invalid(&at, item.ty(), why));
                }
                Some(_) => {}
            }
            if keys[..index].contains(key) {
                self.push(field::invalid(&at_keys, all(), "must not contain duplicate entries"));
            }
        }
    }

    fn rules(&mut self, path: &Path, schema: Props<'_>) {
        for (at, rule) in schema.rules().enumerate() {
            let path = path.child("x-kubernetes-validations").index(at);
            self.rule_texts(&path, rule);
            if let Some(reason) = rule.get("reason").and_then(Value::as_str).filter(|reason| !REASONS.contains(reason))
            {
                self.push(field::not_supported(&path.child("reason"), reason, &REASONS));
            }
            let field_path = rule.str("fieldPath");
            let at = path.child("fieldPath");
            if !field_path.is_empty() && field_path.trim().is_empty() {
                self.push(field::invalid(&at, field_path, "must be non-empty if specified"));
            }
            if has_newlines(field_path) {
                self.push(field::invalid(&at, field_path, "must not contain line breaks"));
            }
            let valid = |text| match Schema::parse(schema.0) {
                Ok(schema) => fieldpath::resolve(text, &schema, Brackets::Allowed).is_ok(),
                Err(_) => true,
            };
            if !field_path.is_empty() && !valid(field_path) {
                self.push(field::invalid(&at, field_path, "must be a valid path"));
            }
        }
    }

    fn rule_texts(&mut self, path: &Path, rule: &Map) {
        let (text, message, expression) = (rule.str("rule"), rule.str("message"), rule.str("messageExpression"));
        let at = path.child("message");
        if text.trim().is_empty() {
            self.push(field::required(&path.child("rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            self.push(field::invalid(&at, message, "must be non-empty if specified"));
        } else if has_newlines(message.trim()) {
            self.push(field::invalid(&at, message, "must not contain line breaks"));
        } else if has_newlines(text.trim()) && message.trim().is_empty() {
            self.push(field::required(&at, "message must be specified if rule contains line breaks"));
        }
        if !expression.is_empty() && expression.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            self.push(field::required(&path.child("messageExpression"), why));
        }
    }

    fn compile(&mut self, path: &Path, schema: Props<'_>, around: &Around, ruled: Ruled<'_>) {
        let Some(node) = &ruled.schema.rules else { return };
        let path = path.child("x-kubernetes-validations");
        let known = self.known;
        let compilation = Compilation {
            schema: ruled.fixed.unwrap_or(ruled.schema),
            node,
            known_rule: &|text| known.rules.contains(text),
            known_message: &|text| known.messages.contains(text),
        };
        let compiled = match self.compiler.compile(&compilation) {
            Ok(compiled) => compiled,
            Err(error) => return self.rule_errors.push(field::internal(&path, error)),
        };
        for (at, (compiled, rule)) in compiled.into_iter().zip(schema.rules()).enumerate() {
            self.compiled(&path.index(at), compiled, rule, around, ruled.cardinality);
        }
    }

    fn compiled(
        &mut self,
        path: &Path,
        compiled: super::Compiled,
        rule: &Map,
        around: &Around,
        cardinality: Cardinality,
    ) {
        let at = path.child("rule");
        let cost = cardinality.cost(compiled.max_cost, compiled.max_cardinality);
        self.observe(&at, "estimated rule cost", cost);
        match compiled.error {
            None => {}
            Some(error) if error.required => self.rule_errors.push(field::required(&at, error.detail)),
            Some(error) => self.rule_errors.push(field::invalid(&at, shown::rule(rule), error.detail)),
        }
        let at_message = path.child("messageExpression");
        if let Some(error) = compiled.message_error {
            self.rule_errors.push(field::invalid(&at_message, shown::rule(rule), error));
        } else if let Some(cost) = compiled.message_max_cost {
            self.observe(&at_message, "estimated messageExpression cost", cost);
        }
        if compiled.uses_old_self {
            if let Some(place) = &around.uncorrelated {
                let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {place}");
                self.rule_errors.push(field::invalid(&at, rule.str("rule"), why));
            }
        } else if let Some(optional) = rule.bool("optionalOldSelf") {
            let why = "may not be set if oldSelf is not used in rule";
            self.rule_errors.push(field::invalid(&path.child("optionalOldSelf"), optional, why));
        }
    }

    fn observe(&mut self, path: &Path, what: &str, cost: u64) {
        if !self.demands.expressions_may_be_dear && cost > EXPRESSION_COST_MAX {
            self.rule_errors.push(field::forbidden(path, exceeded(what, cost, EXPRESSION_COST_MAX)));
        }
        self.total.add(path.clone(), cost);
    }
}

impl<'a> Ruled<'a> {
    fn below(self, schema: Props<'_>, below: Option<&'a Schema>) -> Option<Ruled<'a>> {
        let cardinality = self.cardinality.below(schema);
        Some(Ruled { schema: below?, fixed: None, in_scope: self.is_scope(), cardinality })
    }

    fn property<'b>(self, schema: Props<'_>, name: &str, fixed: &'b [(&str, Schema)]) -> Option<Ruled<'b>>
    where
        'a: 'b,
    {
        let own = fixed.iter().find(|(fixed, _)| *fixed == name).map(|(_, schema)| schema);
        let fixed = own.or_else(|| self.fixed?.properties.get(name));
        Some(Ruled { fixed, ..self.below(schema, self.schema.properties.get(name))? })
    }

    fn is_scope(self) -> bool {
        self.in_scope || self.schema.rules.is_some()
    }

    /// What rules around know of a resource whatever its properties are.
    fn fixed(self, resource: bool) -> Vec<(&'static str, Schema)> {
        if resource && self.is_scope() { resource_properties(self.schema) } else { Vec::new() }
    }
}

fn has_newlines(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

/// Items of a set must be atomic.
pub(super) fn set_errors(path: &Path, schema: Props<'_>) -> Errors {
    const WHY: &str = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let Some(item) = schema.item().filter(|_| schema.list_type() == Some("set")) else { return Errors::new() };
    let items = path.child("items");
    // Upstream shows the list type in both, as JSON.
    let shown = item.list_type().map(|ty| Value::from(Str::from(ty))).unwrap_or_default();
    match item.ty() {
        "array" if !matches!(item.list_type(), None | Some("atomic")) => {
            vec![field::invalid(&items.child("x-kubernetes-list-type"), shown, WHY)]
        }
        "object" if item.map_type() != Some("atomic") => {
            vec![field::invalid(&items.child("x-kubernetes-map-type"), shown, WHY)]
        }
        _ => Errors::new(),
    }
}

/// Items of sets and maps, and keys of maps, are never null; keys are always there.
pub(super) fn keyed_list_errors(path: &Path, schema: Props<'_>) -> Errors {
    let mut errors = Errors::new();
    let Some(item) = schema.item() else { return errors };
    let Some(list_type @ ("set" | "map")) = schema.list_type() else { return errors };
    let items = path.child("items");
    if item.flag("nullable") {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(field::forbidden(&items.child("nullable"), why));
    }
    for key in schema.texts("x-kubernetes-list-map-keys").filter(|_| list_type == "map") {
        let Some(property) = item.property(key) else { continue };
        let at = items.child("properties").key(key);
        if !item.texts("required").any(|name| name == key) && property.value("default").is_none() {
            let why =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(field::required(&at.child("default"), why));
        }
        if property.flag("nullable") {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(field::forbidden(&at.child("nullable"), why));
        }
    }
    errors
}
