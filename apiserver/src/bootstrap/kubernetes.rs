//! default/kubernetes: the Service through which pods reach this server, its Endpoints and EndpointSlice
//! (pkg/controlplane/controller/kubernetesservice, pkg/controlplane/reconcilers/lease.go@v1.37.2).

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::map;
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};
use bytes::Bytes;
use store::{Range, Write};

use super::named;
use crate::Config;
use crate::chain::Core;
use crate::hub::store_failure;
use crate::system;

/// Where the servers of a cluster tell each other that they live; upstream's key.
/// Below the prefix of all keys.
const LEASES: &str = "masterleases/";
/// How long a server counts without renewing, in seconds (reconcilers: DefaultEndpointReconcilerTTL).
pub(crate) const LEASE_SECONDS: i64 = 15;
/// The protocol's port in the Service.
const SERVICE_PORT: i64 = 443;

/// Writes this server's lease and makes Service, Endpoints and EndpointSlice agree with all leases.
pub(crate) async fn reconcile(core: &Core, config: &Config) -> Result<(), Status> {
    let port = i64::from(config.secure_port);
    service(core, config, port).await?;
    // A machine without a network has a Service, but nowhere that pods could reach this server.
    let Some(address) = config.advertise_address else { return Ok(()) };
    renew(core, address).await?;
    let addresses = living(core).await?;
    endpoints(core, &addresses, port).await?;
    slice(core, &addresses, port).await
}

async fn service(core: &Core, config: &Config, port: i64) -> Result<(), Status> {
    let Some(range) = config.service_cidrs.first() else { return Ok(()) };
    let ip = range.hosts().next().ok_or_else(|| Status::internal("service range without addresses"))?;
    let mut object = named("v1", "Service", "default", "kubernetes");
    let labels = map! { "component" => "apiserver", "provider" => "kubernetes" };
    object.map_mut("metadata").set("labels", labels);
    let ports =
        vec![Value::Map(map! { "name" => "https", "protocol" => "TCP", "port" => SERVICE_PORT, "targetPort" => port })];
    let spec = map! {
        "ports" => ports, "clusterIP" => ip.to_string(), "clusterIPs" => vec![Value::from(ip.to_string())],
        "type" => "ClusterIP", "sessionAffinity" => "None", "ipFamilyPolicy" => "SingleStack",
    };
    object.set("spec", spec);
    system::ensure(core, object).await
}

/// The lease is an Endpoints object under a key that expires.
async fn renew(core: &Core, address: IpAddr) -> Result<(), Status> {
    let hub = &core.api.hub;
    let lease = hub.store.grant_lease(LEASE_SECONDS).await.map_err(|error| store_failure(&error))?;
    let subsets = vec![Value::Map(map! { "addresses" => vec![Value::Map(map! { "ip" => address.to_string() })] })];
    let object = map! { "metadata" => Map::new(), "subsets" => subsets };
    let storage = hub.registry.storage_of("", "endpoints").ok_or_else(Status::no_such_path)?;
    let key = Bytes::from(lease_key(core, &address.to_string()));
    let write = Write { key, value: Some(storage.encode(&object).into()), expect: None, lease };
    hub.store.write(write).await.map(drop).map_err(|error| store_failure(&error))
}

/// Gives the lease back and makes the endpoints agree; those of the last server end empty.
pub(super) async fn leave(core: &Core, config: &Config) -> Result<(), Status> {
    let Some(address) = config.advertise_address else { return Ok(()) };
    let key = Bytes::from(lease_key(core, &address.to_string()));
    core.api.hub.store.write(Write { key, ..Write::default() }).await.map_err(|error| store_failure(&error))?;
    let (addresses, port) = (living(core).await?, i64::from(config.secure_port));
    endpoints(core, &addresses, port).await?;
    slice(core, &addresses, port).await
}

fn lease_key(core: &Core, address: &str) -> String {
    core.api.hub.registry.key(&format!("{LEASES}{address}"))
}

async fn living(core: &Core) -> Result<BTreeSet<IpAddr>, Status> {
    let first = lease_key(core, "");
    let (start, end) = (Bytes::from(first.clone()), Bytes::from(format!("{}0", first.trim_end_matches('/'))));
    let range = Range { start, end, keys_only: true, ..Range::default() };
    let leases = core.api.hub.store.range(range).await.map_err(|error| store_failure(&error))?;
    let names = leases
        .items
        .iter()
        .filter_map(|kv| std::str::from_utf8(&kv.key).ok()?.strip_prefix(first.as_str())?.parse().ok());
    Ok(names.collect())
}

