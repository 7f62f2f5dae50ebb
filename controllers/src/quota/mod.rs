//! resourcequota-controller: what a quota's namespace really uses
//! (pkg/controller/resourcequota/resource_quota_controller.go@v1.37.2).
//!
//! Admission raises a quota's usage as objects come; this controller computes it anew for new quotas, when objects go,
//! and every [`RESYNC`]. [`usage`] says what an object counts for, [`counts`] counts kinds of which only the number
//! matters.

mod amounts;
mod compute;
mod counts;
mod usage;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::controller::Again;
use client::informer::{Cache, Object};
use client::queue::Queue;
use k8s_openapi::api::core::v1::{
    ContainerStatus, PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaSpec, ResourceQuotaStatus, Service,
};
use k8s_openapi::api::resource::v1::ResourceClaim;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};

use self::amounts::{Amounts, add, number, parse, texts};
use self::counts::Counts;
use self::usage::{CLAIMS, DEVICE_CLAIMS, Kind, PODS, SERVICES};
use crate::Context;
use crate::error::{Error, Result};

const NAME: &str = "resourcequota-controller";
/// --concurrent-resource-quota-syncs
const WORKERS: usize = 5;
/// --resource-quota-sync-period: time alone can lower usage, as when a pod outstays its grace period.
const RESYNC: Duration = Duration::from_secs(5 * 60);
/// After new limits usage is computed once more: admission did not charge what came before it saw them.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) fn start(context: &Context) {
    let client = context.client(NAME);
    let (quotas, queue) = (context.informers.of::<ResourceQuota>(), Queue::new());
    let (from, to) = (quotas.clone(), queue.clone());
    let gone = move |kind: Kind<'_>, namespace: &str| replenish(&from, &to, kind, namespace);
    let all = Arc::new(Quotas {
        counts: Arc::new(Counts::new(client.clone(), context.tasks.clone(), Box::new(gone))),
        pods: context.informers.of(),
        services: context.informers.of(),
        claims: context.informers.of(),
        devices: context.informers.of(),
        definitions: context.informers.of(),
        client,
        quotas,
        queue,
    });
    let to = all.queue.clone();
    all.quotas.on_change(move |old, new| {
        let hard = |quota: &Arc<ResourceQuota>| parse(quota.spec.as_ref().and_then(|spec| spec.hard.as_ref()));
        if old.map(hard) != new.map(hard)
            && let Some(quota) = new.or(old)
        {
            to.add(Key::of(&**quota));
        }
    });
    all.follow(&all.pods, PODS, |old, new| pod_freed(old, new, Timestamp::now()));
    all.follow(&all.services, SERVICES, |old, new| exposed(old) != exposed(new));
    all.follow(&all.claims, CLAIMS, claim_changed);
    all.follow(&all.devices, DEVICE_CLAIMS, |_, _| false);
    let watch = all.clone();
    all.definitions.on_change(move |_, new| {
        watch.counts.forget_discovery();
        if let Some(definition) = new {
            let kind = Kind { group: &definition.spec.group, resource: &definition.spec.names.plural };
            watch.quotas.list().iter().filter(|quota| names(quota).any(|name| kind.counts(name))).for_each(|quota| {
                watch.queue.add(Key::of(&**quota));
            });
        }
    });
    let caches = (
        (all.quotas.clone(), all.pods.clone(), all.services.clone()),
        (all.claims.clone(), all.devices.clone(), all.definitions.clone()),
    );
    context.controller(NAME, all.queue.clone(), WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { all.sync(&key).await }
    });
}

/// The resource names that a quota bounds.
fn names(quota: &ResourceQuota) -> impl Iterator<Item = &str> {
    quota.spec.iter().flat_map(|spec| spec.hard.iter().flatten()).map(|(name, _)| name.as_str())
}

/// Enqueues the namespace's quotas that an object of this kind counts in.
fn replenish(quotas: &Cache<ResourceQuota>, queue: &Queue<Key>, kind: Kind<'_>, namespace: &str) {
    let quotas = quotas.list_namespace(namespace);
    let concerned = quotas.iter().filter(|quota| names(quota).any(|name| kind.counts(name)));
    concerned.for_each(|quota| queue.add(Key::of(&**quota)));
}

