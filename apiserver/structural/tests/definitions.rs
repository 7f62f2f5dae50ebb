//! Definitions: defaults, validation of creates and updates, warnings, conditions, names, published OpenAPI, against what
//! upstream's packages answered (testdata/definitions.json); and columns and selectable fields (testdata/columns.json).

mod rows;

use api::facts;
use api::json::{self, Strictness};
use api::value::{Map, Value};
use rows::{check, check_file, sorted, texts};
use structural::columns;
use structural::conditions::{self, Condition};
use structural::definition::{self, Compilation, Compiled, Compiler};
use structural::publish::{self, Flavor, Words};
use structural::rules::Rules;
use structural::schema::Schema;

/// No row has rules that would be compiled.
struct NoRules;

impl Compiler for NoRules {
    fn compile(&self, compilation: &Compilation<'_>) -> Result<Vec<Compiled>, String> {
        panic!("compiles {:?}", compilation.node.rules)
    }

    fn evaluator<'a>(&'a self, _: &'a Schema) -> Box<dyn Rules + 'a> {
        panic!("evaluates")
    }
}

/// Descriptions as Go's types have them.
const WORDS: Words<'_> = Words {
    api_version: "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    kind: "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
    metadata: "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
    list_metadata: "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
};

fn load(value: &Value) -> Map {
    let mut text = Vec::new();
    json::encode_value(&mut text, value);
    let ty = facts::kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition").expect("a kind");
    let mut definition = json::decode(&text, ty, Strictness::Lenient).expect("a definition").value;
    definition::apply_defaults(&mut definition);
    definition
}

/// In order of the texts: upstream's is that of Go's maps.
fn strings(mut list: Vec<String>) -> Value {
    list.sort();
    if list.is_empty() { Value::Null } else { Value::List(list.into_iter().map(Value::from).collect()) }
}

fn condition(condition: Option<Condition>) -> Value {
    let Some(condition) = condition else { return Value::Null };
    let texts = [condition.ty, condition.status, condition.reason, condition.message];
    Value::List(texts.into_iter().map(Value::from).collect())
}

fn naming(definition: &Map, others: &[Map]) -> Value {
    let all = std::iter::once(definition).chain(others);
    let Some(naming) = conditions::naming(definition, all) else { return Value::Null };
    let conditions = [naming.names_accepted, naming.established].map(|found| condition(Some(found)));
    Value::List(std::iter::once(Value::Map(naming.accepted)).chain(conditions).collect())
}

fn published(definition: &Map, want: Option<&Value>, flavor: Flavor) -> Value {
    let version = definition.map("spec").and_then(|spec| spec.maps("versions").next());
    let version = version.map_or("", |version| version.str("name"));
    let mut all = publish::definitions(definition, version, flavor, WORDS).unwrap_or_default();
    let wanted = want.and_then(Value::as_map).expect("definitions");
    all.retain(|name, _| wanted.contains(name));
    Value::Map(all)
}

fn answer(row: &Map, name: &str) -> Value {
    let definition = load(row.get("crd").expect("a definition"));
    let old = row.get("old").map(load);
    let want = row.map("want").and_then(|want| want.get(name));
    match name {
        "defaulted" => Value::Map(definition),
        "create" => texts(&definition::validate_create(&definition, &NoRules)),
        "update" => texts(&definition::validate_update(&definition, &old.expect("an old one"), &NoRules)),
        "warnings" => strings(definition::warnings(&definition, None)),
        "updateWarnings" => strings(definition::warnings(&definition, old.as_ref())),
        "nonStructural" => condition(conditions::non_structural(&definition)),
        "approval" => condition(conditions::approval_condition(&definition)),
        "names" => naming(&definition, &row.list("others").iter().map(load).collect::<Vec<_>>()),
        "v2" => published(&definition, want, Flavor::V2),
        "v3" => published(&definition, want, Flavor::V3),
        other => panic!("unknown answer {other}"),
    }
}

fn differences(row: &Map) -> Vec<String> {
    let want = row.map("want").expect("answers");
    want.keys().flat_map(|name| check(row, name, &sorted(&answer(row, name)))).collect()
}

#[test]
fn definitions_by_hand_and_with_a_seed() {
    check_file(include_str!("../testdata/definitions.json"), 280, differences);
}

