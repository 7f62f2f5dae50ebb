//! `cargo xtask diff --documents`: what both servers say of themselves, compared without regard to order: discovery,
//! plain and aggregated, OpenAPI v2 and every document of v3, the version and the root paths.
//!
//! Invariant: what differs is counted by place, where names of paths, types and properties are stars, so that one cause
//! is one line. Non-goal: the bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::Result;
use serde_json::Value;

use super::sequence::Step;
use super::servers::{Both, Servers};
use super::wire::{Answer, Connection};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Below these, names are those of things, not of fields.
const NAMED: [&str; 7] =
    ["paths", "definitions", "schemas", "properties", "responses", "securityDefinitions", "parameters"];
/// By these an element of a list is found again; the first that it has counts.
const KEYS: [&str; 6] = ["name", "groupVersion", "version", "resource", "subresource", "kind"];
const EXAMPLES: usize = 4;
const SHOWN: usize = 160;

/// What differs at places that look alike.
#[derive(Default)]
struct Group {
    count: usize,
    examples: Vec<String>,
}

/// Compares all documents; the report, and whether nothing differs.
pub(super) async fn compare(servers: &Servers) -> Result<(String, bool)> {
    let endpoints = &servers.endpoints;
    let mut both =
        Both { upstream: Connection::new(&endpoints.upstream), keelson: Connection::new(&endpoints.keelson) };
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let asked = targets(&mut both.upstream).await?;
    for (target, accept) in &asked {
        let mut step = Step::new("GET", target, "");
        step.accept = *accept;
        let answers = Both { upstream: both.upstream.send(&step).await?, keelson: both.keelson.send(&step).await? };
        let kind = kind_of(target, accept.is_some());
        let mut heard = |place: &str, text: String| {
            let group = groups.entry(format!("{kind} {}", starred(place))).or_default();
            group.count += 1;
            if group.examples.len() < EXAMPLES {
                group.examples.push(format!("{target} {place}: {text}"));
            }
        };
        let [theirs, ours] = [&answers.upstream, &answers.keelson].map(content);
        if answers.upstream.status != answers.keelson.status {
            heard("status", format!("{} or {}", answers.upstream.status, answers.keelson.status));
        }
        differ("", &theirs, &ours, &mut heard);
    }
    Ok((written(&groups, asked.len()), groups.is_empty()))
}

/// Every document that upstream's server names, and how it is asked for.
async fn targets(upstream: &mut Connection) -> Result<Vec<(String, Option<&'static str>)>> {
    let mut all: Vec<(String, Option<&'static str>)> = Vec::new();
    for root in ["/api", "/apis"] {
        all.push((root.to_owned(), Some(AGGREGATED)));
    }
    let plain = ["/", "/api", "/apis", "/version", "/openapi/v2", "/openapi/v3", "/api/v1", "/healthz", "/livez"];
    all.extend(plain.map(|path| (path.to_owned(), None)));
    let groups = upstream.document("/apis").await?;
    for group in groups["groups"].as_array().into_iter().flatten() {
        all.push((format!("/apis/{}", group["name"].as_str().unwrap_or_default()), None));
        for version in group["versions"].as_array().into_iter().flatten() {
            all.push((format!("/apis/{}", version["groupVersion"].as_str().unwrap_or_default()), None));
        }
    }
    let index = upstream.document("/openapi/v3").await?;
    let paths = index["paths"].as_object().into_iter().flatten();
    all.extend(paths.map(|(path, _)| (format!("/openapi/v3/{path}"), None)));
    Ok(all)
}

fn kind_of(target: &str, aggregated: bool) -> &'static str {
    match target {
        _ if aggregated => "aggregated",
        "/openapi/v2" => "openapi/v2",
        _ if target.starts_with("/openapi/v3/") => "openapi/v3",
        "/api" | "/apis" => "discovery",
        _ if target.starts_with("/api") => "discovery",
        _ => "root",
    }
}

/// The body without what is of one server alone.
fn content(answer: &Answer) -> Value {
    let mut body = answer.body.clone();
    for name in ["serverAddressByClientCIDRs", "buildDate", "gitCommit", "gitTreeState", "goVersion", "compiler"] {
        if let Some(map) = body.as_object_mut() {
            map.remove(name);
        }
    }
    let links = body.get_mut("paths").and_then(Value::as_object_mut).into_iter().flat_map(|paths| paths.values_mut());
    for link in links.filter_map(|path| path.get_mut("serverRelativeURL")) {
        let plain = link.as_str().and_then(|url| url.split('?').next()).map(str::to_owned);
        *link = plain.into();
    }
    body
}

/// Hears of every place where two values are not the same.
fn differ(place: &str, theirs: &Value, ours: &Value, heard: &mut dyn FnMut(&str, String)) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                one(&format!("{place}.{name}"), a.get(name), b.get(name), heard);
            }
        }
        (Value::Array(a), Value::Array(b)) => lists(place, a, b, heard),
        _ if theirs != ours => heard(place, format!("{} or {}", shown(theirs), shown(ours))),
        _ => {}
    }
}

