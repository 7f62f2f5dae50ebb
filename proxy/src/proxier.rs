//! The sync loop of one IP family.
//!
//! Invariant: a first change is programmed at once, further ones at most once a minSyncPeriod
//! (pkg/proxy/runner/bounded_frequency_runner.go@v1.37.2); a failed sync is tried again after
//! syncPeriod. Nothing is written before Services and EndpointSlices are known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use client::Key;
use client::events::Recorder;
use client::informer::Cache;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;

use crate::apply::Nft;
use crate::config::Config;
use crate::conntrack::{Frontends, clean_stale};
use crate::endpoint::endpoints_of;
use crate::engine::{Engine, Synced};
use crate::family::{Family, parse_cidr};
use crate::health::ProxyHealth;
use crate::metrics::Metrics;
use crate::netns::interface_ips;
use crate::node::{NodeFacts, local_detector, node_port_ips};
use crate::pending::{Changes, Pending};
use crate::render::Context;
use crate::service::ports_of;
use crate::service_health::ServiceHealth;

/// The index of EndpointSlices by `namespace/service`.
pub(crate) const BY_SERVICE: &str = "service";

/// The caches that the rules are made from.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub(crate) services: Cache<Service>,
    pub(crate) slices: Cache<EndpointSlice>,
    pub(crate) nodes: Cache<Node>,
    pub(crate) cidrs: Cache<ServiceCIDR>,
}

/// What the loops of both families share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) inputs: Inputs,
    pub(crate) nft: Nft,
    pub(crate) metrics: Metrics,
    pub(crate) health: Arc<ProxyHealth>,
    pub(crate) recorder: Recorder,
}

impl Shared {
    fn node_facts(&self) -> NodeFacts {
        let node = self.inputs.nodes.get("", &self.config.node_name);
        NodeFacts::of(node.as_deref(), &self.config)
    }
}

pub(crate) struct Proxier {
    shared: Shared,
    pending: Arc<Pending>,
    service_health: ServiceHealth,
    /// True while flows of UDP endpoints that changed may still be in the kernel's table.
    conntrack_due: bool,
}

impl Proxier {
    pub(crate) fn new(shared: Shared, pending: Arc<Pending>, service_health: ServiceHealth) -> Self {
        Proxier { shared, pending, service_health, conntrack_due: false }
    }

    /// Never ends.
    pub(crate) async fn run(mut self) {
        let family = self.pending.family;
        self.shared.health.updated(family, Timestamp::now());
        let inputs = self.shared.inputs.clone();
        tokio::join!(inputs.services.synced(), inputs.slices.synced(), inputs.nodes.synced(), inputs.cidrs.synced());
        let mut engine = Engine::new(self.context());
        loop {
            let retry = match self.sync(&mut engine).await {
                Ok(()) => None,
                Err(error) => {
                    self.shared.metrics.sync_failures_total.with_label_values(&[family.name()]).inc();
                    let period = self.shared.config.sync_period;
                    tracing::error!(%family, %error, retry = ?period, "nftables sync failed");
                    Some(Instant::now() + period)
                }
            };
            tokio::time::sleep(self.shared.config.min_sync_period).await;
            self.wait(retry.or(engine.next_due())).await;
        }
    }

    async fn wait(&self, due: Option<Instant>) {
        match due {
            Some(due) => {
                // Running out of time is as good a reason to go on as a change.
                let _ = tokio::time::timeout_at(due.into(), self.pending.woken()).await;
            }
            None => self.pending.woken().await,
        }
    }

    async fn sync(&mut self, engine: &mut Engine) -> Result<(), crate::Error> {
        let family = self.pending.family;
        let (start, label) = (Instant::now(), family.name());
        let changes = self.pending.take();
        if changes.table_touched {
            engine.forget_applied();
        }
        if engine.is_full_due(start) || self.facts_changed(engine) {
            engine.set_context(self.context());
        }
        self.conntrack_due |= self.update(engine, &changes);
        let result = engine.sync(&self.shared.nft, start).await;
        let metrics = &self.shared.metrics;
        let seconds = start.elapsed().as_secs_f64();
        metrics.sync_seconds.with_label_values(&[label]).observe(seconds);
        let full = result.as_ref().map_or(true, |synced| synced.full);
        let of_kind = if full { &metrics.full_sync_seconds } else { &metrics.partial_sync_seconds };
        of_kind.with_label_values(&[label]).observe(seconds);
        self.succeeded(engine, result?, changes);
        if std::mem::take(&mut self.conntrack_due) {
            self.clean_conntrack(engine).await;
        }
        Ok(())
    }

    /// Brings the dirty Services up to date from the caches.
    fn update(&self, engine: &mut Engine, changes: &Changes) -> bool {
        let (inputs, family) = (&self.shared.inputs, self.pending.family);
        let mut udp_changed = false;
        for key in &changes.services {
            let service = inputs.services.by_key(key);
            let ports = service.map(|service| ports_of(&service, family)).unwrap_or_default();
            let mut slices = inputs.slices.by_index(BY_SERVICE, &key.to_string());
            slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
            let of = (key.namespace.as_str(), key.name.as_str());
            let endpoints = endpoints_of(of, &slices, family, &self.shared.config.node_name);
            udp_changed |= engine.set_service(of, ports, endpoints);
        }
        udp_changed
    }

