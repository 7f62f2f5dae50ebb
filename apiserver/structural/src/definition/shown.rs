//! Parts of a definition as upstream's error messages show them: its internal Go structs as JSON, all fields with their
//! Go names (k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/{types,types_jsonschema}.go@v0.37.2).

use api::value::{Map, Str, Value};

use super::internal::Version;
use crate::props::{Additional, Items, Props};

/// How a field is held in Go, and so what it shows when it is absent.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Flag,
    /// A pointer, a list or a map: null when absent.
    Nil,
    Schema,
    Schemas,
    Named,
    OrArray,
    OrBool,
    Dependencies,
    Docs,
    Rules,
}

/// The fields of a JSONSchemaProps in Go's order: Go name, JSON name, kind.
const FIELDS: [(&str, &str, Kind); 44] = [
    ("ID", "id", Kind::Text),
    ("Schema", "$schema", Kind::Text),
    ("Ref", "$ref", Kind::Nil),
    ("Description", "description", Kind::Text),
    ("Type", "type", Kind::Text),
    ("Nullable", "nullable", Kind::Flag),
    ("Format", "format", Kind::Text),
    ("Title", "title", Kind::Text),
    ("Default", "default", Kind::Nil),
    ("Maximum", "maximum", Kind::Nil),
    ("ExclusiveMaximum", "exclusiveMaximum", Kind::Flag),
    ("Minimum", "minimum", Kind::Nil),
    ("ExclusiveMinimum", "exclusiveMinimum", Kind::Flag),
    ("MaxLength", "maxLength", Kind::Nil),
    ("MinLength", "minLength", Kind::Nil),
    ("Pattern", "pattern", Kind::Text),
    ("MaxItems", "maxItems", Kind::Nil),
    ("MinItems", "minItems", Kind::Nil),
    ("UniqueItems", "uniqueItems", Kind::Flag),
    ("MultipleOf", "multipleOf", Kind::Nil),
    ("Enum", "enum", Kind::Nil),
    ("MaxProperties", "maxProperties", Kind::Nil),
    ("MinProperties", "minProperties", Kind::Nil),
    ("Required", "required", Kind::Nil),
    ("Items", "items", Kind::OrArray),
    ("AllOf", "allOf", Kind::Schemas),
    ("OneOf", "oneOf", Kind::Schemas),
    ("AnyOf", "anyOf", Kind::Schemas),
    ("Not", "not", Kind::Schema),
    ("Properties", "properties", Kind::Named),
    ("AdditionalProperties", "additionalProperties", Kind::OrBool),
    ("PatternProperties", "patternProperties", Kind::Named),
    ("Dependencies", "dependencies", Kind::Dependencies),
    ("AdditionalItems", "additionalItems", Kind::OrBool),
    ("Definitions", "definitions", Kind::Named),
    ("ExternalDocs", "externalDocs", Kind::Docs),
    ("Example", "example", Kind::Nil),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", Kind::Nil),
    ("XEmbeddedResource", "x-kubernetes-embedded-resource", Kind::Flag),
    ("XIntOrString", "x-kubernetes-int-or-string", Kind::Flag),
    ("XListMapKeys", "x-kubernetes-list-map-keys", Kind::Nil),
    ("XListType", "x-kubernetes-list-type", Kind::Nil),
    ("XMapType", "x-kubernetes-map-type", Kind::Nil),
    ("XValidations", "x-kubernetes-validations", Kind::Rules),
];

