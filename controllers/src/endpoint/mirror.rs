//! endpointslice-mirroring-controller: Endpoints that somebody wrote for a Service without a selector, as slices
//! (pkg/controller/endpointslicemirroring@v1.37.2).
//!
//! One slice for each address type and set of ports. [`plan`] decides; this file watches and writes too.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::events::Recorder;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};

use super::reconcile::{
    EndpointKey, MANAGED_BY, NAME_MAX, PortKey, SERVICE_NAME, endpoint_key, port_key, same_beyond_key,
};
use super::repack::{pack, unpack};
use super::slices::Written;
use crate::Context;
use crate::common::owner::controller_ref;
use crate::common::selector::Labels;
use crate::error::{Error, Result, is_namespace_terminating, is_not_found, text};

const NAME: &str = "endpointslice-mirroring-controller";
const ACCOUNT: &str = "endpointslicemirroring-controller";
const COMPONENT: &str = "endpoint-slice-mirroring-controller";
/// The value of [`MANAGED_BY`] on our slices.
const CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
/// --mirroring-concurrent-service-endpoint-syncs
const WORKERS: usize = 5;
/// --mirroring-max-endpoints-per-subset
const MAX_ENDPOINTS: usize = 1000;
/// Delays of a failing key.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(100));
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that are about the Endpoints object alone.
const NOT_COPIED: [&str; 2] =
    ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];
/// Index of our slices by `namespace/service`.
const BY_SERVICE: &str = "mirrored service";

pub(crate) fn start(context: &Context) {
    let client = context.client(ACCOUNT);
    let all = Arc::new(Mirror {
        recorder: context.recorder(client.clone(), COMPONENT),
        endpoints: context.informers.of(),
        services: context.informers.of(),
        slices: context.informers.of(),
        written: Written::default(),
        client,
    });
    all.slices.add_index(BY_SERVICE, |slice: &EndpointSlice| {
        service_of(slice).filter(|_| is_ours(slice)).map(|key| key.to_string()).into_iter().collect()
    });
    let queue: Queue<Key> = Queue::with_backoff(RETRY.0, RETRY.1);
    let to = queue.clone();
    all.endpoints.on_change(move |old, new| {
        if let Some(endpoints) = new.or(old).filter(|_| [old, new].into_iter().flatten().any(|one| is_mirrored(one))) {
            to.add(Key::of(&**endpoints));
        }
    });
    let to = queue.clone();
    all.services.on_change(move |old, new| {
        let selects = |service: &Arc<Service>| service.spec.as_ref().is_some_and(|spec| spec.selector.is_some());
        let concerned = match (old, new) {
            (Some(old), Some(new)) => selects(old) != selects(new),
            (one, other) => one.or(other).is_some_and(|service| !selects(service)),
        };
        if let Some(service) = new.or(old).filter(|_| concerned) {
            to.add(Key::of(&**service));
        }
    });
    let (to, watch) = (queue.clone(), all.clone());
    all.slices.on_change(move |old, new| {
        watch.on_slice(old.map(|slice| &**slice), new.map(|slice| &**slice)).into_iter().for_each(|key| to.add(key));
    });
    let caches = (all.endpoints.clone(), all.services.clone(), all.slices.clone());
    context.controller(NAME, queue, WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { all.sync(&key).await.map(|()| None) }
    });
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    let skipped = meta.labels.as_ref().and_then(|labels| labels.get(SKIP)).map(String::as_str) == Some("true");
    !skipped && !meta.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(LEADER))
}

fn label<'a>(slice: &'a EndpointSlice, name: &str) -> Option<&'a str> {
    slice.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

fn is_ours(slice: &EndpointSlice) -> bool {
    label(slice, MANAGED_BY) == Some(CONTROLLER)
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = label(slice, SERVICE_NAME).filter(|name| !name.is_empty())?;
    Some(Key::new(slice.metadata.namespace.clone()?, name))
}

