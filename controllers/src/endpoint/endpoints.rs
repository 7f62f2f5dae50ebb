//! endpoints-controller: one Endpoints object a Service
//! (pkg/controller/endpoint/endpoints_controller.go@v1.37.2).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use client::Key;
use client::events::Recorder;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;

use super::pods::{addresses, belongs, find_port, hostname, is_headless, selects, spec};
use super::repack::{Entry, pack, unpack};
use super::trigger::{ANNOTATION, Tracker};
use crate::Context;
use crate::common::pods::{is_ready, node_name};
use crate::common::selector::Labels;
use crate::error::{Error, Result, is_namespace_terminating, is_not_found, text};

const NAME: &str = "endpoints-controller";
const ACCOUNT: &str = "endpoint-controller";
/// --concurrent-endpoint-syncs
const WORKERS: usize = 5;
/// The most addresses in one Endpoints object.
const CAPACITY: usize = 1000;
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Endpoints that hold a leader election record are not ours to clean up.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

pub(crate) fn start(context: &Context) {
    let client = context.client(ACCOUNT);
    let all = Arc::new(Controller {
        recorder: context.recorder(client.clone(), ACCOUNT),
        services: context.informers.of::<Service>(),
        pods: context.informers.of::<Pod>(),
        endpoints: context.informers.of::<Endpoints>(),
        trigger: Tracker::default(),
        outdated: Mutex::default(),
        client,
    });
    let queue: Queue<Key> = Queue::new();
    super::follow(&all.services, &all.pods, &queue);
    let (to, seen) = (queue.clone(), all.endpoints.clone());
    all.endpoints.on_change(move |old, new| match (old, new) {
        (Some(old), None) => to.add(Key::of(&**old)),
        // Part of the first list: its Service may have gone while nobody watched. Later ones without a Service
        // are somebody's own.
        (None, Some(new))
            if !seen.is_synced() && !new.metadata.annotations.iter().flatten().any(|(key, _)| key == LEADER) =>
        {
            to.add(Key::of(&**new));
        }
        _ => {}
    });
    let caches = (all.services.clone(), all.pods.clone(), all.endpoints.clone());
    context.controller(NAME, queue, WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { all.sync(key).await.map(|()| None) }
    });
}

struct Controller {
    client: Client,
    recorder: Recorder,
    services: Cache<Service>,
    pods: Cache<Pod>,
    endpoints: Cache<Endpoints>,
    trigger: Tracker,
    /// resourceVersions that we have replaced; a cache that still shows one is behind.
    outdated: Mutex<HashMap<Key, Option<String>>>,
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<()> {
        let api: Api<Endpoints> = Api::namespaced(self.client.clone(), &key.namespace);
        let Some(service) = self.services.by_key(&key) else { return self.remove(&api, &key).await };
        let details = spec(&service);
        if details.type_.as_deref() == Some("ExternalName") || details.selector.is_none() {
            return Ok(());
        }
        let mut pods = self.pods.list_namespace(&key.namespace);
        pods.retain(|pod| selects(&service, pod));
        let current = self.endpoints.by_key(&key);
        if let Some(current) = &current
            && self.outdated.lock().get(&key) == Some(&current.metadata.resource_version)
        {
            return Err(Error::other(format!("endpoints informer cache is out of date for endpoints {key}")));
        }
        let changed_at = self.trigger.observe(&key, &service, &pods);
        let subsets = subsets_of(&service, &pods);
        let Some(new) = plan(&service, current.as_deref(), subsets, changed_at) else { return Ok(()) };
        self.write(&api, &key, current.as_deref(), new).await
    }