/// The Go names of the fields that are set, in Go's order.
pub(super) fn set_fields(props: Props<'_>) -> impl Iterator<Item = &'static str> {
    FIELDS.iter().filter(move |(_, name, kind)| is_set(props, name, *kind)).map(|(go, _, _)| *go)
}

fn is_set(props: Props<'_>, name: &str, kind: Kind) -> bool {
    let zero = matches!(kind, Kind::Text | Kind::Flag);
    props.value(name).is_some_and(|value| !zero || !value.is_zero())
}

pub(super) fn schema(props: Props<'_>) -> Value {
    Value::Map(FIELDS.iter().map(|(go, name, kind)| (Str::const_new(go), field(props, name, *kind))).collect())
}

fn field(props: Props<'_>, name: &str, kind: Kind) -> Value {
    let value = props.value(name);
    match kind {
        Kind::Text => Value::from(props.text(name)),
        Kind::Flag => Value::Bool(props.flag(name)),
        Kind::Nil => value.map(crate::go::sorted).unwrap_or_default(),
        Kind::Schema => props.one(name).map(schema).unwrap_or_default(),
        Kind::Schemas => value.map(|_| Value::List(props.many(name).map(schema).collect())).unwrap_or_default(),
        Kind::Named => value.map(|_| named(props, name)).unwrap_or_default(),
        Kind::OrArray => props.items().map(|items| self::items(&items)).unwrap_or_default(),
        Kind::OrBool => match props.additional(name) {
            Additional::Absent => Value::Null,
            Additional::Allowed(allowed) => or_bool(allowed, Value::Null),
            Additional::Schema(props) => or_bool(true, schema(props)),
        },
        Kind::Dependencies => value.and_then(Value::as_map).map(dependencies).unwrap_or_default(),
        Kind::Docs => value.and_then(Value::as_map).map(docs).unwrap_or_default(),
        Kind::Rules => value.map(|_| Value::List(props.rules().map(rule).collect())).unwrap_or_default(),
    }
}

fn or_bool(allows: bool, schema: Value) -> Value {
    Value::Map(api::map! { "Allows" => allows, "Schema" => schema })
}

fn named(props: Props<'_>, name: &str) -> Value {
    let mut map: Map = props.named(name).map(|(name, props)| (name.clone(), schema(props))).collect();
    map.sort();
    Value::Map(map)
}

pub(super) fn items(items: &Items<'_>) -> Value {
    let (one, each) = match items {
        Items::One(props) => (schema(*props), Value::Null),
        Items::Each(list) => {
            let schemas = list.iter().filter_map(Value::as_map).map(|map| schema(Props(map)));
            (Value::Null, Value::List(schemas.collect()))
        }
    };
    Value::Map(api::map! { "Schema" => one, "JSONSchemas" => each })
}

fn dependencies(map: &Map) -> Value {
    let entry = |value: &Value| match value {
        Value::Map(props) => Value::Map(api::map! { "Schema" => schema(Props(props)), "Property" => Value::Null }),
        other => Value::Map(api::map! { "Schema" => Value::Null, "Property" => other.clone() }),
    };
    let mut map: Map = map.iter().map(|(name, value)| (name.clone(), entry(value))).collect();
    map.sort();
    Value::Map(map)
}

fn docs(map: &Map) -> Value {
    Value::Map(api::map! { "Description" => map.str("description"), "URL" => map.str("url") })
}

pub(super) fn rule(map: &Map) -> Value {
    let nil = |name| map.get(name).cloned().unwrap_or_default();
    Value::Map(api::map! {
        "Rule" => map.str("rule"),
        "Message" => map.str("message"),
        "MessageExpression" => map.str("messageExpression"),
        "Reason" => nil("reason"),
        "FieldPath" => map.str("fieldPath"),
        "OptionalOldSelf" => nil("optionalOldSelf"),
    })
}

pub(super) fn versions(versions: &[Version<'_>]) -> Value {
    Value::List(versions.iter().map(version).collect())
}

fn version(version: &Version<'_>) -> Value {
    let columns = version.columns.iter().filter_map(Value::as_map).map(column).collect::<Vec<_>>();
    let selectable = version.selectable.iter().filter_map(Value::as_map);
    let selectable: Vec<Value> =
        selectable.map(|field| Value::Map(api::map! { "JSONPath" => field.str("jsonPath") })).collect();
    let or_nil = |list: Vec<Value>| if list.is_empty() { Value::Null } else { Value::List(list) };
    let validation = |map: &Map| {
        let schema = map.map("openAPIV3Schema").map(|map| schema(Props(map))).unwrap_or_default();
        Value::Map(api::map! { "OpenAPIV3Schema" => schema })
    };
    Value::Map(api::map! {
        "Name" => version.map.str("name"),
        "Served" => version.flag("served"),
        "Storage" => version.flag("storage"),
        "Deprecated" => version.flag("deprecated"),
        "DeprecationWarning" => version.map.get("deprecationWarning").cloned().unwrap_or_default(),
        "Schema" => version.validation.map(validation).unwrap_or_default(),
        "Subresources" => version.subresources.map(subresources).unwrap_or_default(),
        "AdditionalPrinterColumns" => or_nil(columns),
        "SelectableFields" => or_nil(selectable),
    })
}

fn subresources(map: &Map) -> Value {
    let scale = map.map("scale").map(|scale| {
        Value::Map(api::map! {
            "SpecReplicasPath" => scale.str("specReplicasPath"),
            "StatusReplicasPath" => scale.str("statusReplicasPath"),
            "LabelSelectorPath" => scale.get("labelSelectorPath").cloned().unwrap_or_default(),
        })
    });
    let status = map.map("status").map(|_| Value::Map(Map::new()));
    Value::Map(api::map! { "Status" => status.unwrap_or_default(), "Scale" => scale.unwrap_or_default() })
}

fn column(map: &Map) -> Value {
    Value::Map(api::map! {
        "Name" => map.str("name"),
        "Type" => map.str("type"),
        "Format" => map.str("format"),
        "Description" => map.str("description"),
        "Priority" => map.i64("priority").unwrap_or(0),
        "JSONPath" => map.str("jsonPath"),
    })
}