/// What to write, and how many addresses were no IPs, or too many.
#[derive(Debug, Default)]
struct Plan {
    create: Vec<EndpointSlice>,
    update: Vec<EndpointSlice>,
    delete: Vec<EndpointSlice>,
    invalid: usize,
    skipped: usize,
}

/// Address type and ports.
type GroupKey = (&'static str, PortKey);

/// What one slice is to hold.
#[derive(Default)]
struct Group {
    ports: Vec<EndpointPort>,
    endpoints: BTreeMap<EndpointKey, Endpoint>,
}

/// Parses as Go's ParseIPSloppy: leading zeros are allowed, and an IPv4 address in IPv6 dress is IPv4.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let sloppy = || {
        let parts: Option<Vec<u8>> = text.split('.').map(|part| part.parse().ok()).collect();
        <[u8; 4]>::try_from(parts?).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets)))
    };
    text.parse().ok().or_else(sloppy).map(|ip: IpAddr| ip.to_canonical())
}

fn endpoint_of(address: &EndpointAddress, ip: IpAddr, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        ..Endpoint::default()
    }
}

fn ports_of(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let ports = subset.ports.iter().flatten().map(|port| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or("TCP".into())),
        app_protocol: port.app_protocol.clone(),
    });
    ports.collect()
}

/// The slices that the Endpoints mean.
fn desired(endpoints: &Endpoints, plan: &mut Plan) -> BTreeMap<GroupKey, Group> {
    let mut groups: BTreeMap<GroupKey, Group> = BTreeMap::new();
    for subset in pack(unpack(endpoints.subsets.as_deref().unwrap_or_default())) {
        let ports = ports_of(&subset);
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let mut added = 0;
        for (address, ready) in ready.chain(not_ready) {
            let Some(ip) = parse_ip(&address.ip).filter(|_| added < MAX_ENDPOINTS) else {
                plan.skipped += 1;
                plan.invalid += usize::from(added < MAX_ENDPOINTS);
                continue;
            };
            added += 1;
            let kind = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
            let group = groups.entry((kind, port_key(&ports))).or_default();
            group.ports.clone_from(&ports);
            let endpoint = endpoint_of(address, ip, ready);
            group.endpoints.insert(endpoint_key(&endpoint), endpoint);
        }
    }
    groups
}

fn annotations(endpoints: &Endpoints) -> Labels {
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| !NOT_COPIED.contains(&name.as_str()));
    annotations
}

