//! Writes to subresources other than status, with the bodies of the template (or a Scale) and mutations of them.

use std::rc::Rc;

use serde_json::{Value, json};

use super::builder::Builder;
use super::change::overlay;
use super::{Plan, Subject, applied, note};
use crate::diff::catalog::Subresource;
use crate::diff::mutate::Mutation;
use crate::diff::sequence::{Sequence, Step};

pub(super) fn plans(subject: Subject<'_>) -> Vec<Plan<'_>> {
    subject.kind.subresources.iter().flat_map(|subresource| of(subject, subresource)).collect()
}

fn of<'a>(subject: Subject<'a>, subresource: &'a Subresource) -> Vec<Plan<'a>> {
    let Some(body) = body(subject, &subresource.name) else { return Vec::new() };
    let text = |field: &str| body[field].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    let all = Rc::new(subject.mutations_as(&body, group, version, text("kind")));
    let sent = |at: &usize| all[*at].path.root() != "status" || subresource.name == "approval";
    let changes = (0..all.len()).filter(sent).map(|at| vec![at]).collect();
    let body = Rc::new(body);
    let as_it_is = Rc::clone(&body);
    let whole = move || sequence(subject, subresource, "whole", 0, &as_it_is, &[Vec::new()]);
    let mut plans = vec![subject.plan(&format!("{}/whole", subresource.name), 0, 3, whole)];
    let make = move |number, batch: &[Vec<Mutation>]| sequence(subject, subresource, "changed", number, &body, batch);
    plans.extend(subject.batches(&format!("{}/changed", subresource.name), &all, changes, make));
    plans
}

/// What is sent, unfilled. A body without a kind is the object itself with these fields.
fn body(subject: Subject<'_>, name: &str) -> Option<Value> {
    let given = subject.template.subresources.get(name).cloned();
    let scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": subject.template.name, "namespace": "$NS"},
        "spec": {"replicas": 2},
    });
    let body = given.or_else(|| (name == "scale").then_some(scale))?;
    if body["kind"].is_string() {
        return Some(body);
    }
    let mut object = subject.template.unfilled(subject.kind);
    overlay(&mut object, body);
    Some(object)
}

fn sequence(
    subject: Subject<'_>,
    subresource: &Subresource,
    part: &str,
    number: usize,
    body: &Value,
    batch: &[Vec<Mutation>],
) -> Sequence {
    let mut builder = Builder::new(subject, &format!("{}/{part}", subresource.name), number);
    let names = builder.names("it");
    builder.create_rich(&names);
    let target = format!("{}/{}", builder.item(&names), subresource.name);
    let can = |verb: &str| subresource.verbs.iter().any(|known| known == verb);
    if can("get") && part == "whole" {
        builder.push(Step::new("GET", &target, "read").of(&subresource.name));
    }
    for (at, changes) in batch.iter().enumerate() {
        let wanted = names.fill(&applied(body, changes));
        let query = builder.query(at + 1 < batch.len());
        let to = format!("{target}{query}");
        let step = if can("create") {
            Step::new("POST", to, note(changes)).json(&wanted)
        } else if can("patch") && builder.pick("patch", &[true, false, false]) {
            Step::new("PATCH", to, note(changes)).text("application/merge-patch+json", wanted.to_string())
        } else {
            Step::new("PUT", to, note(changes)).json(&wanted)
        };
        builder.push(step.of(&subresource.name));
    }
    builder.push(Step::new("GET", builder.item(&names), "what is stored"));
    builder.cleanup(&names);
    builder.finish()
}