    async fn remove(&self, api: &Api<Endpoints>, key: &Key) -> Result<()> {
        self.trigger.forget(key);
        self.outdated.lock().remove(key);
        if self.endpoints.by_key(key).is_none() {
            return Ok(());
        }
        match api.delete(&key.name, &DeleteParams::default()).await {
            Err(error) if !is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn write(&self, api: &Api<Endpoints>, key: &Key, current: Option<&Endpoints>, new: Endpoints) -> Result<()> {
        let written = match current {
            Some(_) => api.replace(&key.name, &PostParams::default(), &new).await,
            None => api.create(&PostParams::default(), &new).await,
        };
        let error = match written {
            Ok(written) => {
                let before = current.map(|current| current.metadata.resource_version.clone());
                if let Some(before) = before.filter(|before| *before != written.metadata.resource_version) {
                    self.outdated.lock().insert(key.clone(), before);
                }
                return Ok(());
            }
            Err(error) if is_namespace_terminating(&error) => return Ok(()),
            Err(error) => error,
        };
        let (reason, message) = match current {
            None => {
                ("FailedToCreateEndpoint", format!("Failed to create endpoint for service {key}: {}", text(&error)))
            }
            Some(_) => ("FailedToUpdateEndpoint", format!("Failed to update endpoint {key}: {}", text(&error))),
        };
        self.recorder.event(&new, "Warning", reason, message);
        Err(error.into())
    }
}

/// The subsets that a Service's pods make.
fn subsets_of(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let details = spec(service);
    let publish = details.publish_not_ready_addresses == Some(true);
    let mut entries = Vec::new();
    for pod in pods.iter().filter(|pod| belongs(pod, publish)) {
        let Some(address) = address_of(service, pod) else { continue };
        let ready = publish || is_ready(pod);
        let ports = details.ports.as_deref().unwrap_or_default();
        if ports.is_empty() && details.cluster_ip.as_deref() == Some("None") {
            entries.push(Entry { address: address.clone(), port: None, ready });
        }
        for port in ports {
            let Some(number) = find_port(pod, port) else { continue };
            let port = EndpointPort {
                name: port.name.clone(),
                port: number,
                protocol: port.protocol.clone(),
                app_protocol: port.app_protocol.clone(),
            };
            entries.push(Entry { address: address.clone(), port: Some(port), ready });
        }
    }
    pack(entries)
}

/// The pod's address of the Service's first family.
fn address_of(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let details = spec(service);
    let family = details.ip_families.iter().flatten().next().map(|family| family == "IPv6");
    let cluster_ip = details.cluster_ip.filter(|ip| ip != "None").and_then(|ip| ip.parse::<IpAddr>().ok());
    let wants_v6 = family.or(cluster_ip.map(|ip| ip.is_ipv6()));
    let ip = match wants_v6 {
        Some(v6) => addresses(pod).find(|ip| ip.is_ipv6() == v6)?,
        None => addresses(pod).next()?,
    };
    Some(EndpointAddress {
        ip: ip.to_string(),
        node_name: Some(node_name(pod).to_owned()).filter(|name| !name.is_empty()),
        hostname: hostname(pod, service).map(Into::into),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    })
}

/// The Endpoints to write; `None` when what is there is right.
fn plan(
    service: &Service,
    current: Option<&Endpoints>,
    subsets: Vec<EndpointSubset>,
    changed_at: Option<Timestamp>,
) -> Option<Endpoints> {
    if let Some(current) = current
        && pack(unpack(current.subsets.as_deref().unwrap_or_default())) == subsets
        && labels_are_right(current.metadata.labels.as_ref(), service.metadata.labels.as_ref())
        && capacity_is_right(current)
    {
        return None;
    }
    let mut new = current.cloned().unwrap_or_default();
    new.metadata.name = service.metadata.name.clone();
    new.metadata.namespace = service.metadata.namespace.clone();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    if is_headless(&spec(service)) {
        labels.insert(HEADLESS.into(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    labels.insert(MANAGED_BY.into(), ACCOUNT.into());
    new.metadata.labels = Some(labels);
    let (subsets, truncated) = truncate(subsets);
    new.subsets = (!subsets.is_empty()).then_some(subsets);
    let annotations = new.metadata.annotations.get_or_insert_default();
    annotations.remove(ANNOTATION);
    annotations.remove(OVER_CAPACITY);
    annotations.extend(changed_at.map(|at| (ANNOTATION.into(), at.to_string())));
    if truncated {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    }
    Some(new)
}

fn labels_are_right(has: Option<&Labels>, service: Option<&Labels>) -> bool {
    let empty = Labels::new();
    let (has, service) = (has.unwrap_or(&empty), service.unwrap_or(&empty));
    let own = |key: &str| key == HEADLESS || key == MANAGED_BY;
    has.get(MANAGED_BY).map(String::as_str) == Some(ACCOUNT)
        && has.iter().filter(|(key, _)| !own(key)).eq(service.iter().filter(|(key, _)| !own(key)))
}

fn count(subsets: &[EndpointSubset]) -> (usize, usize) {
    let len = |all: &Option<Vec<EndpointAddress>>| all.as_ref().map_or(0, Vec::len);
    subsets
        .iter()
        .fold((0, 0), |(ready, not), subset| (ready + len(&subset.addresses), not + len(&subset.not_ready_addresses)))
}

fn capacity_is_right(current: &Endpoints) -> bool {
    let (ready, not_ready) = count(current.subsets.as_deref().unwrap_or_default());
    let marked = current.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(OVER_CAPACITY));
    ready + not_ready <= CAPACITY && !marked
}

/// Cuts to [`CAPACITY`] addresses, each subset in proportion, those not ready first.
fn truncate(mut subsets: Vec<EndpointSubset>) -> (Vec<EndpointSubset>, bool) {
    let (ready, not_ready) = count(&subsets);
    if ready + not_ready <= CAPACITY {
        return (subsets, false);
    }
    let cut_ready = ready > CAPACITY;
    let (max, total) = if cut_ready { (CAPACITY, ready) } else { (CAPACITY - ready, not_ready) };
    let mut left = max;
    for subset in &mut subsets {
        if cut_ready {
            subset.not_ready_addresses = None;
        }
        let addresses = if cut_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let size = addresses.as_ref().map_or(0, Vec::len);
        let share = (size * max).div_ceil(total).min(left);
        left -= share.min(size);
        if let Some(addresses) = addresses {
            addresses.truncate(share);
        }
    }
    (subsets, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> Service {
        serde_json::from_str(text).expect("service")
    }

    fn pod(name: &str, ip: &str, ready: &str) -> Arc<Pod> {
        let text = format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"ns","uid":"{name}"}},"spec":{{"nodeName":"n","hostname":"{name}","subdomain":"s","containers":[]}},
              "status":{{"podIPs":[{{"ip":"{ip}"}},{{"ip":"fd00::1"}}],"conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}"#
        );
        Arc::new(serde_json::from_str(&text).expect("pod"))
    }

    const SERVICE: &str = r#"{"metadata":{"name":"s","namespace":"ns","labels":{"a":"b"}},"spec":{"clusterIP":"10.0.0.9","ipFamilies":["IPv4"],"selector":{},"ports":[{"name":"http","port":80,"targetPort":8080,"protocol":"TCP"}]}}"#;

    #[test]
    fn what_is_written_is_stable() {
        let service = service(SERVICE);
        let pods = [pod("a", "10.1.0.1", "True"), pod("b", "10.1.0.2", "False")];
        let new = plan(&service, None, subsets_of(&service, &pods), Some(Timestamp::UNIX_EPOCH)).expect("new");
        let value = serde_json::to_value(&new).expect("json");
        assert_eq!(value["subsets"][0]["addresses"][0]["ip"], "10.1.0.1");
        assert_eq!(value["subsets"][0]["addresses"][0]["hostname"], "a");
        assert_eq!(value["subsets"][0]["notReadyAddresses"][0]["targetRef"]["name"], "b");
        assert_eq!(value["subsets"][0]["ports"][0]["port"], 8080);
        assert_eq!(value["metadata"]["labels"], serde_json::json!({"a": "b", MANAGED_BY: ACCOUNT}));
        assert_eq!(value["metadata"]["annotations"][ANNOTATION], "1970-01-01T00:00:00Z");
        assert!(plan(&service, Some(&new), subsets_of(&service, &pods), None).is_none());
        assert!(plan(&service, Some(&new), subsets_of(&service, &pods[..1]), None).is_some());
    }

    #[test]
    fn families_and_unready_pods() {
        let v6 = service(&SERVICE.replace("IPv4", "IPv6"));
        let subsets = subsets_of(&v6, &[pod("a", "10.1.0.1", "True")]);
        assert_eq!(subsets[0].addresses.as_ref().map(|all| all[0].ip.as_str()), Some("fd00::1"));
        let publishing = service(&SERVICE.replace(r#""selector""#, r#""publishNotReadyAddresses":true,"selector""#));
        let subsets = subsets_of(&publishing, &[pod("a", "10.1.0.1", "False")]);
        assert!(subsets[0].addresses.is_some() && subsets[0].not_ready_addresses.is_none());
        let bare = service(
            &SERVICE
                .replace("10.0.0.9", "None")
                .replace(r#"{"name":"http","port":80,"targetPort":8080,"protocol":"TCP"}"#, ""),
        );
        let subsets = subsets_of(&bare, &[pod("a", "10.1.0.1", "True")]);
        assert_eq!((subsets.len(), subsets[0].ports.is_none()), (1, true), "headless without ports");
    }

    #[test]
    fn more_than_the_capacity_is_cut() {
        let addresses = |count: usize| {
            Some(
                (0..count)
                    .map(|n| EndpointAddress { ip: n.to_string(), ..EndpointAddress::default() })
                    .collect::<Vec<_>>(),
            )
        };
        for (ready, not_ready, expected) in [(900, 200, (900, 100)), (1100, 50, (1000, 0)), (600, 400, (600, 400))] {
            let subset =
                EndpointSubset { addresses: addresses(ready), not_ready_addresses: addresses(not_ready), ports: None };
            let (cut, truncated) = truncate(vec![subset]);
            assert_eq!(count(&cut), expected);
            assert_eq!(truncated, ready + not_ready > CAPACITY);
        }
    }
}
