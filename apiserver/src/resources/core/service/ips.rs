//! Cluster IPs: each is held by the networking.k8s.io IPAddress of its name
//! (pkg/registry/core/service/ipallocator/{ipallocator,cidrallocator}.go@v1.37.2).
//!
//! Invariant: an address is taken by creating its object, so it is never given twice, however many
//! servers allocate.

use std::net::IpAddr;

use api::map;
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};
use ipnet::IpNet;

use super::families::family_of;
use crate::admission::Reader;
use crate::hub::Hub;

const GROUP: &str = "networking.k8s.io";
/// Addresses looked at in a search, so that a huge IPv6 range ends.
const SEARCH_MAX: u128 = 1 << 20;
/// The lower part of a range is for addresses that are asked for: min(max(16, size/16), 256) of them.
const BAND: (u128, u128, u128) = (16, 16, 256);

/// Why an address is not given.
#[derive(Debug)]
pub(super) enum Refused {
    Full,
    /// Upstream's words.
    Why(String),
    Failed(Status),
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Refused::Failed(status)
    }
}

/// The families of the cluster, the default first.
pub(super) fn families(hub: &Hub) -> Vec<&'static str> {
    hub.network.service_cidrs.iter().map(|cidr| family_of(&cidr.to_string())).collect()
}

/// A range of addresses that may be given: neither the network's own, nor (IPv4) its broadcast.
#[derive(Clone, Copy, Debug)]
struct Range {
    cidr: IpNet,
    first: u128,
    size: u128,
    band: u128,
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

impl Range {
    fn of(cidr: IpNet) -> Self {
        let (first, last) = (number(cidr.network()), number(cidr.broadcast()));
        let reserved = if cidr.addr().is_ipv4() { 1 } else { 0 };
        let (min, step, max) = BAND;
        let whole = (last - first).saturating_add(1);
        let band = if whole <= min { 0 } else { (whole / step).clamp(min, max) };
        Range { cidr, first: first + 1, size: (last - first).saturating_sub(reserved), band }
    }

    fn address(&self, at: u128) -> IpAddr {
        match self.cidr {
            IpNet::V4(_) => IpAddr::from(((self.first + at) as u32).to_be_bytes()),
            IpNet::V6(_) => IpAddr::from((self.first + at).to_be_bytes()),
        }
    }

    fn has(&self, ip: IpAddr) -> bool {
        self.cidr.contains(&ip) && number(ip) >= self.first && number(ip) < self.first + self.size
    }

