//! A schema compiled once from the JSON of `openAPIV3Schema`, cheap to walk on every request
//! (k8s.io/apiextensions-apiserver/pkg/apiserver/schema/{structural,convert}.go@v0.37.2).
//!
//! Invariant: one tree serves pruning, defaulting, validation and rules; subtrees are shared by `Arc`; patterns are compiled.
//! Non-goal: words. Titles, descriptions and examples stay in the JSON, for [`crate::publish`].

use std::sync::Arc;

use api::goregex;
use api::value::{Map, Str, Value};
use regex::Regex;

use crate::format::Format;
use crate::props::{Additional as AdditionalProps, Items, Props};

/// Why JSON is no structural schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub(crate) String);

/// One node of a schema.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub ty: Type,
    pub nullable: bool,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    /// `x-kubernetes-embedded-resource`
    pub embedded_resource: bool,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserve_unknown_fields: bool,
    pub default: Option<Value>,
    pub properties: Properties,
    pub items: Option<Arc<Schema>>,
    pub additional: Additional,
    pub list: List,
    /// `x-kubernetes-list-map-keys`
    pub map_keys: Box<[Str]>,
    /// `x-kubernetes-map-type: atomic`
    pub atomic_map: bool,
    /// What a value must satisfy beyond its type.
    pub checks: Option<Box<Checks>>,
    /// `x-kubernetes-validations`
    pub rules: Option<Box<RuleNode>>,
    /// This node or one below it has a default.
    pub has_defaults: bool,
    /// This node or one below it has rules.
    pub has_rules: bool,
    /// This node or one below it is an embedded resource.
    pub has_embedded: bool,
    /// This node or one below it is a list of type set or map.
    pub has_keyed_lists: bool,
}

/// `type`; structural schemas leave it out only with int-or-string or preserve-unknown-fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Type {
    #[default]
    Any,
    Object,
    Array,
    String,
    Number,
    Integer,
    Boolean,
    /// Not of OpenAPI v3: only in objects stored by old servers.
    Other(Str),
}

/// `x-kubernetes-list-type`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum List {
    #[default]
    Unset,
    Atomic,
    Set,
    Map,
    Other,
}

/// `additionalProperties`
#[derive(Clone, Debug, Default)]
pub enum Additional {
    #[default]
    Absent,
    Allowed(bool),
    Schema(Arc<Schema>),
}

/// `properties`, in order of their names.
#[derive(Clone, Debug, Default)]
pub struct Properties(Vec<(Str, Arc<Schema>)>);

/// Value validations.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// As written.
    pub format: Str,
    /// What the format demands of text; `None` for none and unknown ones.
    pub(crate) known_format: Option<Format>,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub pattern: Option<Pattern>,
    pub max_items: Option<i64>,
    pub min_items: Option<i64>,
    pub unique_items: bool,
    pub max_properties: Option<i64>,
    pub min_properties: Option<i64>,
    pub enumeration: Vec<Value>,
    pub required: Vec<Str>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
}

/// A pattern and what it compiles to, or Go's message why it does not.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub text: Str,
    pub(crate) compiled: Result<Regex, String>,
}

/// The rules of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleNode {
    /// Counts the nodes with rules of a tree, from 0: where an evaluator keeps what it compiled.
    pub id: usize,
    /// The root of a resource, or of an embedded one: apiVersion, kind and metadata are declared.
    pub resource_root: bool,
    pub rules: Vec<Rule>,
}

/// One of `x-kubernetes-validations`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    pub rule: Str,
    pub message: Str,
    pub message_expression: Str,
    pub reason: Option<Str>,
    pub field_path: Str,
    pub optional_old_self: Option<bool>,
}

impl Type {
    pub fn of(name: &str) -> Type {
        match name {
            "" => Type::Any,
            "object" => Type::Object,
            "array" => Type::Array,
            "string" => Type::String,
            "number" => Type::Number,
            "integer" => Type::Integer,
            "boolean" => Type::Boolean,
            other => Type::Other(other.into()),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Type::Any => "",
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Number => "number",
            Type::Integer => "integer",
            Type::Boolean => "boolean",
            Type::Other(name) => name,
        }
    }
}

impl List {
    fn of(name: Option<&str>) -> List {
        match name {
            None => List::Unset,
            Some("atomic") => List::Atomic,
            Some("set") => List::Set,
            Some("map") => List::Map,
            Some(_) => List::Other,
        }
    }
}

