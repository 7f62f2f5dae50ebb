//! Deletes what a namespace holds, kind by kind from discovery: pods first, then the rest
//! (pkg/controller/namespace/deletion/namespaced_resources_deleter.go@v1.37.2).

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, ObjectList, PartialObjectMeta};
use kube::core::DynamicObject;
use kube::{Api, Client};

use super::conditions::Findings;
use crate::common::discovery::{Discovered, Served, discover};
use crate::common::pods;
use crate::error::{Error, Result, is_method_not_supported, is_not_found};

/// How long content that waits for finalizers is given, in seconds.
const FINALIZER_ESTIMATE: i64 = 15;
/// Kinds worked on at the same time.
const CONCURRENT_KINDS: usize = 8;

type Metadata = PartialObjectMeta<DynamicObject>;

/// The state of a namespace's content after a pass.
pub(super) struct Outcome {
    pub(super) findings: Findings,
    /// Seconds until the rest may be gone; 0 when nothing is known to be left.
    pub(super) estimate: i64,
    /// Set when the pass failed and is to be retried.
    pub(super) error: Option<Error>,
}

/// What is left of one kind.
#[derive(Default)]
struct Left {
    estimate: i64,
    count: usize,
    finalizers: Vec<String>,
}

/// One pass over all content.
pub(super) async fn delete_all(client: &Client, namespace: &Namespace) -> Outcome {
    let mut pass = Pass { findings: Findings::default(), estimate: 0, errors: Vec::new() };
    let name = namespace.metadata.name.as_deref().unwrap_or("");
    let found = match discover(client).await {
        Ok(found) => found,
        Err(error) => {
            pass.findings.discovery = Some((0, error.to_string()));
            pass.errors.push(error);
            Discovered::default()
        }
    };
    if let Some(failure) = found.failure() {
        pass.findings.discovery = Some((found.stale.len(), failure.clone()));
        pass.errors.push(Error::Other(failure));
    }
    let kinds = found.preferred().into_iter().filter(|kind| kind.namespaced && kind.supports(&["delete"]));
    let (pods, others): (Vec<Served>, Vec<Served>) =
        kinds.cloned().partition(|kind| kind.api.group.is_empty() && kind.api.plural == "pods");
    for kind in pods {
        let left = delete_pods(client, &kind, namespace, name).await;
        let failure =
            left.as_ref().err().map(|error| format!("failed to delete pods for namespace: {name}, err: {error}"));
        if pass.take(&kind, left, failure) > 0 {
            // The rest must outlive the pods, which may use it. Upstream reports no totals here either.
            let (errors, discovery) = (std::mem::take(&mut pass.findings.errors), pass.findings.discovery.take());
            pass.findings = Findings { errors, discovery, ..Findings::default() };
            return pass.finish();
        }
    }
    let mut work = stream::iter(others)
        .map(|kind| async move {
            let left = delete_kind(client, &kind, name, 0).await;
            (kind, left)
        })
        .buffer_unordered(CONCURRENT_KINDS);
    while let Some((kind, left)) = work.next().await {
        pass.take(&kind, left, None);
    }
    drop(work);
    pass.finish()
}

struct Pass {
    findings: Findings,
    estimate: i64,
    errors: Vec<Error>,
}

impl Pass {
    /// Adds what is left of a kind; returns how many objects that is.
    fn take(&mut self, kind: &Served, left: std::result::Result<Left, Failed>, failure: Option<String>) -> usize {
        let left = match left {
            Ok(left) => left,
            Err(Failed { left, error }) => {
                self.findings.errors.push(error.to_string());
                self.errors.push(failure.map_or(error, Error::Other));
                left
            }
        };
        self.estimate = self.estimate.max(left.estimate);
        if left.count > 0 {
            self.findings.remaining.insert(format!("{}.{}", kind.api.plural, kind.api.group), left.count);
            for finalizer in left.finalizers {
                *self.findings.finalizers.entry(finalizer).or_default() += 1;
            }
        }
        left.count
    }

    fn finish(self) -> Outcome {
        Outcome { findings: self.findings, estimate: self.estimate, error: Error::all(self.errors).err() }
    }
}

