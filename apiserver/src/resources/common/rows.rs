//! Rows of what upstream's API server answered, against our strategies: the body that was sent, and the errors,
//! warnings and object that came back (v1.37.2, admission plugins that change objects off).
//!
//! Non-goal: the generic verbs. What they do around a strategy is done here in short.

use api::facts::{self, Resource};
use api::field::{Errors, Path};
use api::json::{Strictness, decode, decode_any, encode};
use api::object::{self, Meta};
use api::value::{Map, Value};

use crate::authn::User;
use crate::declarative;
use crate::resources::{self, common};
use crate::rest::metadata;
use crate::strategy::{Context, Generation, MetaCheck, Strategy};

/// Any time will do: answers have none of the server's own.
const NOW: &str = "2026-01-01T00:00:00Z";

fn facts_of(row: &Map) -> &'static Resource {
    let wanted = |r: &&Resource| r.kind == row.str("kind") && r.api_version() == row.str("api");
    facts::resources().iter().find(wanted).expect("a known kind")
}

fn typed(row: &Map, name: &str, facts: &Resource) -> Option<Map> {
    let text = encode(row.map(name)?);
    let mut object = decode(&text, facts.ty, Strictness::Lenient).expect("an object").value;
    object::set_kind(&mut object, &facts.api_version(), facts.kind);
    Some(object)
}

/// Whom upstream saw.
fn user_of(row: &Map) -> User {
    let Some(user) = row.map("user") else { return User::default() };
    let extra = user.map("extra").into_iter().flat_map(Map::keys).map(|key| key.to_string());
    let extra = extra.map(|key| (key.clone(), texts(user.map("extra").expect("extra"), &key))).collect();
    User { name: user.str("username").into(), uid: user.str("uid").into(), groups: texts(user, "groups"), extra }
}

/// What is the same whenever it is asked.
fn lasting(mut object: Map) -> Map {
    for name in ["resourceVersion", "creationTimestamp", "managedFields"] {
        object.meta_mut().remove(name);
    }
    for condition in object.map_mut("status").maps_mut("conditions") {
        for name in ["lastTransitionTime", "lastUpdateTime"] {
            if matches!(condition.str(name), "" | NOW) {
                condition.remove(name);
            }
        }
    }
    if object.map("status").is_some_and(|status| status.str("lastPhaseTransitionTime") == NOW) {
        object.map_mut("status").remove("lastPhaseTransitionTime");
    }
    // Zeros that Go always writes are filled in when an object is shown.
    object.map_mut("status").retain(|_, value| !value.is_zero());
    if object.map("status").is_some_and(Map::is_empty) {
        object.remove("status");
    }
    object
}

/// What we make of a row: the object, and everything wrong with it.
fn answer(
    row: &Map,
    strategy: &dyn Strategy,
    facts: &'static Resource,
    user: &User,
) -> (Map, Vec<String>, Vec<String>) {
    let sub = row.str("sub").to_string();
    let mut object = typed(row, "body", facts).expect("a body");
    let cx = Context { user, now: NOW, labels_defaulted: metadata::lacks_labels(&object) };
    api::defaults::apply(&mut object, facts.ty);
    strategy.default(&mut object);
    let Some(old) = typed(row, "old", facts) else {
        let uid = row.map("result").map_or("u", |result| result.uid()).to_string();
        object.meta_mut().set("uid", uid);
        if facts.namespaced {
            object.meta_mut().set("namespace", "default");
        }
        if strategy.generation() != Generation::None {
            object.meta_mut().set("generation", 1i64);
        }
        if facts.subresource("status").is_some() {
            object.remove("status");
        }
        strategy.prepare_for_create(&cx, &mut object);
        let mut errors = strategy.validate_before_meta(&object);
        name_errors(strategy, &object, &mut errors);
        errors.extend(strategy.validate(&object));
        declarative::merge(&mut errors, facts.ty, "", &object, None);
        let warnings = strategy.warnings(&object, None);
        return (object, errors.iter().map(ToString::to_string).collect(), warnings);
    };
    let mut errors = match sub.as_str() {
        "" => {
            match old.get("status").filter(|_| facts.subresource("status").is_some()) {
                Some(status) => object.set("status", status.clone()),
                None => drop(object.remove("status")),
            }
            strategy.prepare_for_update(&cx, &mut object, &old);
            count(strategy, &mut object, &old);
            let mut errors = strategy.validate_update(&object, &old);
            if strategy.meta_checks("").contains(&MetaCheck::Whole) {
                name_errors(strategy, &object, &mut errors);
            }
            errors
        }
        "status" => {
            let mut whole = old.clone();
            for name in ["labels", "annotations", "ownerReferences"] {
                whole.meta_mut().take_over(name, object.meta());
            }
            whole.take_over("status", &object);
            object = whole;
            strategy.prepare_for_status_update(&cx, &mut object, &old);
            strategy.validate_status_update(&object, &old)
        }
        other => {
            strategy.prepare_for_subresource_update(&cx, other, &mut object, &old);
            count(strategy, &mut object, &old);
            strategy.validate_subresource_update(other, &object, &old)
        }
    };
    declarative::merge(&mut errors, facts.ty, &sub, &object, Some(&old));
    let warnings = match sub.as_str() {
        "" => strategy.warnings(&object, Some(&old)),
        "status" => strategy.status_warnings(&object),
        _ => Vec::new(),
    };
    (object, errors.iter().map(ToString::to_string).collect(), warnings)
}