async fn endpoints(core: &Core, addresses: &BTreeSet<IpAddr>, port: i64) -> Result<(), Status> {
    let identity = named("v1", "Endpoints", "default", "kubernetes");
    let list: Vec<_> = addresses.iter().map(|ip| Value::Map(map! { "ip" => ip.to_string() })).collect();
    let ports = vec![Value::Map(map! { "name" => "https", "port" => port, "protocol" => "TCP" })];
    // A subset without addresses is none.
    let subsets = match list.is_empty() {
        true => Vec::new(),
        false => vec![Value::Map(map! { "addresses" => list, "ports" => ports })],
    };
    let mut make = |existing: Option<&Map>| {
        let mut object = existing.cloned().unwrap_or_else(|| identity.clone());
        // The EndpointSlice below is ours; the mirroring controller must not make another.
        object.map_mut("metadata").map_mut("labels").set("endpointslice.kubernetes.io/skip-mirror", "true");
        object.set("subsets", subsets.clone());
        Some(object)
    };
    system::apply(core, &identity, &mut make).await
}

async fn slice(core: &Core, addresses: &BTreeSet<IpAddr>, port: i64) -> Result<(), Status> {
    let identity = named("discovery.k8s.io/v1", "EndpointSlice", "default", "kubernetes");
    let family = if addresses.iter().all(IpAddr::is_ipv4) { "IPv4" } else { "IPv6" };
    let endpoint = |ip: &IpAddr| {
        Value::Map(map! { "addresses" => vec![Value::from(ip.to_string())], "conditions" => map! { "ready" => true } })
    };
    let list: Vec<_> = addresses.iter().map(endpoint).collect();
    let ports = vec![Value::Map(map! { "name" => "https", "protocol" => "TCP", "port" => port })];
    let mut make = |existing: Option<&Map>| {
        let mut object = existing.cloned().unwrap_or_else(|| identity.clone());
        object.map_mut("metadata").map_mut("labels").set("kubernetes.io/service-name", "kubernetes");
        // It cannot be changed, and nobody's addresses have none.
        if existing.is_none() || !addresses.is_empty() {
            object.set("addressType", family);
        }
        object.set("endpoints", list.clone());
        object.set("ports", ports.clone());
        Some(object)
    };
    system::apply(core, &identity, &mut make).await
}

/// networking.k8s.io/v1 ServiceCIDR `kubernetes` (pkg/controlplane/controller/defaultservicecidr@v1.37.2).
pub(crate) async fn service_cidr(core: &Core, config: &Config) -> Result<(), Status> {
    if config.service_cidrs.is_empty() {
        return Ok(());
    }
    let mut object = named("networking.k8s.io/v1", "ServiceCIDR", "", "kubernetes");
    let identity = object.clone();
    let cidrs: Vec<_> = config.service_cidrs.iter().map(|cidr| Value::from(cidr.trunc().to_string())).collect();
    object.set("spec", map! { "cidrs" => cidrs.clone() });
    system::ensure(core, object).await?;
    let Some(found) = system::find(core, &identity).await? else { return Ok(()) };
    if !wants_ready(&found, &cidrs) {
        return Ok(());
    }
    let mut applied = identity;
    let condition = map! {
        "type" => "Ready", "status" => "True", "message" => "Kubernetes default Service CIDR is ready",
        "lastTransitionTime" => system::now(),
    };
    applied.set("status", map! { "conditions" => vec![Value::Map(condition)] });
    system::apply_status(core, "kubernetes-service-cidr-controller", &applied).await
}

/// Whether nobody has said yet if the ServiceCIDR is ready, and it is this server's.
fn wants_ready(found: &Map, cidrs: &[Value]) -> bool {
    let conditions = found.at(&["status"]).map_or(&[][..], |status| status.list("conditions"));
    let mut ready = conditions.iter().filter_map(Value::as_map).filter(|condition| condition.str("type") == "Ready");
    let known = ready.any(|condition| condition.str("status") != "Unknown");
    let same = found.at(&["spec"]).is_some_and(|spec| spec.list("cidrs") == cidrs);
    same && !known && !found.is_deleting()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_cidr_of_this_server_becomes_ready_once() {
        let own = [Value::from("10.0.0.0/16")];
        let found = |cidr: &str, status: Option<&str>| {
            let condition = |status: &str| Value::Map(map! { "type" => "Ready", "status" => status });
            let conditions: Vec<Value> = status.map(condition).into_iter().collect();
            let spec = map! { "cidrs" => vec![Value::from(cidr)] };
            map! { "spec" => spec, "status" => map! { "conditions" => conditions } }
        };
        for (cidr, status, expect) in [
            ("10.0.0.0/16", None, true),
            ("10.0.0.0/16", Some("Unknown"), true),
            ("10.0.0.0/16", Some("True"), false),
            ("10.0.0.0/16", Some("False"), false),
            ("10.1.0.0/16", None, false),
        ] {
            assert_eq!(wants_ready(&found(cidr, status), &own), expect, "{cidr} {status:?}");
        }
    }
}
