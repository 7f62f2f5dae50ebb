//! YAML in and out, by way of JSON, as upstream's serializer does it (sigs.k8s.io/yaml).

mod emit;
mod plain;

use std::collections::HashSet;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

/// Nodes in one document; large lists need many.
const NODES_MAX: usize = 5_000_000;
/// Nodes that stand there by an alias (go.yaml.in/yaml/v2@v2.4.4/decode.go: alias_ratio_range_low).
const ALIASED_NODES_MAX: usize = 400_000;

#[derive(Debug, thiserror::Error)]
#[error("yaml: {0}")]
pub struct Error(String);

/// The first document as JSON text; of keys that are there twice the last counts.
pub fn to_json(text: &[u8]) -> Result<Vec<u8>, Error> {
    let mut value = read(text, DuplicateKeyPolicy::LastWins)?;
    whole_numbers(&mut value);
    serde_json::to_vec(&value).map_err(|error| Error(error.to_string()))
}

/// What is wrong with a document that reads well otherwise: every key that is there again, in one error.
pub fn duplicate_keys(text: &[u8]) -> Option<Error> {
    let found: Repeated = read_as(text, DuplicateKeyPolicy::LastWins).ok()?;
    let told: Vec<String> =
        found.0.iter().map(|(line, key)| format!("\n  line {line}: key {key} already set in map")).collect();
    (!told.is_empty()).then(|| Error(format!("unmarshal errors:{}", told.concat())))
}

/// The keys below a node that are there again, quoted as Go does, with the line of their value; innermost first
/// (go.yaml.in/yaml/v2@v2.4.4/decode.go: mapping, setMap).
#[derive(Default)]
struct Repeated(Vec<(u64, String)>);

impl<'de> Deserialize<'de> for Repeated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RepeatedVisitor)
    }
}

struct RepeatedVisitor;