/// An error, and what was known when it came.
struct Failed {
    left: Left,
    error: Error,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

async fn delete_pods(
    client: &Client,
    kind: &Served,
    namespace: &Namespace,
    name: &str,
) -> std::result::Result<Left, Failed> {
    let api: Api<Pod> = Api::namespaced(client.clone(), name);
    let list = api.list(&ListParams::default()).await.map_err(|error| fail(Left::default(), error.into()))?;
    let deleted = namespace.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let estimate = grace(&list.items, deleted, Timestamp::now());
    delete_kind(client, kind, name, estimate).await
}

fn fail(left: Left, error: Error) -> Failed {
    Failed { left, error }
}

/// The longest grace period of the pods that run; 0 when it has passed since the namespace was deleted.
fn grace(pods: &[Pod], deleted: Option<Timestamp>, now: Timestamp) -> i64 {
    let running = pods.iter().filter(|pod| !pods::is_terminal(pod));
    let longest = running.filter_map(|pod| pod.spec.as_ref()?.termination_grace_period_seconds).max().unwrap_or(0);
    let since = deleted.map_or(0, |deleted| now.duration_since(deleted).as_secs());
    if since >= longest { 0 } else { longest }
}

async fn delete_kind(
    client: &Client,
    kind: &Served,
    namespace: &str,
    estimate: i64,
) -> std::result::Result<Left, Failed> {
    let unknown = || Left { estimate, ..Left::default() };
    let api: Api<Metadata> = Api::namespaced_with(client.clone(), namespace, &kind.api);
    // Most kinds have nothing: one read instead of a delete and a read.
    let before = list(&api, kind).await.map_err(|error| fail(unknown(), error))?;
    if before.as_ref().is_some_and(|list| list.items.is_empty()) {
        return Ok(Left::default());
    }
    delete_collection(&api, kind, before).await.map_err(|error| fail(unknown(), error))?;
    let Some(list) = list(&api, kind).await.map_err(|error| fail(unknown(), error))? else { return Ok(unknown()) };
    let left = count_left(&list.items, estimate);
    if left.count > 0 && left.estimate == 0 {
        let text = format!("unexpected items still remain in namespace: {namespace} for gvr: {}", kind.gvr());
        return Err(fail(left, Error::Other(text)));
    }
    Ok(left)
}

fn count_left(items: &[Metadata], estimate: i64) -> Left {
    let finalizers: Vec<String> =
        items.iter().flat_map(|item| item.metadata.finalizers.iter().flatten()).cloned().collect();
    let estimate = match (items.is_empty(), estimate) {
        (true, _) => 0,
        (false, 0) if !finalizers.is_empty() => FINALIZER_ESTIMATE,
        (false, estimate) => estimate,
    };
    Left { estimate, count: items.len(), finalizers }
}

/// `None` when the kind cannot be listed.
async fn list(api: &Api<Metadata>, kind: &Served) -> Result<Option<ObjectList<Metadata>>> {
    if !kind.supports(&["list"]) {
        return Ok(None);
    }
    match api.list(&ListParams::default()).await {
        Ok(list) => Ok(Some(list)),
        Err(error) if is_method_not_supported(&error) || is_not_found(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Deletes all objects at once where the kind allows it, else those of `known` one by one.
async fn delete_collection(api: &Api<Metadata>, kind: &Served, known: Option<ObjectList<Metadata>>) -> Result<()> {
    let params = DeleteParams::background();
    if kind.supports(&["deletecollection"]) {
        match api.delete_collection(&params, &ListParams::default()).await {
            Ok(_) => return Ok(()),
            Err(error) if is_method_not_supported(&error) || is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for item in known.iter().flat_map(|list| &list.items) {
        match api.delete(item.metadata.name.as_deref().unwrap_or(""), &params).await {
            Err(error) if !is_not_found(&error) && !is_method_not_supported(&error) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_periods_count_from_the_namespaces_deletion() {
        let pod = |phase: &str, grace: i64| -> Pod {
            serde_json::from_value(serde_json::json!({"spec": {"containers": [], "terminationGracePeriodSeconds": grace}, "status": {"phase": phase}}))
                .expect("pod")
        };
        let pods = [pod("Running", 30), pod("Failed", 600), pod("Pending", 5)];
        let at = |text: &str| text.parse::<Timestamp>().expect("time");
        let deleted = Some(at("2026-01-01T00:00:00Z"));
        assert_eq!(grace(&pods, deleted, at("2026-01-01T00:00:29Z")), 30);
        assert_eq!(grace(&pods, deleted, at("2026-01-01T00:00:30Z")), 0);
        assert_eq!(grace(&[], deleted, at("2026-01-01T00:00:00Z")), 0);
    }

    #[test]
    fn what_waits_for_finalizers_is_given_time() {
        let item = |finalizers: &[&str]| -> Metadata {
            serde_json::from_value(serde_json::json!({"metadata": {"finalizers": finalizers}})).expect("item")
        };
        for (items, estimate, expected) in [
            (vec![], 30, (0, 0)),
            (vec![item(&[])], 30, (1, 30)),
            (vec![item(&["a"]), item(&[])], 0, (2, FINALIZER_ESTIMATE)),
            (vec![item(&[])], 0, (1, 0)),
        ] {
            let left = count_left(&items, estimate);
            assert_eq!((left.count, left.estimate), expected);
        }
    }
}
