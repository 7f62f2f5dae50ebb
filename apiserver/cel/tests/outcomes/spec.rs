//! The conformance suite of CEL's specification (`testdata/spec.jsonl`, from module cel.dev/expr v0.25.1, Apache License 2.0):
//! where Kubernetes' environment has what a test needs, the outcome is the specification's; everywhere it is cel-go's.

use std::collections::BTreeMap;

use crate::common::Row;
use cel::Env;
use cel::types::Type;
use cel::value::{Key, Map, Timestamp, Value};
use serde_json::Value as Json;

/// Parts of expressions that Kubernetes' environment does not know, and why.
const NOT_HERE: [(&str, &str); 3] = [
    ("google.protobuf", "messages of protobuf"),
    ("TestAllTypes", "messages of protobuf"),
    ("NestedTestAllTypes", "messages of protobuf"),
];

/// A type as the rows write it.
fn parse_type(text: &str) -> Option<Type> {
    if let Some(inner) = text.strip_prefix("list(") {
        return parse_type(inner.strip_suffix(')')?).map(Type::list);
    }
    if let Some(inner) = text.strip_prefix("map(") {
        let (key, value) = inner.strip_suffix(')')?.split_once(", ")?;
        return Some(Type::map(parse_type(key)?, parse_type(value)?));
    }
    Some(match text {
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "null" => Type::Null,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        _ => return None,
    })
}