impl<'de> Visitor<'de> for RepeatedVisitor {
    type Value = Repeated;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a node")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Repeated, A::Error> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        while let Some(key) = map.next_key::<serde_json::Value>()? {
            let member: Spanned<Repeated> = map.next_value()?;
            let line = member.referenced.line();
            found.extend(member.value.0);
            let key = key.as_str().map_or_else(|| key.to_string(), crate::field::go_quote);
            if let Some(key) = seen.replace(key.clone()) {
                found.push((line, key));
            }
        }
        Ok(Repeated(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Repeated, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = list.next_element::<Repeated>()? {
            found.extend(item.0);
        }
        Ok(Repeated(found))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Repeated, E> {
        Ok(Repeated::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Repeated, E> {
        Ok(Repeated::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Repeated, E> {
        Ok(Repeated::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Repeated, E> {
        Ok(Repeated::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Repeated, E> {
        Ok(Repeated::default())
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Repeated, E> {
        Ok(Repeated::default())
    }

    fn visit_none<E>(self) -> Result<Repeated, E> {
        Ok(Repeated::default())
    }

    fn visit_unit<E>(self) -> Result<Repeated, E> {
        Ok(Repeated::default())
    }
}

/// The lines of such an error, or an error of another kind, as warnings
/// (k8s.io/apiserver/pkg/endpoints/handlers/rest.go@v0.37.2: parseYAMLWarnings).
pub fn as_warnings(why: &str) -> Vec<String> {
    let of_yaml = why.strip_prefix("yaml: unmarshal errors:\n");
    let Some(lines) = of_yaml else { return vec![why.to_owned()] };
    lines.lines().map(|line| line.trim().to_owned()).collect()
}

/// Go writes a float64 that is whole without a point (encoding/json/encode.go: floatEncoder).
fn whole_numbers(value: &mut serde_json::Value) {
    /// Up to which every whole float64 is an i64.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    match value {
        serde_json::Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|float| float.fract() == 0.0 && (-LIMIT..LIMIT).contains(float));
            // A negative zero keeps its sign.
            if let Some(float) = whole.filter(|float| *float != 0.0 || float.is_sign_positive()) {
                *number = (float as i64).into();
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        serde_json::Value::Object(members) => members.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

fn read(text: &[u8], duplicates: DuplicateKeyPolicy) -> Result<serde_json::Value, Error> {
    read_as(text, duplicates).map_err(|why| Error(as_go_tells(&why)))
}

/// The reader's `error: line 3 column 5: what` in the words of go-yaml, which leaves the first line out
/// (go.yaml.in/yaml/v2@v2.4.4/decode.go: parser.fail).
fn as_go_tells(why: &str) -> String {
    let why = why.lines().next().unwrap_or_default();
    let told = why.strip_prefix("error: ").unwrap_or(why);
    let Some((line, what)) = told.strip_prefix("line ").and_then(|rest| rest.split_once(" column ")) else {
        return why.to_owned();
    };
    let what = what.split_once(": ").map_or(what, |(_, what)| what);
    let breach = what.strip_prefix("budget breached: ").unwrap_or_default();
    if what == "recursion limit exceeded" || breach.starts_with("Depth") {
        // Of go-yaml's limit: what is less deep than that, and too deep here, is far from any object.
        return "exceeded max depth of 10000".into();
    }
    if breach.contains("Anchor") || breach.contains("Alias") {
        return "document contains excessive aliasing".into();
    }
    if line == "1" { what.to_owned() } else { format!("line {line}: {what}") }
}

fn read_as<T: DeserializeOwned>(text: &[u8], duplicates: DuplicateKeyPolicy) -> Result<T, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let mut options = serde_saphyr::Options::default();
    options.legacy_octal_numbers = true;
    options.duplicate_keys = duplicates;
    let mut budget = serde_saphyr::Budget::default();
    budget.max_nodes = NODES_MAX;
    budget.max_events = NODES_MAX * 2;
    budget.max_recorded_anchor_events = ALIASED_NODES_MAX;
    options.budget = Some(budget);
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

/// JSON text as YAML.
pub fn from_json(text: &[u8]) -> Result<String, Error> {
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|error| Error(error.to_string()))?;
    Ok(emit::document(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_floats_are_whole_in_json() {
        for (yaml, json) in
            [("3.0", "3"), ("09", "9"), ("1e3", "1000"), ("1.5", "1.5"), ("-2.0", "-2"), ("1e300", "1e+300")]
        {
            let text = to_json(yaml.as_bytes()).expect("read");
            assert_eq!(String::from_utf8(text).expect("text"), json, "{yaml}");
        }
    }

    #[test]
    fn a_key_that_is_there_twice() {
        let text = b"\na: 1\nspec:\n  foo: one\n  foo: two\n";
        assert_eq!(String::from_utf8(to_json(text).expect("read")).expect("text"), r#"{"a":1,"spec":{"foo":"two"}}"#);
        let why = duplicate_keys(text).expect("told").to_string();
        let expect = "yaml: unmarshal errors:\n  line 5: key \"foo\" already set in map";
        assert_eq!(why, expect);
        assert!(duplicate_keys(b"a: 1\nb: [2, {c: null}]\n").is_none());
        let json = br#"{"labels":{"a":1},"labels":{"b":1,"b":2},"labels":3}"#;
        let lines = as_warnings(&duplicate_keys(json).expect("told").to_string());
        let line = |key: &str| format!("line 1: key \"{key}\" already set in map");
        assert_eq!(lines, [line("b"), line("labels"), line("labels")]);
        assert_eq!(as_warnings("unknown field \"x\""), ["unknown field \"x\""]);
    }

    #[test]
    fn what_grows_without_end_is_refused() {
        let told = |text: &str| to_json(text.as_bytes()).err().map(|error| error.to_string()).unwrap_or_default();
        let deep = "yaml: exceeded max depth of 10000";
        assert_eq!(told(&("[".repeat(10_001) + &"]".repeat(10_001))), deep);
        assert_eq!(told(&(0..2_000).map(|depth| " ".repeat(depth) + "a:\n").collect::<String>()), deep);
        let nine = |number: usize| vec![format!("*a{number}"); 9].join(", ");
        let laughs = |count: usize| {
            let lines = (1..count).map(|number| format!("a{number}: &a{number} [{}]\n", nine(number - 1)));
            "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned() + &lines.collect::<String>()
        };
        assert_eq!(told(&laughs(3)), "");
        for (open, close) in [("[", "]"), ("{a: ", "}")] {
            assert_eq!(told(&(open.repeat(60) + &close.repeat(60))), "");
        }
        assert_eq!(told(&laughs(12)), "yaml: document contains excessive aliasing");
    }
}