fn column_answer(row: &Map, name: &str) -> Value {
    let object = row.get("object").expect("an object");
    let (columns, error) = columns::of(row, "");
    match name {
        "error" => error.map(Value::from).unwrap_or_default(),
        "heads" => {
            let head = |column: &columns::Column| {
                let texts = [&column.name, &column.ty, &column.format, &column.description];
                let texts = texts.into_iter().map(|text| Value::from(text.as_str()));
                Value::List(texts.chain([Value::Int(column.priority)]).collect())
            };
            Value::List(columns.iter().map(head).collect())
        }
        "cells" => Value::List(columns.iter().map(|column| column.cell(object, |_| "ago".into())).collect()),
        "fields" => {
            let fields = columns::selectable(row).and_then(|fields| {
                let pair = |(name, path): &(String, _)| Ok((name.clone(), columns::selected(path, object)?));
                fields.iter().map(pair).collect::<Result<Vec<_>, String>>()
            });
            match fields {
                Ok(fields) => Value::List(
                    fields.into_iter().map(|(name, text)| Value::List(vec![name.into(), text.into()])).collect(),
                ),
                Err(error) => Value::from(error),
            }
        }
        other => panic!("unknown answer {other}"),
    }
}

#[test]
fn columns_and_selectable_fields() {
    check_file(include_str!("../testdata/columns.json"), 80, |row| {
        let want = row.map("want").expect("answers");
        want.keys().flat_map(|name| check(row, name, &sorted(&column_answer(row, name)))).collect()
    });
}

/// Errors of a definition with such versions that was stored in `v1`.
fn definition_errors(versions: &str, named: &str) -> Vec<String> {
    let text = format!(
        r#"{{"metadata":{{"name":"things.a.io"}},"spec":{{"group":"a.io","scope":"Cluster","names":{{"plural":"things",
            "kind":"Thing","listKind":"ThingList","singular":"thing"}},"versions":[{versions}]}},
            "status":{{"storedVersions":["v1"]}}}}"#
    );
    let (object, _) = json::decode_any(text.as_bytes(), Strictness::Lenient).unwrap();
    let errors = definition::validate_create(object.as_map().unwrap(), &NoRules);
    errors.iter().map(ToString::to_string).filter(|error| error.contains(named)).collect()
}

fn version(schema: &str, path: &str) -> String {
    format!(
        r#"{{"name":"v1","served":true,"storage":true,"schema":{{"openAPIV3Schema":{schema}}},
            "selectableFields":[{{"jsonPath":"{path}"}}]}}"#
    )
}

#[test]
fn a_path_is_read_even_where_its_schema_is_not() {
    let check = |schema: &str, path: &str, want: &[&str]| {
        assert_eq!(definition_errors(&version(schema, path), "jsonPath"), want, "{schema} {path}");
    };
    let broken = r##"{"type":"object","$ref":"#/x"}"##;
    check(broken, ".spec", &[]);
    let why =
        "spec.selectableFields[0].jsonPath: Invalid value: \"spec\": is an invalid path: expected [ or . but got: spec";
    check(broken, "spec", &[why]);
    check(broken, "", &["spec.selectableFields[0].jsonPath: Required value"]);
}

#[test]
fn an_empty_reference_is_one() {
    let check = |reference: &str, want: &[&str]| {
        let schema = format!(r#"{{"type":"object","properties":{{"a":{{"type":"string"{reference}}}}}}}"#);
        assert_eq!(definition_errors(&version(&schema, ".a"), "$ref"), want, "{reference}");
    };
    check("", &[]);
    let why = "spec.validation.openAPIV3Schema.properties[a].$ref: Forbidden: $ref is not supported";
    check(r#","$ref":"""#, &[why]);
}

#[test]
fn a_stored_version_counts_once() {
    let one = version(r#"{"type":"object","properties":{"a":{"type":"string"}}}"#, ".a");
    let why = "status.storedVersions: Invalid value: [\"v1\"]: must have the storage version v1";
    assert_eq!(definition_errors(&one, "storedVersions"), Vec::<String>::new());
    assert_eq!(definition_errors(&format!("{one},{one}"), "storedVersions"), [why]);
    let none = "spec.versions: Invalid value: []: must have exactly one version marked as storage version";
    assert_eq!(definition_errors("", "exactly one version"), [none]);
}
