//! lifecycle.k8s.io: evictions and the requests for them.

use api::value::{Map, Value};

use super::cells::{Now, UNKNOWN, UNSET, condition, is_true, maps, name, number, some_of, text, text_or};
use super::column::{AGE, Column, NAME, of};
use super::{Printer, printer};

pub(super) const PRINTERS: &[Printer] = &[
    printer("lifecycle.k8s.io", "evictionrequests", EVICTION_REQUESTS, |object, now| {
        let [target, ty] = target(object);
        vec![
            name(object),
            target,
            ty,
            status(object).into(),
            text(object, &["spec", "requester"]).into(),
            text(object, &["spec", "intent"]).into(),
            now.age(object),
        ]
    }),
    printer("lifecycle.k8s.io", "evictions", EVICTIONS, eviction),
];

fn target(object: &Map) -> [Value; 2] {
    match object.at(&["spec", "target", "pod"]) {
        Some(pod) => [pod.str("name").into(), "Pod".into()],
        None => [UNSET.into(), UNSET.into()],
    }
}

fn status(object: &Map) -> String {
    for ty in ["TargetEvicted", "Failed"] {
        if let Some(condition) = condition(object, ty).filter(|_| is_true(object, ty)) {
            return format!("{ty} ({})", condition.str("reason"));
        }
    }
    if number(object, &["status", "observedGeneration"]) > 0 { "Progressing".into() } else { "Pending".into() }
}

/// What the responder that is at work says.
struct Responder {
    status: String,
    finish: String,
    heartbeat: String,
    message: String,
}

fn eviction(object: &Map, now: Now) -> Vec<Value> {
    let over = |responder: &&Map| matches!(responder.str("state"), "Canceled" | "Interrupted" | "Completed");
    let targets = || maps(object, &["status", "targetResponders"]);
    let active = targets().rfind(|responder| responder.str("state") == "Active");
    let counted = targets().filter(|responder| over(responder) || responder.str("state") == "Active").count();
    let shown = active.or_else(|| targets().rfind(over));
    let progress = format!("{} ({counted}/{})", shown.map_or(UNSET, |one| one.str("name")), targets().count());
    let responder = responder(object, shown, now);
    let [target, ty] = target(object);
    vec![
        name(object),
        target,
        ty,
        status(object).into(),
        progress.into(),
        responder.status.into(),
        responder.finish.into(),
        requesters(object).into(),
        now.age(object),
        responder.heartbeat.into(),
        responder.message.into(),
    ]
}

fn responder(object: &Map, shown: Option<&Map>, now: Now) -> Responder {
    let mut seen =
        Responder { status: UNSET.into(), finish: UNKNOWN.into(), heartbeat: UNSET.into(), message: UNSET.into() };
    let Some(shown) = shown else { return seen };
    let says = maps(object, &["status", "responders"]).find(|one| one.str("name") == shown.str("name"));
    let Some(says) = says else { return seen };
    let state = shown.str("state");
    let (started, finish, ended) =
        (says.str("startTime"), says.str("expectedCompletionTime"), says.str("completionTime"));
    seen.status = match state {
        "Active" if !started.is_empty() => format!("Started ({} ago)", now.since(started)),
        "Completed" if !ended.is_empty() => format!("{state} ({} ago)", now.since(ended)),
        _ => state.into(),
    };
    seen.finish = match state {
        "Active" if started.is_empty() || finish.is_empty() => UNKNOWN.into(),
        "Active" if now.is_before(finish) => format!("in {}", now.until(finish)),
        "Active" => format!("{} ago", now.since(finish)),
        _ => "-".into(),
    };
    if !says.str("heartbeatTime").is_empty() {
        seen.heartbeat = format!("{} ago", now.since(says.str("heartbeatTime")));
    }
    seen.message = text_or(says, &["message"], UNSET).trim().into();
    seen
}

fn requesters(object: &Map) -> String {
    let all = || maps(object, &["status", "requesters"]);
    let wanting = all().filter(|requester| requester.str("intent") != "Withdrawn");
    let mut wanting: Vec<String> = wanting.map(|requester| requester.str("name").to_string()).collect();
    wanting.sort_unstable();
    match (wanting.is_empty(), all().next()) {
        (false, _) => some_of(&wanting, 1),
        (true, Some(_)) => "<withdrawn>".into(),
        (true, None) => "<none>".into(),
    }
}

const EVICTION_REQUESTS: &[Column] = &[
    NAME,
    of("Target", "io.k8s.api.lifecycle.v1alpha1.EvictionRequestSpec", "target"),
    of("Target Type", "io.k8s.api.lifecycle.v1alpha1.EvictionRequestSpec", "target"),
    of("Status", "io.k8s.api.lifecycle.v1alpha1.EvictionRequestStatus", "conditions"),
    of("Requester", "io.k8s.api.lifecycle.v1alpha1.EvictionRequestSpec", "requester"),
    of("Intent", "io.k8s.api.lifecycle.v1alpha1.EvictionRequestSpec", "intent"),
    AGE,
];

const EVICTIONS: &[Column] = &[
    NAME,
    of("Target", "io.k8s.api.lifecycle.v1alpha1.EvictionSpec", "target"),
    of("Target Type", "io.k8s.api.lifecycle.v1alpha1.EvictionSpec", "target"),
    of("Status", "io.k8s.api.lifecycle.v1alpha1.EvictionStatus", "conditions"),
    of("Active Responder", "io.k8s.api.lifecycle.v1alpha1.TargetResponder", "state"),
    of("Responder Status", "io.k8s.api.lifecycle.v1alpha1.ResponderStatus", ""),
    of("Responder Expected Finish", "io.k8s.api.lifecycle.v1alpha1.ResponderStatus", "expectedCompletionTime"),
    of("Requesters", "io.k8s.api.lifecycle.v1alpha1.EvictionStatus", "requesters"),
    AGE,
    of("Responder Heartbeat", "io.k8s.api.lifecycle.v1alpha1.ResponderStatus", "heartbeatTime").wide(),
    of("Responder Status Message", "io.k8s.api.lifecycle.v1alpha1.ResponderStatus", "message").wide(),
];
