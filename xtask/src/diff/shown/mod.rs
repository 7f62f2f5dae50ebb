//! `cargo xtask diff --shown`: each kind's rich object with a rich status on both servers, and what upstream's kubectl
//! shows of it: `get` in its forms and `describe`, byte by byte; and the Tables themselves with their columns.
//!
//! Invariant: one object is there at a time, so that both servers show the same state. What may differ are the marks
//! of `text`. Non-goal: what kubectl prints without asking the server for a Table or for objects.

mod report;
mod text;

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::compare::{self, Difference};
use super::corpus::{Exhibit, Plan, Source};
use super::kubectl::{Kubectl, hunk};
use super::reasons::Reasons;
use super::sequence::Step;
use super::servers::{Both, Servers};
use super::wire::{Answer, Connection};
use super::{Options, play};
use crate::{paths, process};
use report::Report;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
/// What of an object stands in its row.
const INCLUDED: [&str; 4] = ["", "?includeObject=None", "?includeObject=Metadata", "?includeObject=Object"];
/// How long a new kind may take until discovery names it.
const KNOWN_LIMIT: Duration = Duration::from_secs(30);
const KNOWN_POLL: Duration = Duration::from_millis(200);

/// Compares; true when every difference has a reason.
pub(super) async fn compare(options: &Options, servers: &mut Servers, source: &Source) -> Result<bool> {
    let kubectl = Kubectl::new(servers)?;
    let reasons = Reasons::read(&paths::conformance().join("diff-reasons.txt"))?;
    let mut report = Report::new(reasons);
    for exhibit in source.exhibits(&options.kind)? {
        let found = look(&kubectl, servers, &exhibit).await?;
        eprintln!("{}: {} differences", exhibit.kind.name(), found.len());
        report.hear(&exhibit.kind.name(), found);
        servers.check()?;
    }
    report.finish(&options.out.join("shown.txt"))
}

/// A place where both do not show the same: which command, the cause in a line, and the whole.
struct Found {
    difference: Difference,
    view: String,
}

impl Found {
    fn new(field: &str, cause: String, view: String) -> Self {
        Found { difference: Difference { field: field.to_owned(), cause }, view }
    }
}

async fn look(kubectl: &Kubectl, servers: &Servers, exhibit: &Exhibit) -> Result<Vec<Found>> {
    let mut found = refusals(servers, &exhibit.made).await?;
    if found.is_empty() {
        let mut sides =
            [&servers.endpoints.upstream, &servers.endpoints.keelson].map(|endpoint| Connection::new(endpoint));
        for side in &mut sides {
            found.extend(unknown(side, exhibit).await?);
        }
        found.extend(commands(kubectl, exhibit)?);
        found.extend(tables(sides, exhibit).await?);
    }
    refusals(servers, &exhibit.gone).await?;
    Ok(found)
}

/// Plays; what either server refused.
async fn refusals(servers: &Servers, plan: &Plan<'_>) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    play::play(&servers.endpoints, std::slice::from_ref(plan), |played| {
        let (theirs, ours) = (&played.answers.upstream, &played.answers.keelson);
        if !theirs.ok() || !ours.ok() {
            let cause = format!("{} and {} to {} {}", theirs.status, ours.status, played.step.method, played.step.note);
            found.push(Found::new("(made)", cause, format!("-{}\n+{}\n", theirs.body, ours.body)));
        }
        Ok(true)
    })
    .await?;
    Ok(found)
}

/// Waits until discovery names the kind, for those of definitions come a little later than their definition; says so
/// when it does not.
async fn unknown(server: &mut Connection, exhibit: &Exhibit) -> Result<Option<Found>> {
    let (collection, deadline) = (exhibit.kind.collection(&exhibit.namespace), Instant::now() + KNOWN_LIMIT);
    let root = collection.split("/namespaces/").next().unwrap_or_default();
    let root = root.strip_suffix(&format!("/{}", exhibit.kind.resource)).unwrap_or(root);
    loop {
        let answer = server.send(&Step::new("GET", root, "")).await?;
        let mut named = answer.body["resources"].as_array().into_iter().flatten();
        if named.any(|resource| resource["name"] == exhibit.kind.resource.as_str()) {
            return Ok(None);
        }
        if Instant::now() > deadline {
            let cause = format!("a server's {root} does not name {}", exhibit.kind.resource);
            return Ok(Some(Found::new("(discovery)", cause, answer.body.to_string())));
        }
        process::sleep(KNOWN_POLL);
    }
}