    /// All places, from a random one on in the upper part, then likewise in the lower.
    fn places(&self, random: u128) -> impl Iterator<Item = u128> {
        let around = move |from: u128, size: u128| (0..size).map(move |step| from + (random % size + step) % size);
        let (band, size) = (self.band, self.size);
        around(band, size.saturating_sub(band)).take(SEARCH_MAX as usize).chain(around(0, band.min(size)))
    }
}

/// The ranges that are ready: those configured, and those of ServiceCIDR objects.
fn ranges(hub: &Hub) -> Vec<Range> {
    let mut known: Vec<(IpNet, Option<bool>)> =
        hub.network.service_cidrs.iter().map(|cidr| (cidr.trunc(), None)).collect();
    for object in hub.list(GROUP, "servicecidrs", "") {
        let ready = is_ready(&object);
        let cidrs = object.map("spec").map_or(&[][..], |spec| spec.list("cidrs"));
        for cidr in cidrs.iter().filter_map(|cidr| cidr.as_str()?.parse::<IpNet>().ok()).map(|cidr| cidr.trunc()) {
            match known.iter_mut().find(|range| range.0 == cidr) {
                Some(range) => range.1 = Some(range.1.unwrap_or(false) || ready),
                None => known.push((cidr, Some(ready))),
            }
        }
    }
    known.into_iter().filter(|range| range.1 != Some(false)).map(|range| Range::of(range.0)).collect()
}

/// Without a condition a ServiceCIDR is taken to be ready: nobody says otherwise.
fn is_ready(object: &Map) -> bool {
    let conditions = object.map("status").into_iter().flat_map(|status| status.maps("conditions"));
    let ready = conditions.into_iter().find(|condition| condition.str("type") == "Ready");
    !object.is_deleting() && ready.is_none_or(|condition| condition.str("status") == "True")
}

/// Takes one address that is asked for.
pub(super) async fn take(hub: &Hub, ip: IpAddr, owner: (&str, &str), dry_run: bool) -> Result<(), Refused> {
    let ranges = ranges(hub);
    let Some(range) = ranges.iter().find(|range| range.cidr.contains(&ip)) else {
        return Err(Refused::Why("the provided network does not match the current range".into()));
    };
    if !range.has(ip) {
        let valid = range.cidr;
        return Err(Refused::Why(format!(
            "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {valid}"
        )));
    }
    if dry_run || hold(hub, ip, owner).await? {
        return Ok(());
    }
    Err(Refused::Why("provided IP is already allocated".into()))
}

/// Takes a free address of a family.
pub(super) async fn take_any(hub: &Hub, family: &str, owner: (&str, &str), dry_run: bool) -> Result<IpAddr, Refused> {
    for range in ranges(hub).iter().filter(|range| family_of(&range.cidr.to_string()) == family) {
        if dry_run {
            return Ok(range.cidr.network());
        }
        for at in range.places(rand::random()) {
            let ip = range.address(at);
            if hold(hub, ip, owner).await? {
                return Ok(ip);
            }
        }
    }
    Err(Refused::Full)
}

/// Creates the IPAddress of `ip`; false when somebody holds it.
async fn hold(hub: &Hub, ip: IpAddr, (namespace, name): (&str, &str)) -> Result<bool, Status> {
    let storage = hub.registry.storage_of(GROUP, "ipaddresses").ok_or_else(Status::no_such_path)?;
    let key = ip.to_string();
    if storage.cache.get(&key).is_some() {
        return Ok(false);
    }
    let labels = map! {
        "ipaddress.kubernetes.io/ip-family" => family_of(&key),
        "ipaddress.kubernetes.io/managed-by" => "ipallocator.k8s.io",
    };
    let now = api::time::from_unix(jiff::Timestamp::now().as_second(), 0, false);
    let meta = map! {
        "name" => key.as_str(),
        "uid" => uuid::Uuid::new_v4().to_string(),
        "generation" => 1i64,
        "creationTimestamp" => now,
        "labels" => labels,
    };
    let parent = map! { "resource" => "services", "namespace" => namespace, "name" => name };
    let object = map! { "metadata" => meta, "spec" => map! { "parentRef" => Value::Map(parent) } };
    Ok(hub.write(&storage, "", &key, &object, 0, 0).await?.is_some())
}

/// Gives addresses back; what cannot be given back now, the repair duty will find.
pub(super) async fn release(hub: &Hub, ips: &[IpAddr]) {
    let Some(storage) = hub.registry.storage_of(GROUP, "ipaddresses") else { return };
    for ip in ips {
        let key = ip.to_string();
        let removed = match hub.read(&storage, "", &key).await {
            Ok(Some((_, revision))) => hub.remove(&storage, "", &key, revision).await.map(drop),
            other => other.map(drop),
        };
        if let Err(status) = removed {
            tracing::warn!(%ip, %status, "cluster IP not released");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cidr: &str, first: &str, size: u128, band: u128, in_range: &[(&str, bool)]) {
        let range = Range::of(cidr.parse().expect("CIDR"));
        assert_eq!((range.address(0).to_string().as_str(), range.size, range.band), (first, size, band), "{cidr}");
        for (ip, has) in in_range {
            assert_eq!(range.has(ip.parse().expect("IP")), *has, "{ip}");
        }
        if size < SEARCH_MAX {
            let places: Vec<_> = range.places(7).collect();
            let mut sorted = places.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..size).collect::<Vec<_>>());
            assert!(places[0] >= band);
        }
    }

    #[test]
    fn ranges_leave_out_their_ends_and_try_the_upper_part_first() {
        let ends = [("10.0.0.0", false), ("10.0.0.1", true), ("10.0.0.254", true), ("10.0.0.255", false)];
        check("10.0.0.0/24", "10.0.0.1", 254, 16, &ends);
        check("10.0.0.0/28", "10.0.0.1", 14, 0, &[]);
        check("10.0.0.0/16", "10.0.0.1", 65534, 256, &[]);
        check("fd00::/120", "fd00::1", 255, 16, &[("fd00::ff", true), ("fd00::", false)]);
    }
}
