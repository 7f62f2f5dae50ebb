//! YAML in and out, by way of JSON, as upstream's serializer does it (sigs.k8s.io/yaml).

use serde_saphyr::DuplicateKeyPolicy;

/// Nodes in one document; large lists need many.
const NODES_MAX: usize = 5_000_000;

#[derive(Debug, thiserror::Error)]
#[error("error converting YAML to JSON: yaml: {0}")]
pub struct Error(String);

/// The first document as JSON text; of keys that are there twice the last counts.
pub fn to_json(text: &[u8]) -> Result<Vec<u8>, Error> {
    let value = read(text, DuplicateKeyPolicy::LastWins)?;
    serde_json::to_vec(&value).map_err(|error| Error(error.to_string()))
}

/// What is wrong with a document that reads well otherwise: the first key that is there twice.
pub fn duplicate_key(text: &[u8]) -> Option<Error> {
    let error = read_as(text, DuplicateKeyPolicy::Error).err()?;
    // `error: line 9 column 3: duplicate mapping key: foo, set DuplicateKeyPolicy ...`
    let (place, rest) = error.split_once(": duplicate mapping key: ")?;
    let line = place.rsplit_once("line ")?.1.split(' ').next()?;
    let key = rest.split(", set DuplicateKeyPolicy").next()?;
    Some(Error(format!("unmarshal errors:\n  line {line}: key {} already set in map", crate::field::go_quote(key))))
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
    if line == "1" { what.to_owned() } else { format!("line {line}: {what}") }
}

fn read_as(text: &[u8], duplicates: DuplicateKeyPolicy) -> Result<serde_json::Value, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let mut options = serde_saphyr::Options::default();
    options.legacy_octal_numbers = true;
    options.duplicate_keys = duplicates;
    let mut budget = serde_saphyr::Budget::default();
    budget.max_nodes = NODES_MAX;
    budget.max_events = NODES_MAX * 2;
    options.budget = Some(budget);
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

/// JSON text as YAML.
pub fn from_json(text: &[u8]) -> Result<String, Error> {
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|error| Error(error.to_string()))?;
    serde_saphyr::to_string(&value).map_err(|error| Error(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_there_twice() {
        let text = b"\na: 1\nspec:\n  foo: one\n  foo: two\n";
        assert_eq!(String::from_utf8(to_json(text).expect("read")).expect("text"), r#"{"a":1,"spec":{"foo":"two"}}"#);
        let why = duplicate_key(text).expect("told").to_string();
        let expect = "error converting YAML to JSON: yaml: unmarshal errors:\n  line 5: key \"foo\" already set in map";
        assert_eq!(why, expect);
        assert!(duplicate_key(b"a: 1\nb: 2\n").is_none());
    }
}