impl Additional {
    pub fn schema(&self) -> Option<&Schema> {
        match self {
            Additional::Schema(schema) => Some(schema),
            _ => None,
        }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Additional::Absent)
    }
}

impl Properties {
    pub fn get(&self, name: &str) -> Option<&Schema> {
        let at = self.0.binary_search_by(|entry| entry.0.as_str().cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Str, &Schema)> {
        self.0.iter().map(|(name, schema)| (name, &**schema))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&Str, &mut Arc<Schema>)> {
        self.0.iter_mut().map(|(name, schema)| (&*name, schema))
    }
}

impl FromIterator<(Str, Arc<Schema>)> for Properties {
    fn from_iter<T: IntoIterator<Item = (Str, Arc<Schema>)>>(properties: T) -> Properties {
        let mut properties: Vec<_> = properties.into_iter().collect();
        properties.sort_by(|a, b| a.0.cmp(&b.0));
        Properties(properties)
    }
}

/// Nanoseconds of a text of format `duration`, which knows words such as `3 days`; else upstream's error.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    crate::format::duration(text)
}

impl Schema {
    /// Compiles the JSON of a JSONSchemaProps.
    pub fn parse(json: &Map) -> Result<Schema, Error> {
        Parser { rule_nodes: 0 }.schema(Props(json), true)
    }

    /// The schema of a name in an object: its property, else what other names must satisfy.
    pub fn field(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or_else(|| self.additional.schema())
    }

    /// Calls `visit` for each node with rules, parents first.
    pub fn visit_rules<'a>(&'a self, visit: &mut impl FnMut(&'a Schema, &'a RuleNode)) {
        if !self.has_rules {
            return;
        }
        if let Some(node) = &self.rules {
            visit(self, node);
        }
        let below = self.properties.iter().map(|(_, schema)| schema);
        for schema in self.items.as_deref().into_iter().chain(self.additional.schema()).chain(below) {
            schema.visit_rules(visit);
        }
    }
}

/// Fields that no structural schema has, with how the error names them.
const UNSUPPORTED: [&str; 7] =
    ["id", "$schema", "$ref", "patternProperties", "dependencies", "additionalItems", "definitions"];

struct Parser {
    rule_nodes: usize,
}

impl Parser {
    fn schema(&mut self, props: Props<'_>, root: bool) -> Result<Schema, Error> {
        refuse_unsupported(props)?;
        let checks = self.checks(props)?;
        if props.value("x-kubernetes-preserve-unknown-fields").is_some() && !props.preserves() {
            let text = "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined";
            return Err(Error(text.into()));
        }
        let rules = self.rules(props, root);
        let mut schema = Schema {
            ty: Type::of(props.ty()),
            nullable: props.flag("nullable"),
            int_or_string: props.int_or_string(),
            embedded_resource: props.embedded(),
            preserve_unknown_fields: props.preserves(),
            default: props.value("default").cloned(),
            properties: Properties::default(),
            items: self.items(props)?,
            additional: self.additional(props)?,
            list: List::of(props.list_type()),
            map_keys: props.texts("x-kubernetes-list-map-keys").map(Str::from).collect(),
            atomic_map: props.map_type() == Some("atomic"),
            checks,
            rules,
            ..Schema::default()
        };
        let properties = props.properties().map(|(name, of)| Ok((name.clone(), Arc::new(self.schema(of, false)?))));
        schema.properties = properties.collect::<Result<_, Error>>()?;
        Ok(summed(schema))
    }

    fn items(&mut self, props: Props<'_>) -> Result<Option<Arc<Schema>>, Error> {
        match props.items() {
            None => Ok(None),
            Some(Items::One(item)) => Ok(Some(Arc::new(self.schema(item, false)?))),
            Some(Items::Each([])) => Ok(Some(Arc::default())),
            Some(Items::Each(_)) => Err(Error("OpenAPIV3Schema 'items' must be a schema, but is an array".into())),
        }
    }

    fn additional(&mut self, props: Props<'_>) -> Result<Additional, Error> {
        Ok(match props.additional("additionalProperties") {
            AdditionalProps::Absent => Additional::Absent,
            AdditionalProps::Allowed(allowed) => Additional::Allowed(allowed),
            AdditionalProps::Schema(schema) => Additional::Schema(Arc::new(self.schema(schema, false)?)),
        })
    }

