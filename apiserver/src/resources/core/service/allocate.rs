//! Cluster IPs and node ports, given to a Service while it is written and taken back when it goes
//! (pkg/registry/core/service/{storage/alloc.go,ipallocator/ipallocator.go,portallocator}@v1.37.2).
//!
//! Invariant: an address is held by creating the networking.k8s.io IPAddress of its name, a node port by a
//! compare-and-write of one set: nothing is given twice, however many servers allocate.

use std::net::IpAddr;

use api::field::{self, Path};
use api::map;
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};
use futures::future::BoxFuture;
use ipnet::IpNet;

use super::{has_cluster_ip, has_node_ports, needs_health_port, ports};
use crate::hub::Hub;
use crate::resources::{Side, Undo};

/// Random addresses tried before the range is searched from one end to the other.
const RANDOM_TRIES: usize = 16;
/// Addresses looked at in a search, so that a huge IPv6 range ends.
const SEARCH_MAX: usize = 1 << 16;

pub(crate) struct Allocator;

/// What this write took, and what it will leave behind.
#[derive(Default)]
struct Taken {
    ips: Vec<IpAddr>,
    ports: Vec<u16>,
    leave_ips: Vec<IpAddr>,
    leave_ports: Vec<u16>,
}

impl Side for Allocator {
    fn begin<'a>(
        &'a self,
        hub: &'a Hub,
        object: &'a mut Map,
        old: Option<&'a Map>,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Box<dyn Undo>, Status>> {
        Box::pin(async move {
            let mut taken = Taken::default();
            let outcome = allocate(hub, object, old, dry_run, &mut taken).await;
            if let Err(status) = outcome {
                give_back(hub, &taken.ips, &taken.ports).await;
                return Err(status);
            }
            let undo: Box<dyn Undo> = Box::new(taken);
            Ok(undo)
        })
    }

    fn after_delete<'a>(&'a self, hub: &'a Hub, object: &'a Map) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let spec = object.map("spec").unwrap_or(Map::EMPTY);
            give_back(hub, &ips_of(spec), &ports_of(spec)).await;
        })
    }
}

impl Undo for Taken {
    fn finish(self: Box<Self>, hub: &Hub, done: bool) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            match done {
                true => give_back(hub, &self.leave_ips, &self.leave_ports).await,
                false => give_back(hub, &self.ips, &self.ports).await,
            }
        })
    }
}

fn ips_of(spec: &Map) -> Vec<IpAddr> {
    if !has_cluster_ip(spec) {
        return Vec::new();
    }
    spec.list("clusterIPs").iter().filter_map(|ip| ip.as_str()?.parse().ok()).collect()
}

fn ports_of(spec: &Map) -> Vec<u16> {
    let ports = spec.maps("ports").filter_map(|port| port.i64("nodePort"));
    let health = spec.i64("healthCheckNodePort");
    let mut all: Vec<u16> =
        ports.chain(health).filter_map(|port| u16::try_from(port).ok()).filter(|port| *port != 0).collect();
    all.sort_unstable();
    all.dedup();
    all
}

async fn allocate(
    hub: &Hub,
    object: &mut Map,
    old: Option<&Map>,
    dry_run: bool,
    taken: &mut Taken,
) -> Result<(), Status> {
    let (namespace, name) = (object.namespace().to_string(), object.name().to_string());
    let empty = Map::new();
    let was = old.and_then(|old| old.map("spec")).unwrap_or(&empty).clone();
    let spec = object.map_mut("spec");
    let (had_ips, had_ports) = (ips_of(&was), ports_of(&was));
    if has_cluster_ip(spec) {
        cluster_ip(hub, spec, &had_ips, (&namespace, &name), dry_run, taken).await?;
    }
    node_ports(hub, spec, &had_ports, &name, dry_run, taken).await?;
    let (now_ips, now_ports) = (ips_of(spec), ports_of(spec));
    taken.leave_ips = had_ips.into_iter().filter(|ip| !now_ips.contains(ip)).collect();
    taken.leave_ports = had_ports.into_iter().filter(|port| !now_ports.contains(port)).collect();
    Ok(())
}