fn one(place: &str, theirs: Option<&Value>, ours: Option<&Value>, heard: &mut dyn FnMut(&str, String)) {
    match (theirs, ours) {
        (Some(theirs), Some(ours)) => differ(place, theirs, ours, heard),
        (Some(theirs), None) => heard(place, format!("missing {}", shown(theirs))),
        (None, Some(ours)) => heard(place, format!("extra {}", shown(ours))),
        (None, None) => {}
    }
}

/// Elements are the same by their key; others by all that they are.
fn lists(place: &str, theirs: &[Value], ours: &[Value], heard: &mut dyn FnMut(&str, String)) {
    let keyed = |list: &[Value]| -> BTreeMap<String, Value> {
        list.iter().map(|element| (key(element), element.clone())).collect()
    };
    let (a, b) = (keyed(theirs), keyed(ours));
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for key in keys {
        one(&format!("{place}[{key}]"), a.get(key), b.get(key), heard);
    }
    if theirs.len() != ours.len() && a.len() == b.len() {
        heard(place, format!("{} or {} elements", theirs.len(), ours.len()));
    }
}

fn key(element: &Value) -> String {
    // Groups of aggregated discovery have their name in their metadata; parameters have a place beside their name.
    let named = KEYS.iter().find_map(|name| element[*name].as_str()).or_else(|| element["metadata"]["name"].as_str());
    match named {
        Some(name) => format!("{name}{}", element["in"].as_str().map(|place| format!("@{place}")).unwrap_or_default()),
        None => element.to_string(),
    }
}

/// A place with stars for the names of things.
fn starred(place: &str) -> String {
    let mut out = String::new();
    let mut named = false;
    for part in parts(place) {
        let star = named || part.starts_with('[');
        match part.strip_prefix('.') {
            Some(name) if !star => {
                let _ = write!(out, ".{name}");
                named = NAMED.contains(&name);
            }
            Some(_) => {
                out.push_str(".*");
                named = false;
            }
            None => out.push_str("[*]"),
        }
    }
    out
}

/// `.a[b].c` in its parts; names of paths and types hold dots and slashes, keys hold brackets.
fn parts(place: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    let mut named = false;
    while from < place.len() {
        let rest = &place[from..];
        let end = if rest.starts_with('[') {
            rest.find(']').map_or(rest.len(), |at| at + 1)
        } else if named {
            // Up to the next name of a field of OpenAPI.
            ends_name(rest)
        } else {
            rest[1..].find(['.', '[']).map_or(rest.len(), |at| at + 1)
        };
        let part = &rest[..end];
        named = !named && part.strip_prefix('.').is_some_and(|name| NAMED.contains(&name));
        parts.push(part);
        from += end;
    }
    parts
}

/// Fields that follow the name of a path, a type or a property.
const FIELDS: [&str; 22] = [
    ".get",
    ".put",
    ".post",
    ".delete",
    ".patch",
    ".head",
    ".options",
    ".parameters",
    ".description",
    ".properties",
    ".type",
    ".format",
    ".default",
    ".items",
    ".$ref",
    ".allOf",
    ".required",
    ".additionalProperties",
    ".content",
    ".schema",
    ".serverRelativeURL",
    ".x-kubernetes",
];

fn ends_name(rest: &str) -> usize {
    FIELDS.iter().filter_map(|field| rest[1..].find(field)).min().map_or(rest.len(), |at| at + 1)
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

fn written(groups: &BTreeMap<String, Group>, documents: usize) -> String {
    let total: usize = groups.values().map(|group| group.count).sum();
    let mut out = format!("{documents} documents, {total} differences at {} kinds of places\n", groups.len());
    let mut all: Vec<_> = groups.iter().collect();
    all.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
    for (place, group) in all {
        let _ = writeln!(out, "\n{} {place}", group.count);
        for example in &group.examples {
            let _ = writeln!(out, "    {example}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(theirs: Value, ours: Value) -> Vec<String> {
        let mut all = Vec::new();
        differ("", &theirs, &ours, &mut |place: &str, text: String| all.push(format!("{} {text}", starred(place))));
        all
    }

    #[test]
    fn order_is_no_difference_and_names_are_stars() {
        let a = json!({"resources": [{"name": "b", "verbs": ["x", "y"]}, {"name": "a"}]});
        let b = json!({"resources": [{"name": "a"}, {"name": "b", "verbs": ["y", "x"]}]});
        assert!(found(a.clone(), b).is_empty());
        let fewer = json!({"resources": [{"name": "b", "verbs": ["x"]}, {"name": "a"}]});
        assert_eq!(found(a, fewer), [".resources[*].verbs[*] missing \"y\""]);
        let type_of =
            |text: &str| json!({"definitions": {"io.k8s.Pod": {"properties": {"spec": {"description": text}}}}});
        assert_eq!(found(type_of("a"), type_of("b")), [".definitions.*.properties.*.description \"a\" or \"b\""]);
        let path_of = |id: &str| json!({"paths": {"/api/v1/pods": {"get": {"operationId": id}}}});
        assert_eq!(found(path_of("a"), path_of("b")), [".paths.*.get.operationId \"a\" or \"b\""]);
    }
}
