//! Valid objects of every kind, written by hand in conformance/diff/*.yaml because a generator cannot know them.
//!
//! In them, `$ID` is replaced by a name of the object's own, `$NS` by its namespace and `$IP` by an address of its own.
//! Non-goal: checking them; upstream's server does, and a refused one is reported.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::catalog::Kind;
use super::choice;

/// One kind of a group in all its versions that look alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Template {
    /// Empty for core.
    #[serde(default)]
    pub(super) group: String,
    pub(super) versions: Vec<String>,
    pub(super) kind: String,
    /// `$ID` unless the kind wants more of a name.
    #[serde(default = "own_name")]
    pub(super) name: String,
    /// The fewest fields that upstream takes.
    pub(super) minimal: Value,
    /// As many fields as go together.
    pub(super) rich: Value,
    /// What /status is set to.
    #[serde(default)]
    pub(super) status: Option<Value>,
    /// What is sent to other subresources, by their names.
    #[serde(default)]
    pub(super) subresources: BTreeMap<String, Value>,
    /// What must be there before.
    #[serde(default)]
    pub(super) needs: Vec<Value>,
    /// The object reaches others, so that nothing else may run.
    #[serde(default)]
    pub(super) alone: bool,
    /// The condition that a controller inside the API server sets on each new object: `Established`.
    #[serde(default)]
    pub(super) awaits: Option<String>,
}

fn own_name() -> String {
    "$ID".into()
}

impl Template {
    /// Upstream's own testdata as the rich object of a kind that has no template.
    pub(super) fn of_testdata(kind: &Kind, mut object: Value) -> Self {
        for field in ["apiVersion", "kind", "status"] {
            object.as_object_mut().and_then(|object| object.remove(field));
        }
        object["metadata"] = json!({});
        Template {
            group: kind.group.clone(),
            versions: vec![kind.version.clone()],
            kind: kind.kind.clone(),
            name: own_name(),
            minimal: json!({}),
            rich: object,
            status: None,
            subresources: BTreeMap::new(),
            needs: Vec::new(),
            alone: false,
            awaits: None,
        }
    }

    pub(super) fn is_of(&self, kind: &Kind) -> bool {
        self.group == kind.group && self.kind == kind.kind && self.versions.contains(&kind.version)
    }

    /// The rich object with its placeholders.
    pub(super) fn unfilled(&self, kind: &Kind) -> Value {
        self.complete(kind, &self.rich)
    }

    pub(super) fn minimal(&self, kind: &Kind, names: &Names) -> Value {
        names.fill(&self.complete(kind, &self.minimal))
    }

    pub(super) fn rich(&self, kind: &Kind, names: &Names) -> Value {
        names.fill(&self.unfilled(kind))
    }

    /// With the type, and the name if it may have one.
    fn complete(&self, kind: &Kind, object: &Value) -> Value {
        let mut object = object.clone();
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.clone().into();
        if kind.can("get") && object["metadata"]["name"].is_null() {
            object["metadata"]["name"] = self.name.clone().into();
        }
        object
    }
}

/// What an object's placeholders stand for.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) id: String,
    pub(super) namespace: String,
    address: String,
}

impl Names {
    /// The names of the object `what` of a sequence.
    pub(super) fn new(sequence: &str, what: &str) -> Self {
        let number = choice::number(0, (sequence, what));
        let [a, b, c, ..] = number.to_be_bytes();
        Names {
            id: format!("d{:08x}", number >> 32),
            namespace: format!("n{:08x}", choice::number(0, sequence) >> 32),
            address: format!("172.{}.{b}.{c}", 16 + a % 16),
        }
    }

    pub(super) fn text(&self, text: &str) -> String {
        text.replace("$ID", &self.id).replace("$NS", &self.namespace).replace("$IP", &self.address)
    }

    pub(super) fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect(),
            Value::Object(fields) => {
                Value::Object(fields.iter().map(|(key, value)| (self.text(key), self.fill(value))).collect())
            }
            other => other.clone(),
        }
    }
}

/// Reads every template of a directory.
pub(super) fn read(dir: &Path) -> Result<Vec<Template>> {
    let mut files: Vec<_> = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mut templates = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let more: Vec<Template> = serde_saphyr::from_str(&text).with_context(|| file.display().to_string())?;
        templates.extend(more);
    }
    Ok(templates)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn placeholders_are_filled_in_keys_and_values() {
        let names = Names::new("a", "b");
        let filled = names.fill(&json!({"$ID": ["x.$NS", 1]}));
        assert_eq!(filled, json!({names.id.clone(): [format!("x.{}", names.namespace), 1]}));
        assert_ne!(Names::new("a", "c").id, names.id);
        assert_eq!(Names::new("a", "c").namespace, names.namespace);
    }

    #[test]
    fn the_templates_can_be_read_and_each_kind_has_one() {
        let templates = read(&crate::paths::conformance().join("diff")).unwrap();
        let mut seen = BTreeSet::new();
        for template in &templates {
            for version in &template.versions {
                assert!(seen.insert((&template.group, version, &template.kind)), "twice: {}", template.kind);
            }
        }
        assert!(templates.len() > 60);
    }
}