    fn rules(&mut self, props: Props<'_>, root: bool) -> Option<Box<RuleNode>> {
        let rules: Vec<Rule> = props.rules().map(rule).collect();
        if rules.is_empty() {
            return None;
        }
        let id = self.rule_nodes;
        self.rule_nodes += 1;
        Some(Box::new(RuleNode { id, resource_root: root || props.embedded(), rules }))
    }

    fn checks(&mut self, props: Props<'_>) -> Result<Option<Box<Checks>>, Error> {
        let format = props.text("format");
        let pattern = props.text("pattern");
        let mut list = |name| props.many(name).map(|schema| self.schema(schema, false)).collect::<Result<Vec<_>, _>>();
        let (all_of, any_of, one_of) = (list("allOf")?, list("anyOf")?, list("oneOf")?);
        let not = props.one("not").map(|not| self.schema(not, false)).transpose()?;
        let checks = Checks {
            format: format.into(),
            known_format: Format::of(format),
            maximum: props.limit("maximum"),
            exclusive_maximum: props.flag("exclusiveMaximum"),
            minimum: props.limit("minimum"),
            exclusive_minimum: props.flag("exclusiveMinimum"),
            multiple_of: props.limit("multipleOf"),
            max_length: props.count("maxLength"),
            min_length: props.count("minLength"),
            pattern: (!pattern.is_empty())
                .then(|| Pattern { text: pattern.into(), compiled: goregex::compile(pattern) }),
            max_items: props.count("maxItems"),
            min_items: props.count("minItems"),
            unique_items: props.flag("uniqueItems"),
            max_properties: props.count("maxProperties"),
            min_properties: props.count("minProperties"),
            enumeration: props.0.list("enum").to_vec(),
            required: props.texts("required").map(Str::from).collect(),
            all_of,
            any_of,
            one_of,
            not: not.map(Box::new),
        };
        Ok((!checks.is_empty()).then(|| Box::new(checks)))
    }
}

impl Checks {
    fn is_empty(&self) -> bool {
        let junctors = [&self.all_of, &self.any_of, &self.one_of];
        let counts = [
            self.max_length,
            self.min_length,
            self.max_items,
            self.min_items,
            self.max_properties,
            self.min_properties,
        ];
        let limits = [self.maximum, self.minimum, self.multiple_of];
        self.format.is_empty()
            && self.pattern.is_none()
            && !self.unique_items
            && self.enumeration.is_empty()
            && self.required.is_empty()
            && self.not.is_none()
            && junctors.iter().all(|list| list.is_empty())
            && counts.iter().all(Option::is_none)
            && limits.iter().all(Option::is_none)
    }
}

/// Fills in what the node says about those below it.
fn summed(mut schema: Schema) -> Schema {
    schema.has_defaults = schema.default.is_some();
    schema.has_rules = schema.rules.is_some();
    schema.has_embedded = schema.embedded_resource;
    schema.has_keyed_lists = matches!(schema.list, List::Set | List::Map);
    let below = schema.properties.0.iter().map(|(_, schema)| schema).chain(schema.items.as_ref());
    let additional = match &schema.additional {
        Additional::Schema(schema) => Some(schema),
        _ => None,
    };
    let below: Vec<&Arc<Schema>> = below.chain(additional).collect();
    let any = |has: fn(&Schema) -> bool| below.iter().any(|schema| has(schema));
    let has = [
        any(|schema| schema.has_defaults),
        any(|schema| schema.has_rules),
        any(|schema| schema.has_embedded),
        any(|schema| schema.has_keyed_lists),
    ];
    schema.has_defaults |= has[0];
    schema.has_rules |= has[1];
    schema.has_embedded |= has[2];
    schema.has_keyed_lists |= has[3];
    schema
}

fn refuse_unsupported(props: Props<'_>) -> Result<(), Error> {
    let set = |name: &&&str| props.value(name).is_some_and(|value| **name == "additionalItems" || !value.is_zero());
    match UNSUPPORTED.iter().find(set) {
        Some(name) => Err(Error(format!("OpenAPIV3Schema '{}' is not supported", name.replace("$schema", "schema")))),
        None => Ok(()),
    }
}

fn rule(json: &Map) -> Rule {
    let text = |name| Str::from(json.str(name));
    Rule {
        rule: text("rule"),
        message: text("message"),
        message_expression: text("messageExpression"),
        reason: json.get("reason").and_then(Value::as_str).map(Str::from),
        field_path: text("fieldPath"),
        optional_old_self: json.bool("optionalOldSelf"),
    }
}