/// A value as protobuf writes it in JSON.
fn parse_value(json: &Json) -> Option<Value> {
    let (kind, value) = json.as_object()?.iter().next()?;
    let number = || value.as_str()?.parse::<i128>().ok();
    Some(match kind.as_str() {
        "nullValue" => Value::Null,
        "boolValue" => Value::Bool(value.as_bool()?),
        "int64Value" => Value::Int(number()? as i64),
        "uint64Value" => Value::Uint(number()? as u64),
        "doubleValue" => Value::Double(match value.as_str() {
            Some(word) => word.parse().ok()?,
            None => value.as_f64()?,
        }),
        "stringValue" => Value::from(value.as_str()?),
        "bytesValue" => Value::Bytes(base64(value.as_str()?).into()),
        "listValue" => {
            let elements = value["values"].as_array().cloned().unwrap_or_default();
            Value::list(elements.iter().map(parse_value).collect::<Option<_>>()?)
        }
        "mapValue" => {
            let mut entries = BTreeMap::new();
            for entry in value["entries"].as_array().into_iter().flatten() {
                let key = match parse_value(&entry["key"])? {
                    Value::Bool(key) => Key::Bool(key),
                    Value::Int(key) => Key::Int(key),
                    Value::Uint(key) => Key::Uint(key),
                    Value::String(key) => Key::String(key),
                    _ => return None,
                };
                entries.insert(key, parse_value(&entry["value"])?);
            }
            Value::Map(Map::new(entries))
        }
        "typeValue" => return None,
        "objectValue" => match value["@type"].as_str()? {
            "type.googleapis.com/google.protobuf.Duration" => {
                Value::Duration(api::duration::parse(value["value"].as_str()?).ok()?)
            }
            "type.googleapis.com/google.protobuf.Timestamp" => {
                let (seconds, nanos) = api::time::to_unix(value["value"].as_str()?)?;
                Value::Timestamp(Timestamp::new(seconds, nanos as u32)?)
            }
            _ => return None,
        },
        _ => return None,
    })
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// The environment and values of a test; None where they are not Kubernetes'.
fn environment(row: &Json) -> Option<(Env, BTreeMap<String, Value>)> {
    let mut env = Env::kubernetes(37);
    for (name, of) in row["vars"].as_object().into_iter().flatten() {
        env = env.variable(name, parse_type(of.as_str()?)?);
    }
    let mut values = BTreeMap::new();
    for (name, value) in row["bindings"].as_object().into_iter().flatten() {
        values.insert(name.clone(), parse_value(value)?);
    }
    Some((env, values))
}

#[test]
fn everything_comes_out_as_in_kubernetes() {
    let (mut wrong, mut same) = (Vec::new(), 0);
    for row in crate::common::rows(include_str!("../../testdata/spec.jsonl")) {
        let expr = row["expr"].as_str().unwrap();
        if row["kubernetes"].is_null() || NOT_HERE.iter().any(|(part, _)| expr.contains(part)) {
            continue;
        }
        let Some((env, values)) = environment(&row) else { continue };
        let want = Row { expr: expr.to_owned(), ..Row::read(&row["kubernetes"]) };
        let mut found =
            Row { estimate: None, varies: want.varies, ..crate::common::run(&env, &values, &cel::NoSizes, expr) };
        if want.varies {
            (found.value, found.error, found.cost) = (want.value.clone(), want.error.clone(), want.cost);
        }
        match found == want {
            true => same += 1,
            false => wrong.push(format!("want {want:?}\n got {found:?}\n")),
        }
    }
    assert!(wrong.is_empty(), "{} rows differ, {same} do not:\n{}", wrong.len(), wrong.join("\n"));
    assert!(same > 1000, "only {same} rows were tried");
}

/// Tests whose outcome in Kubernetes' environment is not the specification's, and why.
const DIFFERENT: [(&str, &[&str]); 6] = [
    (
        "literals of mixed types are refused",
        &[
            "comparisons/eq_literal/not_eq_list_null",
            "comparisons/eq_literal/eq_list_mixed_type_numbers",
            "comparisons/eq_literal/not_eq_list_mixed_type_numbers",
            "comparisons/eq_literal/not_eq_list_false_vs_types",
            "comparisons/eq_literal/not_eq_map_null",
            "comparisons/eq_literal/eq_map_mixed_type_numbers",
            "comparisons/eq_literal/not_eq_map_false_vs_types",
            "comparisons/eq_literal/eq_map_value_mixed_types",
            "comparisons/eq_literal/not_eq_list_elem_null",
            "comparisons/eq_literal/not_eq_map_value_null",
            "comparisons/in_list_literal/elem_in_mixed_type_list",
            "comparisons/in_list_literal/elem_in_mixed_type_list_cross_type",
            "comparisons/in_map_literal/key_in_mixed_key_type_map",
            "comparisons/in_map_literal/key_in_mixed_key_type_map_cross_type",
            "conversions/dyn/dyn_heterogeneous_list",
            "fields/map_fields/map_key_int64",
            "fields/map_fields/map_key_uint64",
            "fields/map_fields/map_key_mixed_type",
            "fields/map_fields/map_key_mixed_numbers_double_key",
            "fields/map_fields/map_key_mixed_numbers_uint_key",
            "fields/map_fields/map_key_mixed_numbers_int_key",
            "fields/map_fields/map_value_mix_type",
            "fields/quoted_map_fields/field_access_dash",
            "fields/quoted_map_fields/has_field_dash",
            "fields/in/mixed_numbers_and_keys_present",
            "fields/in/mixed_numbers_and_keys_absent",
            "macros/exists/list_elem_type_shortcircuit",
            "macros/exists/list_elem_type_exhaustive",
            "macros/exists/map_key_type_shortcircuit",
            "macros/exists/map_key_type_exhaustive",
            "macros/all/list_elem_type_shortcircuit",
            "macros2/exists/list_elem_type_shortcircuit",
            "macros2/exists/list_elem_type_exhaustive",
            "macros2/exists/map_key_type_shortcircuit",
            "macros2/exists/map_key_type_exhaustive",
            "macros2/all/list_elem_type_shortcircuit",
            "macros2/all/list_elem_type_exhaustive",
            "optionals/optionals/optional_chaining_13",
            "optionals/optionals/map_key_mixed_type_optindex_value",
            "optionals/optionals/map_key_mixed_numbers_double_key_optindex_value",
            "optionals/optionals/map_key_mixed_numbers_uint_key_optindex_value",
            "optionals/optionals/map_key_mixed_numbers_int_key_optindex_value",
        ],
    ),
    (
        "a constant that cannot be a key is refused before running",
        &["fields/map_fields/map_bad_key_type_or_true", "fields/map_fields/map_bad_key_type_and_false"],
    ),
    ("the last of equal keys counts", &["fields/qualified_identifier_resolution/map_value_repeat_key"]),
    (
        "nothing selected from what has no fields is no error",
        &["optionals/optionals/map_null_entry_no_such_key", "optionals/optionals/map_present_key_invalid_field"],
    ),
    (
        "the formats of cel-go's strings library before its fourth version",
        &[
            "string_ext/format/scientific notation formatting clause",
            "string_ext/format/default precision for scientific notation",
            "string_ext/format/NaN support for scientific notation",
            "string_ext/format/positive infinity support for scientific notation",
            "string_ext/format/negative infinity support for scientific notation",
            "string_ext/format/NaN support for decimal",
            "string_ext/format/positive infinity support for decimal",
            "string_ext/format/negative infinity support for decimal",
            "string_ext/format/positive infinity support for fixed-point",
            "string_ext/format/negative infinity support for fixed-point",
            "string_ext/format/list support for string",
            "string_ext/format/map support for string",
            "string_ext/format/map support (all key types)",
            "string_ext/format/dyntype support for scientific notation",
            "string_ext/format/dyntype NaN/infinity support",
            "string_ext/format/dyntype support for lists",
            "string_ext/format/dyntype support for maps",
            "string_ext/format/scientific notation formatting clause in a string variable",
        ],
    ),
    (
        "an offset past the end finds nothing",
        &["string_ext/value_errors/indexof_out_of_range", "string_ext/value_errors/lastindexof_out_of_range"],
    ),
];

#[test]
fn what_kubernetes_has_is_as_specified() {
    let mut wrong = Vec::new();
    let mut right = 0;
    for row in crate::common::rows(include_str!("../../testdata/spec.jsonl")) {
        let expr = row["expr"].as_str().unwrap();
        let [file, section, name] = ["file", "section", "name"].map(|part| row[part].as_str().unwrap());
        if !row["container"].is_null()
            || row["unchecked"] == true
            || NOT_HERE.iter().any(|(part, _)| expr.contains(part))
        {
            continue;
        }
        let Some((env, values)) = environment(&row) else { continue };
        let env = if file == "bindings_ext" { env.bind() } else { env };
        let found = crate::common::run(&env, &values, &cel::NoSizes, expr);
        let ok = if row["error"].is_null() {
            match parse_value(&row["value"]) {
                Some(value) => found.value == crate::common::format(&value),
                None => row["value"]["typeValue"].as_str().is_none_or(|of| found.value == of),
            }
        } else {
            found.value.is_empty()
        };
        let name = format!("{file}/{section}/{name}");
        match ok != DIFFERENT.iter().any(|(_, names)| names.contains(&name.as_str())) {
            true => right += 1,
            false => wrong.push(format!("{name}: {expr}\n  want {} {}\n  got {found:?}", row["value"], row["error"])),
        }
    }
    assert!(wrong.is_empty(), "{} differ, {right} do not:\n{}", wrong.len(), wrong.join("\n"));
    assert!(right > 1200, "only {right} rows were tried");
}