/// What kubectl shows.
fn commands(kubectl: &Kubectl, exhibit: &Exhibit) -> Result<Vec<Found>> {
    let kind = &exhibit.kind;
    let resource = format!("{}.{}.{}", kind.resource, kind.version, kind.group);
    let (namespace, name) = (format!("--namespace={}", exhibit.namespace), exhibit.name.as_str());
    let mut asked: Vec<(&str, Vec<&str>)> = vec![
        ("get", vec!["get", &resource, name]),
        ("get -o wide", vec!["get", &resource, name, "-o", "wide"]),
        ("get --show-labels", vec!["get", &resource, name, "--show-labels", "--show-kind"]),
        ("describe", vec!["describe", &resource, name]),
    ];
    if kind.can("list") {
        asked.push(("get -A", vec!["get", &resource, "-A", "-o", "wide"]));
    }
    let mut found = Vec::new();
    for (command, mut arguments) in asked {
        if command != "get -A" && kind.namespaced {
            arguments.push(&namespace);
        }
        let texts = kubectl.ask(&arguments)?;
        let normal = if command == "describe" { text::described } else { text::rows };
        let texts = kubectl.without_ports(texts);
        let [theirs, ours] = [texts.upstream, texts.keelson].map(|printed| normal(&exhibit.request, &printed));
        let view = hunk(&theirs, &ours);
        let alike = command == "describe" && text::same_lines(&theirs, &ours);
        if !view.is_empty() && !alike {
            found.push(Found::new(command, text::cause(&view), view));
        }
    }
    Ok(found)
}

/// The Tables of the object and of its list.
async fn tables([mut upstream, mut keelson]: [Connection; 2], exhibit: &Exhibit) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for path in exhibit.paths() {
        for query in INCLUDED {
            // The body says what was asked for, so that it is not taken for a choice of the server.
            let step = Step::new("GET", format!("{path}{query}"), "").accept(TABLE);
            let mut answers = Both { upstream: upstream.send(&step).await?, keelson: keelson.send(&step).await? };
            cells(&exhibit.request, &mut answers);
            let mut seen = step;
            seen.body = Some(exhibit.request.clone());
            for difference in compare::differences(&seen, &answers) {
                let view = format!("{}\n", difference.cause);
                let field = format!("table{query} {}", difference.field);
                found.push(Found::new(&field, difference.cause, view));
            }
        }
    }
    Ok(found)
}

/// Makes cells the same that differ in nothing but what may differ.
fn cells(request: &str, answers: &mut Both<Answer>) {
    let Both { upstream, keelson } = answers;
    let rows = |answer: &mut Answer| answer.body["rows"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let (mut theirs, mut ours) = (rows(upstream), rows(keelson));
    for (theirs, ours) in theirs.iter_mut().zip(&mut ours) {
        let (Some(theirs), Some(ours)) = (theirs["cells"].as_array_mut(), ours["cells"].as_array_mut()) else {
            continue;
        };
        for (a, b) in theirs.iter_mut().zip(ours) {
            if let (Value::String(their_text), Value::String(our_text)) = (&*a, &*b)
                && text::rows(request, their_text) == text::rows(request, our_text)
            {
                *b = a.clone();
            }
        }
    }
    for (answer, rows) in [(upstream, theirs), (keelson, ours)] {
        if answer.body["rows"].is_array() {
            answer.body["rows"] = rows.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_differ_in_more_than_what_may() {
        let answer = |cells: Value| Answer {
            status: 200,
            content_type: String::new(),
            warnings: Vec::new(),
            body: json!({"rows": [{"cells": cells}]}),
        };
        let mut both = Both {
            upstream: answer(json!(["a", "3s", "80:31000/TCP", 1])),
            keelson: answer(json!(["b", "1m2s", "80:31111/TCP", 2])),
        };
        cells("", &mut both);
        assert_eq!(both.keelson.body, json!({"rows": [{"cells": ["b", "3s", "80:31000/TCP", 2]}]}));
    }
}
