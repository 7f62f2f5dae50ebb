//! pods/eviction: a delete that disruption budgets allow (pkg/registry/core/pod/storage/eviction.go@v1.37.2).
//!
//! Invariant: a budget is charged by compare-and-set before the pod is deleted, so that two evictions
//! cannot spend one disruption.

use std::time::Duration;

use api::field::{self, Path};
use api::map;
use api::object::Meta;
use api::selector::labels::Selector;
use api::status::Status;
use api::value::{Map, Value};
use futures::future::BoxFuture;
use http::Response;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Incoming, Special};
use crate::admission::{Operation, Reader};
use crate::chain::Asked;
use crate::respond::{self, Body};
use crate::rest::delete::{IGNORE_READ_ERROR, Options};
use crate::rest::{Call, OPTIMISTIC_LOCK, metadata, options};

/// Attempts that meet conflicts, and the pause between them (EvictionsRetry).
const ATTEMPTS_MAX: usize = 20;
const PAUSE: Duration = Duration::from_millis(500);
/// Evictions that the controller has not noticed yet (MaxDisruptedPodSize).
const DISRUPTED_PODS_MAX: usize = 2000;
/// When a client may try again, in seconds.
const RETRY_AFTER_SECONDS: u32 = 10;
const CAUSE: &str = "DisruptionBudget";
const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

pub(crate) struct Eviction;

impl Special for Eviction {
    fn answer<'a>(
        &'a self,
        _: &'a Asked<'_>,
        call: &'a Call<'_>,
        incoming: Incoming<'a>,
    ) -> BoxFuture<'a, Result<Response<Body>, Status>> {
        Box::pin(async move {
            let mut eviction = call.body(incoming.body).await?;
            evict(call, &mut eviction).await?;
            let answer = map! { "kind" => "Status", "apiVersion" => "v1", "metadata" => Map::new(), "status" => "Success", "code" => 201i64 };
            Ok(respond::object(201, &answer, &call.accepted))
        })
    }
}

async fn evict(call: &Call<'_>, eviction: &mut Map) -> Result<(), Status> {
    let name = &call.info.name;
    let dry_run = options::dry_run(&call.info.query);
    metadata::match_namespace(eviction, &call.info.namespace)?;
    call.warn(metadata::drop_repeated_owners(eviction, false));
    if name != eviction.name() {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let wanted = delete_options(eviction, name, dry_run)?;
    call.admit(Operation::Create, name, Some(eviction), None, wanted.dry_run).await?;
    call.judge(Operation::Create, name, Some(eviction), None, wanted.dry_run).await?;
    let Some(pod) = delete_unguarded(call, &wanted).await? else { return Ok(()) };
    let budgets = budgets(call, &pod).await?;
    let budget = match budgets.as_slice() {
        [] => return delete(call, &wanted).await,
        [budget] => budget,
        _ => {
            let message =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status { code: 500, message: message.into(), ..Status::default() });
        }
    };
    if is_ready(&pod) || !may_go_unhealthy(budget) {
        charge(call, budget.name(), name, wanted.dry_run).await?;
        return delete(call, &wanted).await;
    }
    // It does not count while it is not ready, so it has to be the pod that was looked at.
    let exact = Options { resource_version: Some(pod.resource_version().into()), ..wanted.clone() };
    match delete(call, &exact).await {
        Err(status) if status.reason == "Conflict" && wanted.resource_version.is_none() => {
            Err(still_processed(budget.name()))
        }
        outcome => outcome,
    }
}

fn delete_options(eviction: &Map, name: &str, dry_run: bool) -> Result<Options, Status> {
    let Some(object) = eviction.map("deleteOptions") else { return Ok(Options { dry_run, ..Options::default() }) };
    if object.bool(IGNORE_READ_ERROR) == Some(true) {
        let path = Path::new("deleteOptions").child(IGNORE_READ_ERROR);
        let why = "can not be set for pod eviction, try after removing the option";
        return Err(Status::invalid("policy", "Eviction", name, &[field::invalid(&path, true, why)]));
    }
    let options = Options::of_object(object)?;
    Ok(Options { dry_run: options.dry_run || dry_run, ..options })
}

fn phase(pod: &Map) -> &str {
    pod.map("status").map_or("", |status| status.str("phase"))
}

