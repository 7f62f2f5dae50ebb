//! Where a field is in a JSON value: `spec.containers[0].name`.
//!
//! Invariant: a path is made by walking a value or its schema, never by parsing text.

use std::fmt;

use serde_json::{Map, Value, json};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Key(String),
    At(usize),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(Vec<Part>);

impl Path {
    pub(super) fn key(&self, key: &str) -> Self {
        self.with(Part::Key(key.to_owned()))
    }

    pub(super) fn at(&self, index: usize) -> Self {
        self.with(Part::At(index))
    }

    fn with(&self, part: Part) -> Self {
        let mut parts = self.0.clone();
        parts.push(part);
        Path(parts)
    }

    /// The name of the outermost field; empty for the object itself.
    pub(super) fn root(&self) -> &str {
        match self.0.first() {
            Some(Part::Key(key)) => key,
            _ => "",
        }
    }

    /// True when the other path is this one or below it.
    pub(super) fn covers(&self, other: &Path) -> bool {
        other.0.starts_with(&self.0)
    }

    pub(super) fn get<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(root, |value, part| match part {
            Part::Key(key) => value.get(key),
            Part::At(index) => value.get(index),
        })
    }

    /// Sets the value; a missing object on the way is made. Does nothing below something that is no object.
    pub(super) fn set(&self, root: &mut Value, new: Value) {
        let mut place = root;
        for part in &self.0 {
            let next = match part {
                Part::Key(key) => {
                    if place.is_null() {
                        *place = json!({});
                    }
                    place.as_object_mut().map(|object| object.entry(key.clone()).or_insert(Value::Null))
                }
                Part::At(index) => place.get_mut(index),
            };
            let Some(next) = next else { return };
            place = next;
        }
        *place = new;
    }

    pub(super) fn remove(&self, root: &mut Value) {
        let Some((last, before)) = self.0.split_last() else { return };
        let mut place = root;
        for part in before {
            let next = match part {
                Part::Key(key) => place.get_mut(key),
                Part::At(index) => place.get_mut(index),
            };
            let Some(next) = next else { return };
            place = next;
        }
        match (last, place) {
            (Part::Key(key), Value::Object(object)) => drop(object.remove(key)),
            (Part::At(index), Value::Array(items)) if *index < items.len() => drop(items.remove(*index)),
            _ => {}
        }
    }

    /// RFC 6901.
    pub(super) fn pointer(&self) -> String {
        let part = |part: &Part| match part {
            Part::Key(key) => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Part::At(index) => format!("/{index}"),
        };
        self.0.iter().map(part).collect()
    }

    /// The merge patch that makes this field of the object what it is in `wanted`: a list is sent whole.
    pub(super) fn merge_patch(&self, wanted: &Value) -> Value {
        let keys: Vec<&str> = self
            .0
            .iter()
            .map_while(|part| match part {
                Part::Key(key) => Some(key.as_str()),
                Part::At(_) => None,
            })
            .collect();
        let value = keys.iter().try_fold(wanted, |value, key| value.get(key)).cloned().unwrap_or_default();
        let nest = |value, key: &&str| Value::Object(Map::from_iter([((*key).to_owned(), value)]));
        keys.iter().rev().fold(value, nest)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.iter().enumerate() {
            match part {
                Part::At(index) => write!(f, "[{index}]")?,
                Part::Key(key) if key.contains(['.', '/']) => write!(f, "[{key}]")?,
                Part::Key(key) if at == 0 => write!(f, "{key}")?,
                Part::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_sets_removes_and_shows() {
        let mut value = json!({"a": [{"b/c": 1}], "d": null});
        let path = Path::default().key("a").at(0).key("b/c");
        assert_eq!((path.to_string(), path.pointer()), ("a[0][b/c]".into(), "/a/0/b~1c".into()));
        assert_eq!(path.get(&value), Some(&json!(1)));
        path.set(&mut value, json!("x"));
        Path::default().key("d").key("e").set(&mut value, json!(2));
        assert_eq!(value, json!({"a": [{"b/c": "x"}], "d": {"e": 2}}));
        path.remove(&mut value);
        assert_eq!(value["a"], json!([{}]));
    }

    #[test]
    fn a_merge_patch_sends_the_outermost_list_whole() {
        let wanted = json!({"s": {"l": [{"n": "x"}, {"n": "y"}], "o": 1}});
        let path = Path::default().key("s").key("l").at(1).key("n");
        assert_eq!(path.merge_patch(&wanted), json!({"s": {"l": [{"n": "x"}, {"n": "y"}]}}));
        assert_eq!(Path::default().key("s").key("gone").merge_patch(&wanted), json!({"s": {"gone": null}}));
    }
}