/// True when the change may lower what the pod uses, or move it to other scopes
/// (pkg/quota/v1/install/update_filter.go@v1.37.2).
fn pod_freed(old: &Pod, new: &Pod, now: Timestamp) -> bool {
    let statuses = |pod: &Pod| -> Vec<ContainerStatus> {
        let status = pod.status.iter();
        status.flat_map(|s| s.container_statuses.iter().chain(&s.init_container_statuses)).flatten().cloned().collect()
    };
    let after = statuses(new);
    let resized = statuses(old)
        .iter()
        .any(|before| after.iter().any(|after| after.name == before.name && after.resources != before.resources));
    resized
        || usage::is_terminating(old) != usage::is_terminating(new)
        || (usage::is_charged(old, now) && !usage::is_charged(new, now))
}

/// The type of a Service that counts for more than one.
fn exposed(service: &Service) -> Option<&str> {
    let kind = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
    kind.filter(|kind| matches!(*kind, "NodePort" | "LoadBalancer"))
}

fn claim_changed(old: &PersistentVolumeClaim, new: &PersistentVolumeClaim) -> bool {
    let allocated = |claim: &PersistentVolumeClaim| {
        parse(claim.status.as_ref().and_then(|status| status.allocated_resources.as_ref())).remove("storage")
    };
    allocated(old) != allocated(new) || usage::attributes_classes(old) != usage::attributes_classes(new)
}

/// The status to write, `None` when the quota says so already; `usage` has what could be computed.
fn plan(quota: &ResourceQuota, usage: Amounts) -> Option<ResourceQuotaStatus> {
    let hard = parse(quota.spec.as_ref().and_then(|spec| spec.hard.as_ref()));
    let status = quota.status.as_ref();
    let (old_hard, old_used) = (status.and_then(|s| s.hard.as_ref()), status.and_then(|s| s.used.as_ref()));
    let mut used = parse(old_used);
    used.extend(usage);
    used.retain(|name, _| hard.contains_key(name));
    let known = old_hard.is_some() && old_used.is_some();
    if known && parse(old_hard) == hard && parse(old_used) == used {
        return None;
    }
    Some(ResourceQuotaStatus { hard: Some(texts(&hard)), used: Some(texts(&used)) })
}

struct Quotas {
    client: Client,
    quotas: Cache<ResourceQuota>,
    pods: Cache<Pod>,
    services: Cache<Service>,
    claims: Cache<PersistentVolumeClaim>,
    devices: Cache<ResourceClaim>,
    definitions: Cache<CustomResourceDefinition>,
    counts: Arc<Counts>,
    queue: Queue<Key>,
}

impl Quotas {
    /// Looks at a namespace's quotas again when an object goes, or changes so that it may count less.
    fn follow<K: Object>(&self, cache: &Cache<K>, kind: Kind<'static>, freed: fn(&K, &K) -> bool) {
        let (quotas, queue) = (self.quotas.clone(), self.queue.clone());
        cache.on_change(move |old, new| {
            if let Some(old) = old
                && new.is_none_or(|new| freed(old, new))
            {
                replenish(&quotas, &queue, kind, old.meta().namespace.as_deref().unwrap_or(""));
            }
        });
    }

    async fn sync(&self, key: &Key) -> Result<Again> {
        self.counts.retain(&self.counted());
        let Some(quota) = self.quotas.by_key(key) else { return Ok(None) };
        let (usage, errors) = self.usage(&key.namespace, &quota).await;
        let mut again = RESYNC;
        if let Some(status) = plan(&quota, usage) {
            let before = quota.status.as_ref().and_then(|status| status.hard.as_ref());
            if parse(before) != parse(status.hard.as_ref()) {
                again = SETTLE;
            }
            let api: Api<ResourceQuota> = Api::namespaced(self.client.clone(), &key.namespace);
            let changed = ResourceQuota { status: Some(status), ..(*quota).clone() };
            api.replace_status(&key.name, &PostParams::default(), &changed).await?;
        }
        Error::all(errors).map(|()| Some(again))
    }

    /// The kinds that some quota counts one by one.
    fn counted(&self) -> HashSet<(String, String)> {
        let quotas = self.quotas.list();
        let kinds = quotas.iter().flat_map(|quota| names(quota)).filter_map(Kind::counted_by);
        kinds.filter(|kind| !kind.is_special()).map(|kind| (kind.group.into(), kind.resource.into())).collect()
    }

