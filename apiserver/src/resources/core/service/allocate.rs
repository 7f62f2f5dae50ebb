//! Cluster IPs and node ports, given to a Service while it is written and taken back when it goes
//! (pkg/registry/core/service/storage/{storage,alloc,transaction}.go@v1.37.2).
//!
//! Invariant: what a write that fails took is given back; what a write that succeeds left is released after it.

use std::net::IpAddr;

use api::field::{self, Path};
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};
use futures::future::BoxFuture;

use super::ips::Refused;
use super::{families, ips, ports, spec_of};
use super::{is_headless, keep_allocated, may_have_node_ports, needs_cluster_ip, needs_health_port};
use super::{node_port, normalize_ips, set_texts, texts};
use crate::hub::Hub;
use crate::resources::{Side, Undo};

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
            let outcome = allocate(hub, object, old.map(spec_of), dry_run, &mut taken).await;
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
            let spec = spec_of(object);
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

async fn give_back(hub: &Hub, addresses: &[IpAddr], node_ports: &[u16]) {
    ips::release(hub, addresses).await;
    ports::release(hub, node_ports).await;
}

fn ips_of(spec: &Map) -> Vec<IpAddr> {
    if !needs_cluster_ip(spec) || is_headless(spec) {
        return Vec::new();
    }
    texts(spec, "clusterIPs").iter().filter_map(|ip| api::names::parse_ip_sloppy(ip)).collect()
}

fn ports_of(spec: &Map) -> Vec<u16> {
    let health = spec.i64("healthCheckNodePort").filter(|_| needs_health_port(spec));
    let ports = spec.maps("ports").map(node_port).chain(health);
    let mut all: Vec<u16> = ports.filter_map(|port| u16::try_from(port).ok()).filter(|port| *port != 0).collect();
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
    let spec = object.map_mut("spec");
    if let Some(old) = old {
        keep_allocated(spec, old);
    }
    normalize_ips(spec, old);
    let invalid = |errors: field::Errors| Status::invalid("", "Service", &name, &errors);
    families::settle(object, old, &ips::families(hub)).map_err(invalid)?;
    let spec = object.map_mut("spec");
    let work = Work { hub, owner: (&namespace, &name), dry_run };
    work.cluster_ips(spec, old, taken).await?;
    work.node_ports(spec, old, taken).await
}

/// One write of one Service.
struct Work<'a> {
    hub: &'a Hub,
    owner: (&'a str, &'a str),
    dry_run: bool,
}

impl Work<'_> {
    async fn cluster_ips(&self, spec: &mut Map, old: Option<&Map>, taken: &mut Taken) -> Result<(), Status> {
        let Some(old) = old else { return self.fill_ips(spec, 0, taken).await };
        if families::is_settled(spec, Some(old)) {
            return Ok(());
        }
        match (needs_cluster_ip(old), needs_cluster_ip(spec)) {
            (false, true) => return self.fill_ips(spec, 0, taken).await,
            (_, _) if is_headless(old) => return Ok(()),
            (true, false) => taken.leave_ips = ips_of(old),
            (true, true) => {
                let (was, is) = (old.list("ipFamilies").len(), spec.list("ipFamilies").len());
                if was == 1 && is == 2 {
                    return self.fill_ips(spec, 1, taken).await;
                }
                if was == 2 && is == 1 {
                    taken.leave_ips = ips_of(old).into_iter().skip(1).collect();
                }
            }
            (false, false) => {}
        }
        Ok(())
    }

    /// Takes an address of each family from the `from`th on.
    async fn fill_ips(&self, spec: &mut Map, from: usize, taken: &mut Taken) -> Result<(), Status> {
        if !needs_cluster_ip(spec) || is_headless(spec) {
            return Ok(());
        }
        let families = texts(spec, "ipFamilies");
        let mut given = texts(spec, "clusterIPs");
        for (at, family) in families.iter().enumerate().skip(from) {
            if given.len() <= at {
                given.push(String::new());
            }
            let asked = given[at].clone();
            let got = self.take_ip(family, &asked).await.map_err(|refused| self.refuse(&given, &asked, refused))?;
            if !self.dry_run {
                taken.ips.push(got);
            }
            if asked.is_empty() {
                given[at] = got.to_string();
            }
        }
        if let Some(first) = given.first() {
            spec.set("clusterIP", first.as_str());
        }
        set_texts(spec, "clusterIPs", &given);
        Ok(())
    }

    async fn take_ip(&self, family: &str, asked: &str) -> Result<IpAddr, Refused> {
        if asked.is_empty() {
            return ips::take_any(self.hub, family, self.owner, self.dry_run).await;
        }
        let parsed = api::names::parse_ip_sloppy(asked);
        let ip = parsed
            .ok_or_else(|| Status::internal(&format!("failed to parse service IP {}", field::go_quote(asked))))?;
        ips::take(self.hub, ip, self.owner, self.dry_run).await.map(|()| ip)
    }

    fn refuse(&self, given: &[String], asked: &str, refused: Refused) -> Status {
        let name = self.owner.1;
        match refused {
            Refused::Failed(status) => status,
            Refused::Full => {
                let name = field::go_quote(name);
                Status::internal(&format!("failed to allocate a serviceIP for Service {name}: range is full"))
            }
            Refused::Why(why) => {
                let shown = Value::List(given.iter().map(|ip| Value::from(ip.as_str())).collect());
                let what = if asked.is_empty() { String::new() } else { format!(" {asked}") };
                let why = format!("failed to allocate IP{what}: {why}");
                let error = field::invalid(&Path::new("spec").child("clusterIPs"), shown, why);
                Status::invalid("", "Service", name, &[error])
            }
        }
    }

    async fn node_ports(&self, spec: &mut Map, old: Option<&Map>, taken: &mut Taken) -> Result<(), Status> {
        if ports::wants(spec, old) {
            let before = spec.clone();
            let planned = ports::update(self.hub, self.dry_run, |set| {
                let mut spec = before.clone();
                ports::plan(&mut spec, old, self.owner.1, set)?;
                Ok((spec, set.taken.clone()))
            });
            let (planned, took) = planned.await?;
            *spec = planned;
            if !self.dry_run {
                taken.ports = took;
            }
        }
        if let Some(old) = old {
            // A type without node ports keeps none, whatever the spec still names.
            let still = if may_have_node_ports(spec) { ports_of(spec) } else { Vec::new() };
            taken.leave_ports = ports_of(old).into_iter().filter(|port| !still.contains(port)).collect();
        }
        Ok(())
    }
}