/// Deletes a pod that no budget protects (any more); else gives it back.
async fn delete_unguarded(call: &Call<'_>, wanted: &Options) -> Result<Option<Map>, Status> {
    for _ in 0..ATTEMPTS_MAX {
        let pod = read(call).await?.0;
        let over = matches!(phase(&pod), "Succeeded" | "Failed") || pod.is_deleting();
        if !over && phase(&pod) != "Pending" {
            return Ok(Some(pod));
        }
        let mut options = wanted.clone();
        if !over && options.resource_version.is_none() {
            // It may become ready, and count, meanwhile.
            options.resource_version = Some(pod.resource_version().into());
        }
        match delete(call, &options).await {
            Err(status) if status.reason == "Conflict" && wanted.resource_version.is_none() => {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome.map(|()| None),
        }
    }
    Err(call.conflict(&call.info.name, OPTIMISTIC_LOCK))
}

async fn read(call: &Call<'_>) -> Result<(Map, u64), Status> {
    let storage = call.storage()?;
    let found = call.hub().read(storage, &call.info.namespace, &call.info.name).await?;
    let (stored, revision) = found.ok_or_else(|| call.not_found())?;
    Ok((call.entry.read(stored, call.hub()).await?, revision))
}

/// Budgets whose selector matches the pod.
async fn budgets(call: &Call<'_>, pod: &Map) -> Result<Vec<Map>, Status> {
    call.hub().fresh().await?;
    let all = call.hub().list("policy", "poddisruptionbudgets", &call.info.namespace);
    Ok(all.into_iter().filter(|budget| protects(budget, pod)).map(|budget| (*budget).clone()).collect())
}

fn protects(budget: &Map, pod: &Map) -> bool {
    let selector = budget.map("spec").and_then(|spec| spec.map("selector"));
    let selector = selector.map(api::view::of::<LabelSelector>).transpose();
    // An invalid selector matches nothing.
    let Ok(Ok(selector)) = selector.map(|selector| Selector::from_label_selector(selector.as_ref())) else {
        return false;
    };
    selector.matches(|name| pod.label(name))
}

fn is_ready(pod: &Map) -> bool {
    let mut conditions = pod.map("status").into_iter().flat_map(|status| status.maps("conditions"));
    conditions.any(|condition| condition.str("type") == "Ready" && condition.str("status") == "True")
}

fn may_go_unhealthy(budget: &Map) -> bool {
    let always = budget.map("spec").is_some_and(|spec| spec.str("unhealthyPodEvictionPolicy") == "AlwaysAllow");
    let (current, desired) = (count(budget, "currentHealthy"), count(budget, "desiredHealthy"));
    always || (current >= desired && desired > 0)
}

fn count(budget: &Map, name: &str) -> i64 {
    budget.map("status").and_then(|status| status.i64(name)).unwrap_or(0)
}

fn still_processed(budget: &str) -> Status {
    let text = format!("The disruption budget {budget} is still being processed by the server.");
    Status::too_many_requests(VIOLATES, RETRY_AFTER_SECONDS).with_cause(CAUSE, &text, "")
}

/// Takes one disruption from the budget.
async fn charge(call: &Call<'_>, budget: &str, pod: &str, dry_run: bool) -> Result<(), Status> {
    let hub = call.hub();
    let storage = hub.registry.storage_of("policy", "poddisruptionbudgets").ok_or_else(Status::no_such_path)?;
    for _ in 0..ATTEMPTS_MAX {
        let found = hub.read(&storage, &call.info.namespace, budget).await?;
        let (mut object, revision) =
            found.ok_or_else(|| Status::not_found("policy", "poddisruptionbudgets", budget))?;
        decrement(&mut object, pod, &call.now)?;
        if dry_run || hub.write(&storage, &call.info.namespace, budget, &object, revision, 0).await?.is_some() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Status::conflict("policy", "poddisruptionbudgets", budget, OPTIMISTIC_LOCK))
}

fn decrement(budget: &mut Map, pod: &str, now: &str) -> Result<(), Status> {
    check(budget)?;
    let allowed = count(budget, "disruptionsAllowed") - 1;
    let observed = count(budget, "observedGeneration");
    let status = budget.map_mut("status");
    status.set("disruptionsAllowed", allowed);
    if allowed == 0 {
        let mut condition = map! { "type" => "DisruptionAllowed", "status" => "False" };
        if observed > 0 {
            condition.set("observedGeneration", observed);
        }
        let conditions = status.list_mut("conditions");
        let mut all = conditions.iter_mut().filter_map(Value::as_map_mut);
        let old = all.find(|condition| condition.str("type") == "DisruptionAllowed");
        let since = match &old {
            Some(old) if old.str("status") == "False" => old.str("lastTransitionTime").to_string(),
            _ => now.to_string(),
        };
        condition.set("lastTransitionTime", since);
        condition.set("reason", "InsufficientPods");
        condition.set("message", "");
        match old {
            Some(old) => *old = condition,
            None => conditions.push(condition.into()),
        }
    }
    status.map_mut("disruptedPods").set(pod.to_owned(), now);
    Ok(())
}

/// The refusal of a budget that allows no disruption now (checkAndDecrement).
fn check(budget: &Map) -> Result<(), Status> {
    let name = budget.name();
    let refuse = |why: &str, text: String| {
        Err(Status::forbidden("policy", "poddisruptionbudget", name, why).with_cause(CAUSE, &text, ""))
    };
    if count(budget, "observedGeneration") < budget.generation() {
        return Err(still_processed(name));
    }
    let not_now = format!("The disruption budget {name} does not allow evicting pods currently");
    let allowed = count(budget, "disruptionsAllowed");
    if allowed < 0 {
        let why = "pdb disruptions allowed is negative";
        return refuse(why, format!("{not_now}: {why}"));
    }
    let pending = budget.map("status").and_then(|status| status.map("disruptedPods")).map_or(0, Map::len);
    if pending > DISRUPTED_PODS_MAX {
        return refuse(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
            format!("{not_now}: too many pending evictions not confirmed by PDB controller"),
        );
    }
    if allowed > 0 {
        return Ok(());
    }
    let mut conditions = budget.map("status").into_iter().flat_map(|status| status.maps("conditions"));
    let condition = conditions.find(|condition| condition.str("type") == "DisruptionAllowed");
    let told = condition.filter(|told| told.str("status") == "False" && !told.str("message").is_empty());
    let (current, desired) = (count(budget, "currentHealthy"), count(budget, "desiredHealthy"));
    let text = match told {
        Some(told) if told.str("reason") == "SyncFailed" => {
            format!("{not_now} because it failed sync: {}", told.str("message"))
        }
        _ if current <= desired => {
            format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently")
        }
        Some(told) => format!("{not_now} ({}): {}", told.str("reason"), told.str("message")),
        None => not_now,
    };
    Err(Status::too_many_requests(VIOLATES, 0).with_cause(CAUSE, &text, ""))
}

/// Says why the pod goes, and deletes it. Admission has judged the eviction already.
async fn delete(call: &Call<'_>, wanted: &Options) -> Result<(), Status> {
    let (namespace, name) = (&call.info.namespace, &call.info.name);
    let storage = call.storage()?;
    let mut options = wanted.clone();
    if !wanted.dry_run {
        let revision = mark(call, wanted).await?;
        if options.resource_version.is_some() {
            options.resource_version = Some(revision.to_string());
        }
    }
    for _ in 0..ATTEMPTS_MAX {
        let (pod, revision) = read(call).await?;
        call.check_delete(&pod, name, &options)?;
        if call.delete_once(storage, namespace, name, pod, revision, &options).await?.is_some() {
            return Ok(());
        }
    }
    Err(call.conflict(name, OPTIMISTIC_LOCK))
}

/// Writes the DisruptionTarget condition; gives the pod's new revision.
async fn mark(call: &Call<'_>, wanted: &Options) -> Result<u64, Status> {
    let (namespace, name) = (&call.info.namespace, &call.info.name);
    let storage = call.storage()?;
    for _ in 0..ATTEMPTS_MAX {
        let (mut pod, revision) = read(call).await?;
        check_preconditions(&pod, wanted)?;
        if !set_disruption_target(&mut pod, &call.now) {
            return Ok(revision);
        }
        let stored = call.entry.stored(&pod, call.hub()).await?;
        if let Some(revision) = call.hub().write(storage, namespace, name, &stored, revision, 0).await? {
            return Ok(revision);
        }
    }
    Err(call.conflict(name, OPTIMISTIC_LOCK))
}

fn check_preconditions(pod: &Map, wanted: &Options) -> Result<(), Status> {
    let conflict = |why: String| Err(Status::conflict("", "Pod", pod.name(), &why));
    let named = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(uid) = named(&wanted.uid).filter(|uid| uid != pod.uid()) {
        let has = pod.uid();
        return conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({has}). The object might have been deleted and then recreated"
        ));
    }
    if let Some(version) = named(&wanted.resource_version).filter(|version| version != pod.resource_version()) {
        let has = pod.resource_version();
        return conflict(format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({has}). The object might have been modified"
        ));
    }
    Ok(())
}

