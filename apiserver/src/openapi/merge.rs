//! OpenAPI v2 documents of other servers put into this server's (k8s.io/kube-openapi/pkg/aggregator).
//!
//! Invariant: what is there already stays as it is; a definition of another shape but the same name comes under a
//! name of its own, and what refers to it with it.

use std::collections::{HashMap, HashSet};

use api::value::{Map, Str, Value};

const KINDS: &str = "x-kubernetes-group-version-kind";
/// What a document names and refers to: the key, and how a reference begins.
const SECTIONS: [(&str, &str); 2] = [("definitions", "#/definitions/"), ("parameters", "#/parameters/")];

/// Calls `see` with every reference in a value.
fn references(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::Map(map) => {
            for (name, inner) in map.iter() {
                match inner.as_str().filter(|_| name.as_str() == "$ref") {
                    Some(reference) => see(reference),
                    None => references(inner, see),
                }
            }
        }
        Value::List(list) => list.iter().for_each(|inner| references(inner, see)),
        _ => {}
    }
}

/// Everything that the paths refer to, directly or not.
fn used(document: &Map, paths: &Map) -> HashSet<String> {
    let mut used = HashSet::new();
    let mut next: Vec<String> = Vec::new();
    let mut see = |value: &Value, next: &mut Vec<String>| {
        references(value, &mut |reference| {
            if used.insert(reference.to_owned()) {
                next.push(reference.to_owned());
            }
        });
    };
    paths.iter().for_each(|(_, path)| see(path, &mut next));
    while let Some(reference) = next.pop() {
        let found =
            SECTIONS.iter().find_map(|(section, prefix)| document.map(section)?.get(reference.strip_prefix(prefix)?));
        if let Some(found) = found {
            see(found, &mut next);
        }
    }
    used
}

/// A document with some of its paths, and without the definitions that only the others used.
pub(crate) fn with_paths(document: &Map, keep: impl Fn(&str) -> bool) -> Map {
    let Some(all) = document.map("paths") else { return document.clone() };
    let kept: Map =
        all.iter().filter(|(path, _)| keep(path)).map(|(path, item)| (path.clone(), item.clone())).collect();
    let (before, after) = (used(document, all), used(document, &kept));
    let (section, prefix) = SECTIONS[0];
    let needed = |name: &str| {
        let reference = format!("{prefix}{name}");
        after.contains(&reference) || !before.contains(&reference)
    };
    let definitions = document.map(section).unwrap_or(Map::EMPTY).iter().filter(|(name, _)| needed(name));
    let definitions: Map = definitions.map(|(name, schema)| (name.clone(), schema.clone())).collect();
    let mut filtered = document.clone();
    filtered.set("paths", kept);
    filtered.set(section, definitions);
    filtered
}

/// Merges a document into another.
pub(super) fn merge(into: &mut Map, from: &Map) {
    let Some(theirs) = from.map("paths") else { return };
    let known = into.map("paths").cloned().unwrap_or_default();
    let is_new = |path: &str| !known.contains(path);
    let new = theirs.keys().filter(|path| is_new(path)).count();
    if new == 0 {
        return;
    }
    let mut from = if new == theirs.len() { from.clone() } else { with_paths(from, is_new) };
    for (section, prefix) in SECTIONS {
        let renames = renames(into.map(section).unwrap_or(Map::EMPTY), from.map(section).unwrap_or(Map::EMPTY));
        if !renames.is_empty() {
            from = renamed(from, section, prefix, &renames);
        }
    }
    for (section, _) in SECTIONS {
        for (name, own) in from.map(section).unwrap_or(Map::EMPTY).iter() {
            let merged = into.map_mut(section);
            match merged.get_mut(name) {
                Some(Value::Map(known)) => add_kinds(known, own.as_map().unwrap_or(Map::EMPTY)),
                Some(_) => {}
                None => merged.push(name.clone(), own.clone()),
            }
        }
        if let Some(Value::Map(merged)) = into.get_mut(section) {
            merged.sort();
        }
    }
    let paths = into.map_mut("paths");
    for (path, item) in from.map("paths").unwrap_or(Map::EMPTY).iter() {
        paths.push(path.clone(), item.clone());
    }
    paths.sort();
}

/// New names of what is something else under its own.
fn renames(known: &Map, theirs: &Map) -> HashMap<String, String> {
    let mut taken: HashSet<String> = known.keys().chain(theirs.keys()).map(ToString::to_string).collect();
    let mut renames = HashMap::new();
    for (name, own) in theirs.iter() {
        if known.get(name).is_none_or(|known| is_same(known, own)) {
            continue;
        }
        let mut names = (2..).map(|number| format!("{name}_v{number}"));
        let free = names.find(|new| known.get(new).is_some_and(|known| is_same(known, own)) || !taken.contains(new));
        if let Some(new) = free {
            taken.insert(new.clone());
            renames.insert(name.to_string(), new);
        }
    }
    renames
}

/// Equal, whatever kinds they are said to be.
fn is_same(a: &Value, b: &Value) -> bool {
    let (Value::Map(a), Value::Map(b)) = (a, b) else { return a == b };
    let count = |map: &Map| map.len() - usize::from(map.contains(KINDS));
    count(a) == count(b) && a.iter().all(|(name, value)| name.as_str() == KINDS || b.get(name) == Some(value))
}