fn make(endpoints: &Endpoints, kind: &str, group: Group, name: Option<String>) -> EndpointSlice {
    let service = endpoints.metadata.name.clone().unwrap_or_default();
    let prefix = format!("{service}-");
    let prefix = if prefix.len() > NAME_MAX { service.clone() } else { prefix };
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), service);
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: name.is_none().then_some(prefix),
            name,
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations(endpoints)),
            owner_references: Some(vec![controller_ref(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: kind.into(),
        endpoints: Some(group.endpoints.into_values().take(MAX_ENDPOINTS).collect()),
        ports: Some(group.ports),
    }
}

/// True when the slice is what [`make`] would make.
fn is_current(endpoints: &Endpoints, slice: &EndpointSlice, group: &Group) -> bool {
    let has: Vec<&Endpoint> = slice.endpoints.iter().flatten().collect();
    let wanted = |endpoint: &&Endpoint| {
        group.endpoints.get(&endpoint_key(endpoint)).is_some_and(|wanted| same_beyond_key(wanted, endpoint))
    };
    let mut labels = slice.metadata.labels.clone().unwrap_or_default();
    labels.retain(|name, _| name != MANAGED_BY && name != SERVICE_NAME);
    let owners = slice.metadata.owner_references.as_deref().unwrap_or_default();
    let replaced = owners.iter().any(|owner| {
        owner.kind == "Endpoints"
            && Some(&owner.name) == endpoints.metadata.name.as_ref()
            && Some(&owner.uid) != endpoints.metadata.uid.as_ref()
    });
    has.len() == group.endpoints.len()
        && has.iter().all(wanted)
        && labels == endpoints.metadata.labels.clone().unwrap_or_default()
        && slice.metadata.annotations.clone().unwrap_or_default() == annotations(endpoints)
        && !replaced
}

fn plan(endpoints: &Endpoints, existing: &[Arc<EndpointSlice>]) -> Plan {
    let mut plan = Plan::default();
    let mut groups = desired(endpoints, &mut plan);
    for slice in existing {
        let kind = if slice.address_type == "IPv6" { "IPv6" } else { "IPv4" };
        let key = (kind, port_key(slice.ports.as_deref().unwrap_or_default()));
        match groups.remove(&key) {
            Some(group) if is_current(endpoints, slice, &group) => {}
            Some(group) => plan.update.push(make(endpoints, kind, group, slice.metadata.name.clone())),
            None => plan.delete.push((**slice).clone()),
        }
    }
    for ((kind, _), group) in groups {
        // A slice that would go is written anew rather than deleted.
        let spare = plan.delete.iter().position(|slice| slice.address_type == kind);
        match spare.map(|place| plan.delete.remove(place)) {
            Some(spare) => plan.update.push(make(endpoints, kind, group, spare.metadata.name)),
            None => plan.create.push(make(endpoints, kind, group, None)),
        }
    }
    plan
}

struct Mirror {
    client: Client,
    recorder: Recorder,
    endpoints: Cache<Endpoints>,
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    written: Written,
}

impl Mirror {
    /// The Endpoints to look at because a slice changed.
    fn on_slice(&self, old: Option<&EndpointSlice>, new: Option<&EndpointSlice>) -> Vec<Key> {
        let (before, after) = (old.and_then(service_of), new.and_then(service_of));
        match (old, new) {
            (Some(old), None) => before.filter(|key| is_ours(old) && self.written.gone(key, old)).into_iter().collect(),
            (Some(_), Some(_)) if before != after => before.into_iter().chain(after).collect(),
            (Some(old), Some(new)) if is_ours(old) != is_ours(new) => after.into_iter().collect(),
            (_, Some(new)) if is_ours(new) => {
                after.filter(|key| self.written.is_foreign(key, new)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    async fn sync(&self, key: &Key) -> Result<()> {
        let service = self.services.by_key(key);
        let bare = service.is_some_and(|service| service.spec.as_ref().is_none_or(|spec| spec.selector.is_none()));
        let endpoints = self.endpoints.by_key(key).filter(|endpoints| bare && is_mirrored(endpoints));
        let mut slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let Some(endpoints) = endpoints else {
            self.written.forget(key);
            return self.delete(key, slices.iter().map(|slice| (**slice).clone()).collect(), false).await;
        };
        if self.written.is_stale(key, &slices) {
            return Err(Error::other("EndpointSlice informer cache is out of date"));
        }
        let plan = plan(&endpoints, &slices);
        if plan.invalid > 0 {
            let message = format!("Skipped {} invalid IP addresses when mirroring to EndpointSlices", plan.invalid);
            self.recorder.event(&*endpoints, "Warning", "InvalidIPAddress", message);
        }
        if plan.skipped > plan.invalid {
            let message = format!(
                "A max of {MAX_ENDPOINTS} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                plan.skipped
            );
            self.recorder.event(&*endpoints, "Warning", "TooManyAddressesToMirror", message);
        }
        self.execute(key, &endpoints, plan).await
    }

    async fn execute(&self, key: &Key, endpoints: &Endpoints, plan: Plan) -> Result<()> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        let creates = if endpoints.metadata.deletion_timestamp.is_none() { plan.create } else { Vec::new() };
        for slice in creates {
            match api.create(&PostParams::default(), &slice).await {
                Ok(created) => self.written.note(key, &created, false),
                Err(error) if is_namespace_terminating(&error) => return Ok(()),
                Err(error) => {
                    let why = text(&error);
                    return Err(Error::other(format!("failed to create EndpointSlice for Endpoints {key}: {why}")));
                }
            }
        }
        for slice in plan.update {
            let name = slice.metadata.name.clone().unwrap_or_default();
            match api.replace(&name, &PostParams::default(), &slice).await {
                Ok(updated) => self.written.note(key, &updated, false),
                Err(error) => {
                    let why = text(&error);
                    return Err(Error::other(format!(
                        "failed to update {name} EndpointSlice for Endpoints {key}: {why}"
                    )));
                }
            }
        }
        self.delete(key, plan.delete, true).await
    }

    async fn delete(&self, key: &Key, slices: Vec<EndpointSlice>, note: bool) -> Result<()> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        for slice in slices {
            let name = slice.metadata.name.clone().unwrap_or_default();
            match api.delete(&name, &DeleteParams::default()).await {
                Err(error) if !is_not_found(&error) => {
                    let why = text(&error);
                    return Err(Error::other(format!(
                        "failed to delete {name} EndpointSlice for Endpoints {key}: {why}"
                    )));
                }
                _ if note => self.written.note(key, &slice, true),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn endpoints(subsets: Value) -> Endpoints {
        serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "ns", "uid": "u", "labels": {"a": "b"},
            "annotations": {"keep": "1", "kubectl.kubernetes.io/last-applied-configuration": "{}"}}, "subsets": subsets}))
        .expect("endpoints")
    }

    fn shown(plan: &Plan) -> String {
        let slice = |what: &str, slice: &EndpointSlice| {
            let addresses: Vec<String> =
                slice.endpoints.iter().flatten().map(|endpoint| endpoint.addresses.join("+")).collect();
            format!("{what} {} {}", slice.address_type, addresses.join(" "))
        };
        let mut said: Vec<String> = plan.create.iter().map(|one| slice("create", one)).collect();
        said.extend(plan.update.iter().map(|one| slice("update", one)));
        said.extend(plan.delete.iter().map(|one| slice("delete", one)));
        if plan.skipped > 0 {
            said.push(format!("skipped {} invalid {}", plan.skipped, plan.invalid));
        }
        said.join(", ")
    }

    #[test]
    fn endpoints_become_slices_and_stay() {
        let both = json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "010.0.0.2"}, {"ip": "x"}],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]);
        let first = plan(&endpoints(both.clone()), &[]);
        assert_eq!(
            shown(&first),
            "create IPv4 10.0.0.2 10.0.0.1, create IPv6 fd00::1, skipped 1 invalid 1"
                .replace("10.0.0.2 10.0.0.1", "10.0.0.1 10.0.0.2")
        );
        let slice = &first.create[0];
        assert_eq!(slice.metadata.generate_name.as_deref(), Some("s-"));
        assert_eq!(slice.metadata.annotations, Some([("keep".to_owned(), "1".to_owned())].into()));
        let named = |name: &str, slice: &EndpointSlice| {
            let mut slice = slice.clone();
            slice.metadata.name = Some(name.into());
            Arc::new(slice)
        };
        let existing = [named("s-1", &first.create[0]), named("s-2", &first.create[1])];
        assert_eq!(shown(&plan(&endpoints(both), &existing)), "skipped 1 invalid 1");
        let fewer =
            json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]);
        assert_eq!(shown(&plan(&endpoints(fewer), &existing)), "update IPv4 10.0.0.1, delete IPv6 fd00::1");
        let port =
            json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "http", "port": 81, "protocol": "TCP"}]}]);
        assert_eq!(shown(&plan(&endpoints(port), &existing)), "update IPv4 10.0.0.1, delete IPv6 fd00::1");
        assert_eq!(
            shown(&plan(&endpoints(json!([])), &existing)),
            "delete IPv4 10.0.0.1 10.0.0.2, delete IPv6 fd00::1"
        );
    }

    #[test]
    fn what_is_mirrored() {
        let with = |meta: Value| -> Endpoints { serde_json::from_value(json!({"metadata": meta})).expect("endpoints") };
        assert!(is_mirrored(&with(json!({}))));
        assert!(!is_mirrored(&with(json!({"labels": {SKIP: "true"}}))));
        assert!(!is_mirrored(&with(json!({"annotations": {LEADER: "{}"}}))));
    }
}