    /// What the namespace uses of each resource that the quota bounds; what fails is left out.
    async fn usage(&self, namespace: &str, quota: &ResourceQuota) -> (Amounts, Vec<Error>) {
        let Some(spec) = &quota.spec else { return (Amounts::new(), Vec::new()) };
        let mut total = Amounts::new();
        for name in names(quota) {
            if [PODS, SERVICES, CLAIMS, DEVICE_CLAIMS].iter().any(|kind| kind.counts(name)) {
                total.insert(name.into(), number(0));
            }
        }
        self.add_special(namespace, quota, spec, &mut total);
        let mut errors = Vec::new();
        for name in names(quota) {
            let Some(kind) = Kind::counted_by(name).filter(|kind| !kind.is_special()) else { continue };
            match self.counts.of(kind, namespace).await {
                Ok(Some(count)) => {
                    let count = if usage::is_unscoped(spec) { count } else { 0 };
                    total.insert(name.into(), number(count as i64));
                }
                Ok(None) if self.is_established(kind) => {
                    self.counts.forget_discovery();
                    errors.push(Error::other(format!("{name} is not in discovery yet")));
                }
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        total.retain(|name, _| names(quota).any(|bounded| bounded == name));
        (total, errors)
    }

    fn add_special(&self, namespace: &str, quota: &ResourceQuota, spec: &ResourceQuotaSpec, total: &mut Amounts) {
        let bounds = |kind: Kind<'_>| names(quota).any(|name| kind.counts(name));
        if bounds(PODS) {
            let now = Timestamp::now();
            let pods = self.pods.list_namespace(namespace);
            pods.iter().filter(|pod| usage::covers_pod(spec, pod)).for_each(|pod| add(total, &usage::pod(pod, now)));
        }
        if bounds(CLAIMS) {
            let claims = self.claims.list_namespace(namespace);
            let covered = claims.iter().filter(|claim| usage::covers_claim(spec, claim));
            covered.for_each(|claim| add(total, &usage::claim(claim)));
        }
        if bounds(SERVICES) && usage::is_unscoped(spec) {
            self.services.list_namespace(namespace).iter().for_each(|service| add(total, &usage::service(service)));
        }
        if bounds(DEVICE_CLAIMS) && usage::is_unscoped(spec) {
            self.devices.list_namespace(namespace).iter().for_each(|claim| add(total, &usage::devices(claim)));
        }
    }

    /// True for a custom kind that its definition says is served, though discovery does not show it yet.
    fn is_established(&self, kind: Kind<'_>) -> bool {
        let Some(definition) = self.definitions.get("", &format!("{}.{}", kind.resource, kind.group)) else {
            return false;
        };
        let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
        definition.metadata.deletion_timestamp.is_none()
            && definition.spec.scope == "Namespaced"
            && conditions.into_iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_status_is_written_when_it_changes() {
        let usage = |pairs: &[(&str, i64)]| -> Amounts {
            pairs.iter().map(|(name, count)| ((*name).to_owned(), number(*count))).collect()
        };
        let hard = json!({"pods": "5", "count/widgets.example.com": "1"});
        for (status, used, expected) in [
            (json!({}), usage(&[("pods", 0)]), Some(json!({"pods": "0"}))),
            (json!({"hard": hard, "used": {"pods": "1"}}), usage(&[("pods", 1)]), None),
            (json!({"hard": hard, "used": {"pods": "1"}}), usage(&[("pods", 2)]), Some(json!({"pods": "2"}))),
            (
                json!({"hard": {"pods": "5"}, "used": {"pods": "1", "old": "3"}}),
                usage(&[("pods", 1)]),
                Some(json!({"pods": "1"})),
            ),
            // What cannot be computed keeps what was seen.
            (
                json!({"hard": {}, "used": {"count/widgets.example.com": "1"}}),
                usage(&[("pods", 1)]),
                Some(json!({"pods": "1", "count/widgets.example.com": "1"})),
            ),
        ] {
            let quota: ResourceQuota =
                serde_json::from_value(json!({"spec": {"hard": hard}, "status": status})).expect("quota");
            let planned = plan(&quota, used).map(|status| serde_json::to_value(status.used).expect("used"));
            assert_eq!(planned, expected, "{status}");
        }
    }

    #[test]
    fn only_changes_that_free_something_count() {
        let pod = |value| -> Pod { serde_json::from_value(value).expect("pod") };
        let running = pod(json!({"status": {"phase": "Running"}}));
        let done = pod(json!({"status": {"phase": "Succeeded"}}));
        let bounded = pod(json!({"spec": {"activeDeadlineSeconds": 5, "containers": []}}));
        for (old, new, expected) in
            [(&running, &running, false), (&running, &done, true), (&done, &done, false), (&running, &bounded, true)]
        {
            assert_eq!(pod_freed(old, new, Timestamp::UNIX_EPOCH), expected, "{old:?} -> {new:?}");
        }
    }
}