/// False when it is there already.
fn set_disruption_target(pod: &mut Map, now: &str) -> bool {
    let conditions = pod.map_mut("status").list_mut("conditions");
    let mut condition = map! {
        "type" => "DisruptionTarget",
        "status" => "True",
        "lastProbeTime" => Value::Null,
        "lastTransitionTime" => now,
        "reason" => "EvictionByEvictionAPI",
        "message" => "Eviction API: evicting",
    };
    let mut all = conditions.iter_mut().filter_map(Value::as_map_mut);
    match all.find(|condition| condition.str("type") == "DisruptionTarget") {
        Some(old) => {
            if old.str("status") == "True" {
                condition.set("lastTransitionTime", old.str("lastTransitionTime"));
            }
            let changed = *old != condition;
            *old = condition;
            changed
        }
        None => {
            conditions.push(condition.into());
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(generation: i64, status: Map) -> Map {
        map! { "metadata" => map! { "name" => "b", "generation" => generation }, "status" => status }
    }

    #[test]
    fn when_budgets_refuse() {
        let base = || map! { "observedGeneration" => 1i64, "currentHealthy" => 3i64, "desiredHealthy" => 2i64 };
        let with = |name: &'static str, value: i64| {
            let mut status = base();
            status.set(name, value);
            status
        };
        let told = |reason: &str| {
            let mut status = base();
            let condition =
                map! { "type" => "DisruptionAllowed", "status" => "False", "reason" => reason, "message" => "why" };
            status.set("conditions", vec![Value::Map(condition)]);
            status
        };
        let not_now = "The disruption budget b does not allow evicting pods currently";
        for (status, generation, code, cause) in [
            (with("disruptionsAllowed", 1), 1, 200, String::new()),
            (
                with("disruptionsAllowed", 1),
                2,
                429,
                "The disruption budget b is still being processed by the server.".into(),
            ),
            (with("disruptionsAllowed", -1), 1, 403, format!("{not_now}: pdb disruptions allowed is negative")),
            (base(), 1, 429, not_now.into()),
            (
                with("currentHealthy", 2),
                1,
                429,
                "The disruption budget b needs 2 healthy pods and has 2 currently".into(),
            ),
            (told("SyncFailed"), 1, 429, format!("{not_now} because it failed sync: why")),
            (told("Other"), 1, 429, format!("{not_now} (Other): why")),
        ] {
            let refused = check(&budget(generation, status)).err().unwrap_or(Status { code: 200, ..Status::default() });
            let found = refused.causes.first().map(|cause| cause.message.clone()).unwrap_or_default();
            assert_eq!((refused.code, found), (code, cause));
        }
    }

    #[test]
    fn the_last_disruption_is_told() {
        let status = map! { "observedGeneration" => 1i64, "disruptionsAllowed" => 2i64 };
        let mut object = budget(1, status);
        decrement(&mut object, "p", "t1").expect("allowed");
        assert!(object.map("status").expect("status").list("conditions").is_empty());
        decrement(&mut object, "q", "t2").expect("allowed");
        let status = object.map("status").expect("status");
        assert_eq!(status.i64("disruptionsAllowed"), Some(0));
        let condition = status.maps("conditions").next().expect("a condition");
        assert_eq!((condition.str("reason"), condition.str("lastTransitionTime")), ("InsufficientPods", "t2"));
        assert_eq!(status.map("disruptedPods").map(Map::len), Some(2));
        assert!(decrement(&mut object, "r", "t3").is_err());
    }

    #[test]
    fn who_is_protected() {
        let pod = map! { "metadata" => map! { "labels" => map! { "app" => "web" } } };
        let with = |selector: Option<Map>| {
            let mut spec = Map::new();
            selector.into_iter().for_each(|selector| spec.set("selector", selector));
            map! { "spec" => spec }
        };
        let labels = |value: &str| map! { "matchLabels" => map! { "app" => value } };
        assert!(protects(&with(Some(labels("web"))), &pod));
        assert!(!protects(&with(Some(labels("db"))), &pod));
        assert!(protects(&with(Some(Map::new())), &pod), "an empty selector matches everything");
        assert!(!protects(&with(None), &pod), "no selector matches nothing");
    }

    #[test]
    fn the_condition_is_written_once() {
        let mut pod = map! { "status" => Map::new() };
        assert!(set_disruption_target(&mut pod, "t1"));
        assert!(!set_disruption_target(&mut pod, "t2"));
        let condition = pod.map("status").expect("status").maps("conditions").next().expect("a condition");
        assert_eq!((condition.str("reason"), condition.str("lastTransitionTime")), ("EvictionByEvictionAPI", "t1"));
    }
}