    fn succeeded(&mut self, engine: &Engine, synced: Synced, changes: Changes) {
        let Shared { metrics, health, .. } = &self.shared;
        let (family, label, now) = (self.pending.family, self.pending.family.name(), Timestamp::now());
        health.updated(family, now);
        metrics.last_timestamp.with_label_values(&[label]).set(now.as_duration().as_secs_f64());
        if synced.cleanup_failed {
            metrics.cleanup_failures_total.with_label_values(&[label]).inc();
        }
        for time in changes.trigger_times.into_values().flatten() {
            let latency = now.duration_since(time).as_secs_f64();
            metrics.network_programming_seconds.with_label_values(&[label]).observe(latency);
        }
        let (internal, external) = engine.without_local_endpoints();
        metrics.no_local_endpoints.with_label_values(&["internal", label]).set(internal as f64);
        metrics.no_local_endpoints.with_label_values(&["external", label]).set(external as f64);
        let (shared, family) = (self.shared.clone(), self.pending.family);
        for refused in self.service_health.sync(engine.maps(), || health_addresses(&shared, family)) {
            let (node, Key { namespace, name }) = (&self.shared.config.node_name, &refused.service);
            let (port, error) = (refused.port, refused.error);
            let message =
                format!("node {node} failed to start healthcheck \"{namespace}/{name}\" on port {port}: {error}");
            tracing::error!("{message}");
            let about = service_reference(namespace, name);
            self.shared.recorder.about(about, "Warning", "FailedToStartServiceHealthcheck", message);
        }
    }

    async fn clean_conntrack(&self, engine: &Engine) {
        let (family, label, start) = (self.pending.family, self.pending.family.name(), Instant::now());
        let (frontends, netns) = (Frontends::of(engine.maps()), self.shared.config.netns.clone());
        let cleaned = tokio::task::spawn_blocking(move || clean_stale(family, &frontends, netns.as_deref())).await;
        match cleaned {
            Ok(Ok(deleted)) => {
                let metrics = &self.shared.metrics;
                metrics.conntrack_seconds.with_label_values(&[label]).observe(start.elapsed().as_secs_f64());
                metrics.conntrack_deleted_total.with_label_values(&[label]).inc_by(deleted as u64);
            }
            Ok(Err(error)) => tracing::error!(%family, %error, "failed to clear conntrack entries"),
            Err(error) => tracing::error!(%family, %error, "clearing conntrack entries panicked"),
        }
    }

    /// True if what the context is made from is no longer what it was; the addresses of interfaces
    /// are only looked at in a full sync, as upstream does.
    fn facts_changed(&self, engine: &Engine) -> bool {
        let node = self.shared.node_facts();
        let context = engine.context();
        node.ip(context.family) != context.node_ip
            || node.zone != context.zone
            || self.service_cidrs() != context.service_cidrs
            || local_detector(&self.shared.config, &node, context.family) != context.local
    }

    fn context(&self) -> Context {
        let (config, family, node) = (&self.shared.config, self.pending.family, self.shared.node_facts());
        let interface_ips = interface_ips(config.netns.clone()).unwrap_or_else(|error| {
            tracing::error!(%error, "failed to get node ip addresses, services with nodeport may not work as intended");
            Vec::new()
        });
        Context {
            family,
            table: config.table.clone(),
            node: config.node_name.clone(),
            node_ip: node.ip(family),
            zone: node.zone.clone(),
            local: local_detector(config, &node, family),
            masquerade_all: config.masquerade_all,
            masquerade_mark: config.masquerade_mark(),
            node_port_ips: node_port_ips(config, &node, family, &interface_ips),
            service_cidrs: self.service_cidrs(),
        }
    }

    fn service_cidrs(&self) -> Vec<String> {
        let of_family = |text: &str| parse_cidr(text).filter(|cidr| Family::of_net(cidr) == self.pending.family);
        let specs = self.shared.inputs.cidrs.list().into_iter().filter_map(|cidr| cidr.spec.clone());
        let mut cidrs: Vec<String> = specs
            .flat_map(|spec| spec.cidrs.unwrap_or_default())
            .filter_map(|text| of_family(&text))
            .map(|cidr| cidr.to_string())
            .collect();
        cidrs.sort();
        cidrs.dedup();
        cidrs
    }
}

/// Where the health ports of Services listen: where node ports are accepted.
fn health_addresses(shared: &Shared, family: Family) -> Vec<IpAddr> {
    let any = match family {
        Family::IPv4 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Family::IPv6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let accepting = match interface_ips(shared.config.netns.clone()) {
        Ok(ips) => node_port_ips(&shared.config, &shared.node_facts(), family, &ips),
        Err(_) => None,
    };
    accepting.unwrap_or_else(|| vec![any])
}

fn service_reference(namespace: &str, name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Service".into()),
        namespace: Some(namespace.into()),
        name: Some(name.into()),
        ..ObjectReference::default()
    }
}