fn name_errors(strategy: &dyn Strategy, object: &Map, errors: &mut Errors) {
    for (part, prefix) in [("generateName", true), ("name", false)] {
        let text = object.meta().str(part);
        let wrong = if text.is_empty() { Vec::new() } else { strategy.name_errors_in(object, text, prefix) };
        common::each(&Path::new("metadata").child(part), text, wrong, errors);
    }
}

fn count(strategy: &dyn Strategy, object: &mut Map, old: &Map) {
    let metadata = |name: &str| matches!(name, "metadata" | "status" | "kind" | "apiVersion");
    let changed = object.iter().any(|(name, value)| !metadata(name) && old.get(name) != Some(value));
    if changed && strategy.generation() == Generation::Spec {
        object.meta_mut().set("generation", old.generation() + 1);
    }
}

fn texts(row: &Map, name: &str) -> Vec<String> {
    row.list(name).iter().filter_map(Value::as_str).map(str::to_string).collect()
}

fn sorted(mut all: Vec<String>) -> Vec<String> {
    all.sort();
    all.dedup();
    all
}

/// An object as text, every map in one order.
pub(crate) fn pretty(object: &Map) -> String {
    let mut sorted = object.clone();
    order(&mut sorted);
    String::from_utf8_lossy(&encode(&sorted)).into_owned()
}

fn order(map: &mut Map) {
    map.sort();
    for (_, value) in map.iter_mut() {
        order_value(value);
    }
}

fn order_value(value: &mut Value) {
    match value {
        Value::Map(map) => order(map),
        Value::List(list) => list.iter_mut().for_each(order_value),
        _ => {}
    }
}

/// Checks all rows; says which differ and how.
pub(crate) fn check(rows: &str) {
    let (rows, _) = decode_any(rows.as_bytes(), Strictness::Lenient).expect("JSON");
    let mut wrong = Vec::new();
    for row in rows.as_list().expect("rows").iter().filter_map(Value::as_map) {
        let facts = facts_of(row);
        let strategy = resources::strategy(facts.group, facts.plural);
        let (object, errors, warnings) = answer(row, strategy, facts, &user_of(row));
        let title = format!("{} {}", facts.kind, row.str("name"));
        let (got, want) = (sorted(errors), sorted(texts(row, "errors")));
        if got != want {
            let extra: Vec<_> = got.iter().filter(|text| !want.contains(text)).collect();
            let missing: Vec<_> = want.iter().filter(|text| !got.contains(text)).collect();
            wrong.push(format!("{title}:\n   extra {extra:#?}\n   missing {missing:#?}"));
        }
        if sorted(warnings.clone()) != sorted(texts(row, "warnings")) && want.is_empty() {
            wrong.push(format!("{title}:\n   warnings {warnings:#?}\n   instead of {:#?}", texts(row, "warnings")));
        }
        if let Some(result) = typed(row, "result", facts) {
            let (got, want) = (pretty(&lasting(object)), pretty(&lasting(result)));
            if got != want {
                wrong.push(format!("{title}:\n   object {got}\n   instead of {want}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Answers about all kinds that make pods, and those beside them.
#[test]
fn workloads_as_upstream_answers() {
    check(include_str!("testdata.json"));
}