/// The document with the entries of a section and all references to them under new names.
fn renamed(mut document: Map, section: &str, prefix: &str, renames: &HashMap<String, String>) -> Map {
    let entries = document.map(section).cloned().unwrap_or_default();
    let entries = entries.into_iter().map(|(name, value)| match renames.get(name.as_str()) {
        Some(new) => (Str::from(new.as_str()), value),
        None => (name, value),
    });
    document.set(section, entries.collect::<Map>());
    for (_, value) in document.iter_mut() {
        refer_anew(value, prefix, renames);
    }
    document
}

fn refer_anew(value: &mut Value, prefix: &str, renames: &HashMap<String, String>) {
    match value {
        Value::Map(map) => {
            for (name, inner) in map.iter_mut() {
                let reference = inner.as_str().filter(|_| name.as_str() == "$ref");
                let new = reference.and_then(|reference| renames.get(reference.strip_prefix(prefix)?));
                match new {
                    Some(new) => *inner = format!("{prefix}{new}").into(),
                    None => refer_anew(inner, prefix, renames),
                }
            }
        }
        Value::List(list) => list.iter_mut().for_each(|inner| refer_anew(inner, prefix, renames)),
        _ => {}
    }
}

/// A definition that several kinds have is of all of them, in order.
fn add_kinds(known: &mut Map, theirs: &Map) {
    let mut kinds = known.list(KINDS).to_vec();
    let new: Vec<Value> = theirs.list(KINDS).iter().filter(|kind| !kinds.contains(kind)).cloned().collect();
    if new.is_empty() {
        return;
    }
    let had = !kinds.is_empty();
    kinds.extend(new);
    if had {
        let key = |kind: &Value| {
            let text = |name: &str| kind.as_map().map_or("", |kind| kind.str(name)).to_owned();
            format!("{}/{}.{}", text("group"), text("version"), text("kind"))
        };
        kinds.sort_by_key(key);
    }
    known.set(KINDS, kinds);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::testing::object;

    fn text(map: &Map) -> String {
        String::from_utf8_lossy(&api::json::encode(map)).trim().to_owned()
    }

    fn check(into: &str, from: &str, expect: &str) {
        let mut merged = object(into);
        merge(&mut merged, &object(from));
        assert_eq!(text(&merged), text(&object(expect)));
    }

    /// A path that uses a definition.
    fn uses(path: &str, definition: &str) -> String {
        format!(
            r##""{path}":{{"get":{{"responses":{{"200":{{"schema":{{"$ref":"#/definitions/{definition}"}}}}}}}}}}"##
        )
    }

    #[test]
    fn only_what_paths_use_stays() {
        let paths = format!("{},{}", uses("/apis/g/v1/as", "A"), uses("/apis/g/v2/bs", "B"));
        let document = object(&format!(
            r##"{{"paths":{{{paths}}},"definitions":{{"A":{{"$ref":"#/definitions/C"}},"B":{{}},"C":{{}},"Unused":{{}}}}}}"##
        ));
        let kept = with_paths(&document, |path| path.starts_with("/apis/g/v1/"));
        let names: Vec<&str> = kept.map("definitions").expect("some").keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["A", "C", "Unused"]);
        assert_eq!(kept.map("paths").expect("some").len(), 1);
    }

    #[test]
    fn conflicts_are_renamed_with_what_refers_to_them() {
        let (ours, theirs) = (uses("/a", "A"), uses("/b", "A"));
        let with =
            |paths: &str, definitions: &str| format!(r#"{{"paths":{{{paths}}},"definitions":{{{definitions}}}}}"#);
        let (x, y) = (r#""A":{"type":"object"}"#, r#""A":{"type":"string"}"#);
        check(&with(&ours, x), &with(&theirs, x), &with(&format!("{ours},{theirs}"), x));
        let renamed = format!("{ours},{}", uses("/b", "A_v2"));
        let both = r#""A":{"type":"object"},"A_v2":{"type":"string"}"#;
        check(&with(&ours, x), &with(&theirs, y), &with(&renamed, both));
        // One that was renamed before is found again.
        let more = format!("{renamed},{}", uses("/c", "A_v2"));
        check(&with(&renamed, both), &with(&uses("/c", "A"), y), &with(&more, both));
        // A path that is there stays, and what only it needs does not come.
        check(&with(&ours, x), &with(&uses("/a", "B"), r#""B":{}"#), &with(&ours, x));
    }

    #[test]
    fn kinds_of_one_definition_come_together() {
        let kind = |name: &str| format!(r#"{{"group":"g","kind":"{name}","version":"v1"}}"#);
        let with = |paths: &str, kinds: &str| {
            format!(r#"{{"paths":{{{paths}}},"definitions":{{"A":{{"type":"object","{KINDS}":[{kinds}]}}}}}}"#)
        };
        let (ours, theirs) = (uses("/a", "A"), uses("/b", "A"));
        let both = format!("{},{}", kind("X"), kind("Y"));
        check(&with(&ours, &kind("Y")), &with(&theirs, &kind("X")), &with(&format!("{ours},{theirs}"), &both));
    }
}