async fn cluster_ip(
    hub: &Hub,
    spec: &mut Map,
    had: &[IpAddr],
    owner: (&str, &str),
    dry_run: bool,
    taken: &mut Taken,
) -> Result<(), Status> {
    let Some(range) = hub.network.service_cidrs.first().copied() else { return Ok(()) };
    let asked = spec.str("clusterIP").to_string();
    if !asked.is_empty() {
        let ip: IpAddr = asked.parse().map_err(|_| refuse(owner.1, &asked, "must be a valid IP address"))?;
        if had.contains(&ip) {
            return Ok(());
        }
        if !range.contains(&ip) {
            return Err(refuse(
                owner.1,
                &asked,
                &format!(
                    "failed to allocate IP {ip}: the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
                ),
            ));
        }
        if dry_run || hold(hub, ip, owner).await? {
            taken.ips.extend((!dry_run).then_some(ip));
            return Ok(());
        }
        return Err(refuse(owner.1, &asked, &format!("failed to allocate IP {ip}: provided IP is already allocated")));
    }
    if dry_run {
        return Ok(());
    }
    let ip = free_ip(hub, range, owner).await?;
    taken.ips.push(ip);
    spec.set("clusterIP", ip.to_string());
    spec.set("clusterIPs", vec![Value::from(ip.to_string())]);
    Ok(())
}

fn refuse(name: &str, ip: &str, why: &str) -> Status {
    let path = Path::new("spec").child("clusterIPs");
    let shown = Value::List(vec![ip.into()]);
    Status::invalid("", "Service", name, &[field::invalid(&path, shown, why)])
}

/// The first and the number of addresses that may be given: neither the network's own, nor (IPv4) its broadcast.
fn usable(range: IpNet) -> (u128, u128) {
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    let (first, last) = (number(range.network()), number(range.broadcast()));
    let reserved = if range.addr().is_ipv4() { 1 } else { 0 };
    (first + 1, (last - first).saturating_sub(reserved))
}

fn address(range: IpNet, number: u128) -> IpAddr {
    match range {
        IpNet::V4(_) => IpAddr::from((number as u32).to_be_bytes()),
        IpNet::V6(_) => IpAddr::from(number.to_be_bytes()),
    }
}

/// The lower part of a range is kept for addresses that are asked for: min(max(16, size/16), 256) of them.
fn static_band(size: u128) -> u128 {
    let band = (size / 16).clamp(16, 256);
    if band >= size { 0 } else { band }
}

async fn free_ip(hub: &Hub, range: IpNet, owner: (&str, &str)) -> Result<IpAddr, Status> {
    let (first, size) = usable(range);
    let band = static_band(size);
    for _ in 0..RANDOM_TRIES {
        let ip = address(range, first + band + rand::random::<u128>() % (size - band).max(1));
        if hold(hub, ip, owner).await? {
            return Ok(ip);
        }
    }
    let upper = (band..size).chain(0..band).take(SEARCH_MAX);
    for at in upper {
        let ip = address(range, first + at);
        if hold(hub, ip, owner).await? {
            return Ok(ip);
        }
    }
    Err(Status::internal("failed to allocate a serviceIP: range is full"))
}

/// Creates the IPAddress of `ip`; false when somebody holds it.
async fn hold(hub: &Hub, ip: IpAddr, (namespace, name): (&str, &str)) -> Result<bool, Status> {
    let storage = hub.registry.storage_of("networking.k8s.io", "ipaddresses").ok_or_else(Status::no_such_path)?;
    let key = ip.to_string();
    if storage.cache.get(&key).is_some() {
        return Ok(false);
    }
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let labels = map! { "ipaddress.kubernetes.io/ip-family" => family, "ipaddress.kubernetes.io/managed-by" => "ipallocator.k8s.io" };
    let now = api::time::from_unix(jiff::Timestamp::now().as_second(), 0, false);
    let meta = map! { "name" => key.as_str(), "uid" => uuid::Uuid::new_v4().to_string(), "creationTimestamp" => now, "labels" => labels };
    let parent = map! { "resource" => "services", "namespace" => namespace, "name" => name };
    let object = map! { "metadata" => meta, "spec" => map! { "parentRef" => parent } };
    Ok(hub.write(storage, "", &key, &object, 0, 0).await?.is_some())
}

