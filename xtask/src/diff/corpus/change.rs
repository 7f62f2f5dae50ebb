//! Changes of a stored rich object: one or two fields changed by every kind of write, on the object itself and on
//! its status.

use std::rc::Rc;

use serde_json::{Value, json};

use super::builder::Builder;
use super::{Plan, Subject, applied, note};
use crate::diff::mutate::Mutation;
use crate::diff::sequence::{REVISION, Step};
use crate::diff::template::Names;

/// How a change is written.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Put,
    /// With the resourceVersion of the stored object.
    PutAtRevision,
    Merge,
    Json,
    Strategic,
    Apply,
    ForcedApply,
}

const WAYS: [Way; 7] =
    [Way::Put, Way::PutAtRevision, Way::Merge, Way::Json, Way::Strategic, Way::Apply, Way::ForcedApply];
/// Of the changes outside status one in so many goes to /status, which must ignore it.
const IGNORED: usize = 10;

pub(super) fn plans<'a>(subject: Subject<'a>, all: &Rc<Vec<Mutation>>) -> Vec<Plan<'a>> {
    let kind = subject.kind;
    let mut found = Vec::new();
    if !kind.can("create") {
        return found;
    }
    if kind.can("update") {
        let base = subject.template.unfilled(kind);
        found.extend(family(subject, "update", "", base, all, subject.singles_and_pairs(all)));
    }
    if kind.subresource("status").is_some_and(|status| status.verbs.iter().any(|verb| verb == "update")) {
        let mut base = subject.template.unfilled(kind);
        if let Some(status) = &subject.template.status {
            base["status"] = status.clone();
        }
        let all = Rc::new(subject.mutations(&base));
        let of_status = |at: &usize| all[*at].path.root() == "status";
        let (status, others): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(of_status);
        let changes = status.into_iter().chain(others.into_iter().step_by(IGNORED)).map(|at| vec![at]).collect();
        found.extend(family(subject, "status", "/status", base, &all, changes));
    }
    found
}

fn family<'a>(
    subject: Subject<'a>,
    name: &'static str,
    subpath: &'static str,
    base: Value,
    all: &Rc<Vec<Mutation>>,
    changes: Vec<Vec<usize>>,
) -> Vec<Plan<'a>> {
    let base = Rc::new(base);
    let make = move |number, batch: &[Vec<Mutation>]| {
        let mut builder = Builder::new(subject, name, number);
        let names = builder.names("it");
        builder.create_rich(&names);
        for (at, changes) in batch.iter().enumerate() {
            // The last is stored and read back; the others leave the object as it is.
            let last = at + 1 == batch.len();
            let step = write(&builder, &names, subpath, &base, changes, !last);
            builder.push(step);
            if last {
                builder.settle(&names);
                builder.push(Step::new("GET", builder.item(&names), "what is stored"));
            }
        }
        builder.cleanup(&names);
        builder.finish()
    };
    subject.batches(name, all, changes, make)
}

fn write(
    builder: &Builder<'_>,
    names: &Names,
    subpath: &str,
    base: &Value,
    changes: &[Mutation],
    dry_run: bool,
) -> Step {
    let wanted = applied(base, changes);
    let way = builder.pick("way", &WAYS);
    let target = format!("{}{subpath}", builder.item(names));
    let query = builder.query(dry_run);
    let note = note(changes);
    let patch = |content_type, body: &Value| {
        Step::new("PATCH", format!("{target}{query}"), &note).text(content_type, names.fill(body).to_string())
    };
    match way {
        Way::Put => Step::new("PUT", format!("{target}{query}"), note).json(&names.fill(&wanted)),
        Way::PutAtRevision => {
            let mut body = names.fill(&wanted);
            if body["metadata"].is_object() && body["metadata"]["resourceVersion"].is_null() {
                body["metadata"]["resourceVersion"] = REVISION.into();
            }
            Step::new("PUT", format!("{target}{query}"), note).json(&body)
        }
        Way::Merge => patch("application/merge-patch+json", &merged(&wanted, changes)),
        Way::Strategic => patch("application/strategic-merge-patch+json", &merged(&wanted, changes)),
        Way::Json => {
            let operations: Vec<Value> = changes.iter().map(|change| change.json_patch(base)).collect();
            patch("application/json-patch+json", &json!(operations))
        }
        Way::Apply | Way::ForcedApply => {
            let force = if way == Way::ForcedApply { "&force=true" } else { "" };
            let dry_run = if dry_run { "&dryRun=All" } else { "" };
            let target = format!("{target}?fieldManager=applier{force}{dry_run}");
            let body = names.fill(&wanted).to_string();
            Step::new("PATCH", target, note).text("application/apply-patch+yaml", body)
        }
    }
}

/// One merge patch for all changes.
fn merged(wanted: &Value, changes: &[Mutation]) -> Value {
    let mut patch = json!({});
    for change in changes {
        overlay(&mut patch, change.path.merge_patch(wanted));
    }
    patch
}

/// Puts the fields of one object over those of another, recursively; lists are replaced.
pub(super) fn overlay(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                overlay(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}