async fn node_ports(
    hub: &Hub,
    spec: &mut Map,
    had: &[u16],
    name: &str,
    dry_run: bool,
    taken: &mut Taken,
) -> Result<(), Status> {
    let wants_health = needs_health_port(spec) && spec.i64("healthCheckNodePort").unwrap_or(0) == 0;
    let missing = has_node_ports(spec) && spec.maps("ports").any(|port| port.i64("nodePort").unwrap_or(0) == 0);
    let asked: Vec<u16> = ports_of(spec).into_iter().filter(|port| !had.contains(port)).collect();
    if dry_run || (!wants_health && !missing && asked.is_empty()) {
        return Ok(());
    }
    let (spec_then, (first, last)) = (spec.clone(), hub.network.node_ports);
    let (changed, got) = ports::update(hub, move |bits| {
        let mut spec = spec_then.clone();
        let mut got = Vec::new();
        for port in &asked {
            claim(bits, *port, (first, last), name)?;
            got.push(*port);
        }
        if has_node_ports(&spec) {
            fill_ports(&mut spec, bits, (first, last), &mut got)?;
        }
        if wants_health {
            let port = free_port(bits, (first, last))?;
            got.push(port);
            spec.set("healthCheckNodePort", i64::from(port));
        }
        Ok((spec, got))
    })
    .await?;
    *spec = changed;
    taken.ports = got;
    Ok(())
}

/// Ports of one number in several protocols share the node port.
fn fill_ports(spec: &mut Map, bits: &mut ports::Bits, range: (u16, u16), got: &mut Vec<u16>) -> Result<(), Status> {
    let mut given: Vec<(i64, String, i64)> = spec
        .maps("ports")
        .filter_map(|port| {
            Some((port.i64("port")?, port.str("protocol").to_string(), port.i64("nodePort").filter(|n| *n != 0)?))
        })
        .collect();
    for port in spec.maps_mut("ports").filter(|port| port.i64("nodePort").unwrap_or(0) == 0) {
        let (number, protocol) = (port.i64("port").unwrap_or(0), port.str("protocol").to_string());
        let shared = given.iter().find(|entry| {
            entry.0 == number
                && entry.1 != protocol
                && !given.iter().any(|other| other.2 == entry.2 && other.1 == protocol)
        });
        let node_port = match shared {
            Some(entry) => entry.2,
            None => {
                let free = free_port(bits, range)?;
                got.push(free);
                i64::from(free)
            }
        };
        port.set("nodePort", node_port);
        given.push((number, protocol, node_port));
    }
    Ok(())
}

fn claim(bits: &mut ports::Bits, port: u16, (first, last): (u16, u16), name: &str) -> Result<(), Status> {
    let path = Path::new("spec").child("ports").index(0).child("nodePort");
    let refuse =
        |why: String| Err(Status::invalid("", "Service", name, &[field::invalid(&path, i64::from(port), why)]));
    if !(first..=last).contains(&port) {
        return refuse(format!("provided port is not in the valid range. The range of valid ports is {first}-{last}"));
    }
    let at = usize::from(port - first);
    if bits.get(at) {
        return refuse("provided port is already allocated".into());
    }
    bits.set(at, true);
    Ok(())
}

fn free_port(bits: &mut ports::Bits, (first, last): (u16, u16)) -> Result<u16, Status> {
    let size = usize::from(last - first) + 1;
    let from = rand::random::<u32>() as usize % size;
    let at = (0..size).map(|step| (from + step) % size).find(|at| !bits.get(*at));
    let at = at.ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))?;
    bits.set(at, true);
    Ok(first + at as u16)
}

async fn give_back(hub: &Hub, ips: &[IpAddr], node_ports: &[u16]) {
    if let Some(storage) = hub.registry.storage_of("networking.k8s.io", "ipaddresses") {
        for ip in ips {
            let key = ip.to_string();
            let removed = match hub.read(storage, "", &key).await {
                Ok(Some((_, revision))) => hub.remove(storage, "", &key, revision).await.map(drop),
                other => other.map(drop),
            };
            if let Err(status) = removed {
                tracing::warn!(%ip, %status, "cluster IP not released; the repair duty will");
            }
        }
    }
    let first = hub.network.node_ports.0;
    if node_ports.is_empty() {
        return;
    }
    let released = ports::update(hub, |bits| {
        for port in node_ports.iter().filter(|port| **port >= first) {
            bits.set(usize::from(port - first), false);
        }
        Ok(())
    });
    if let Err(status) = released.await {
        tracing::warn!(?node_ports, %status, "node ports not released");
    }
}
