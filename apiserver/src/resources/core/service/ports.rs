//! The set of node ports in use: one RangeAllocation whose data is the bytes of a Go big.Int, bit i for
//! the port i above the first (pkg/registry/core/service/{allocator,portallocator}@v1.37.2).
//!
//! Invariant: the set is changed by compare-and-write alone.

use api::field::{self, Path};
use api::map;
use api::status::Status;
use api::value::{Map, Value};
use api::{facts, proto};
use base64::Engine;
use bytes::Bytes;
use store::{Outcome, Write};

use super::{has_node_ports, may_have_node_ports, needs_health_port, node_port};
use crate::hub::{Hub, store_failure};

/// Below the prefix of all keys.
const KEY: &str = "ranges/servicenodeports";
/// Races lost before an allocation gives up.
const RETRIES_MAX: usize = 50;
/// The port before the first that a dry run makes up.
const DRY_RUN_BASE: i64 = 32_768;
/// The lower part of the range is for ports that are asked for: min(max(16, size/32), 128) of them.
const BAND: (usize, usize, usize) = (16, 32, 128);

const ALLOCATED: &str = "provided port is already allocated";

/// Big-endian bits, lowest last, as big.Int's Bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u8>);

impl Bits {
    fn get(&self, at: usize) -> bool {
        let Some(byte) = self.0.len().checked_sub(1 + at / 8) else { return false };
        self.0[byte] & (1 << (at % 8)) != 0
    }

    fn set(&mut self, at: usize, on: bool) {
        let wanted = at / 8 + 1;
        if self.0.len() < wanted {
            let missing = wanted - self.0.len();
            self.0.splice(0..0, std::iter::repeat_n(0, missing));
        }
        let byte = self.0.len() - 1 - at / 8;
        if on {
            self.0[byte] |= 1 << (at % 8)
        } else {
            self.0[byte] &= !(1 << (at % 8))
        }
        let zeros = self.0.iter().take_while(|byte| **byte == 0).count();
        self.0.drain(..zeros);
    }
}

/// The set with its range, as one write sees it, and what the write took.
#[derive(Clone, Debug)]
pub(super) struct Set {
    bits: Bits,
    range: (u16, u16),
    dry_run: bool,
    pub(super) taken: Vec<u16>,
    /// What a dry run took: any number, as nothing is taken in truth (PortAllocationOperation).
    pretended: Vec<i64>,
}

impl Set {
    /// Takes a port that is asked for.
    fn take(&mut self, port: i64) -> Result<(), String> {
        let (first, last) = self.range;
        let asked = u16::try_from(port).ok().filter(|port| (first..=last).contains(port));
        let Some(port) = asked else {
            return match self.dry_run {
                true => self.pretend(port, false),
                false => {
                    Err(format!("provided port is not in the valid range. The range of valid ports is {first}-{last}"))
                }
            };
        };
        let at = usize::from(port - first);
        if self.dry_run {
            return self.pretend(i64::from(port), self.bits.get(at));
        }
        if self.bits.get(at) {
            return Err(ALLOCATED.into());
        }
        self.bits.set(at, true);
        self.taken.push(port);
        Ok(())
    }

    fn pretend(&mut self, port: i64, allocated: bool) -> Result<(), String> {
        if allocated || self.pretended.contains(&port) {
            return Err(ALLOCATED.into());
        }
        self.pretended.push(port);
        Ok(())
    }

    /// Takes a free port: from the upper part of the range while there is one.
    fn take_any(&mut self, random: usize) -> Result<i64, String> {
        if self.dry_run {
            let port = self.pretended.iter().max().copied().unwrap_or(DRY_RUN_BASE).saturating_add(1);
            self.pretended.push(port);
            return Ok(port);
        }
        let (first, last) = self.range;
        let size = usize::from(last.saturating_sub(first)) + 1;
        let (min, step, max) = BAND;
        let band = if size <= min { 0 } else { (size / step).clamp(min, max) };
        let around = |from: usize, size: usize| (0..size).map(move |at| from + (random + at) % size);
        let free = around(band, size - band).chain(around(0, band)).find(|at| !self.bits.get(*at));
        let at = free.ok_or("range is full")?;
        self.bits.set(at, true);
        self.taken.push(first + at as u16);
        Ok(i64::from(first) + at as i64)
    }
}

fn refuse(name: &str, at: usize, port: i64, why: &str) -> Status {
    let path = Path::new("spec").child("ports").index(at).child("nodePort");
    Status::invalid("", "Service", name, &[field::invalid(&path, port, why)])
}

fn full(why: String) -> Status {
    Status::internal(&format!("failed to allocate a nodePort: {why}"))
}

/// True when a write of the Service changes the set at all.
pub(super) fn wants(spec: &Map, old: Option<&Map>) -> bool {
    let had: Vec<i64> = old.into_iter().flat_map(|old| old.maps("ports")).map(node_port).collect();
    let new = |port: &Map| match node_port(port) {
        0 => has_node_ports(spec),
        number => !had.contains(&number),
    };
    let ports = may_have_node_ports(spec) && spec.maps("ports").any(new);
    ports || (needs_health_port(spec) && !old.is_some_and(needs_health_port))
}

/// Gives a Service the node ports it needs.
pub(super) fn plan(spec: &mut Map, old: Option<&Map>, name: &str, set: &mut Set) -> Result<(), Status> {
    if may_have_node_ports(spec) {
        match old {
            Some(old) => plan_update(spec, old, name, set)?,
            None => plan_create(spec, name, set)?,
        }
    }
    if needs_health_port(spec) && !old.is_some_and(needs_health_port) {
        match spec.i64("healthCheckNodePort").unwrap_or(0) {
            0 => {
                let got = set.take_any(rand::random::<u32>() as usize);
                let port = got
                    .map_err(|why| Status::internal(&format!("failed to allocate a HealthCheck NodePort 0: {why}")))?;
                spec.set("healthCheckNodePort", port);
            }
            asked => set.take(asked).map_err(|why| {
                Status::internal(&format!("failed to allocate requested HealthCheck NodePort {asked}: {why}"))
            })?,
        }
    }
    Ok(())
}

/// Ports of one number share a node port, whatever their protocols.
fn plan_create(spec: &mut Map, name: &str, set: &mut Set) -> Result<(), Status> {
    let gives = has_node_ports(spec);
    let asked: Vec<(i64, i64)> =
        spec.maps("ports").map(|port| (port.i64("port").unwrap_or(0), node_port(port))).collect();
    let mut given: Vec<(i64, i64)> = Vec::new();
    for (at, port) in spec.maps_mut("ports").enumerate() {
        let (number, own) = asked[at];
        if own == 0 && !gives {
            continue;
        }
        match given.iter().find(|row| row.0 == number).map(|row| row.1) {
            None => {
                let wanted = asked.iter().find(|row| row.0 == number && row.1 != 0).map(|row| row.1);
                let got = match wanted {
                    Some(wanted) => set.take(wanted).map(|()| wanted).map_err(|why| refuse(name, at, wanted, &why))?,
                    None => set.take_any(rand::random::<u32>() as usize).map_err(full)?,
                };
                port.set("nodePort", got);
                given.push((number, got));
            }
            Some(got) if own == 0 => port.set("nodePort", got),
            Some(got) if own != got => set.take(own).map_err(|why| refuse(name, at, own, &why))?,
            Some(_) => {}
        }
    }
    Ok(())
}

fn plan_update(spec: &mut Map, old: &Map, name: &str, set: &mut Set) -> Result<(), Status> {
    let gives = has_node_ports(spec);
    let had: Vec<i64> = old.maps("ports").map(node_port).collect();
    let mut seen: Vec<(String, i64)> = Vec::new();
    for (at, port) in spec.maps_mut("ports").enumerate() {
        let own = node_port(port);
        if own == 0 && !gives {
            continue;
        }
        if own == 0 {
            port.set("nodePort", set.take_any(rand::random::<u32>() as usize).map_err(full)?);
        } else if !had.contains(&own) && !seen.iter().any(|row| row.1 == own) {
            set.take(own).map_err(|why| refuse(name, at, own, &why))?;
        }
        let key = (port.str("protocol").to_string(), node_port(port));
        if seen.contains(&key) {
            return Err(Status::internal(&format!("duplicate nodePort: {{{} {}}}", key.0, key.1)));
        }
        seen.push(key);
    }
    Ok(())
}

async fn read(hub: &Hub, ty: &'static facts::Struct) -> Result<(Map, u64), Status> {
    let got = hub.store.get(hub.registry.key(KEY).as_bytes(), 0).await.map_err(|error| store_failure(&error))?;
    let Some(kv) = got.kv else { return Ok((Map::new(), 0)) };
    let unknown = proto::unwrap(&kv.value).ok().flatten();
    let unknown = unknown.ok_or_else(|| Status::internal("undecodable node port range"))?;
    let object = proto::decode(unknown.raw, ty).map_err(|error| Status::internal(&error.to_string()))?;
    Ok((object, kv.mod_revision))
}

/// Changes the set by `change` with compare-and-write; gives what `change` gave.
pub(super) async fn update<T>(
    hub: &Hub,
    dry_run: bool,
    mut change: impl FnMut(&mut Set) -> Result<T, Status> + Send,
) -> Result<T, Status> {
    let ty = facts::kind("", "v1", "RangeAllocation").ok_or_else(|| Status::internal("no RangeAllocation"))?;
    let engine = base64::engine::general_purpose::STANDARD;
    let range = hub.network.node_ports;
    for _ in 0..RETRIES_MAX {
        let (mut object, revision) = read(hub, ty).await?;
        let bits = Bits(engine.decode(object.str("data")).unwrap_or_default());
        let mut set = Set { bits, range, dry_run, taken: Vec::new(), pretended: Vec::new() };
        let outcome = change(&mut set)?;
        if dry_run {
            return Ok(outcome);
        }
        object.set("range", format!("{}-{}", range.0, range.1));
        object.set("data", engine.encode(&set.bits.0));
        if !object.contains("metadata") {
            object.set("metadata", Value::Map(map! {}));
        }
        let value = proto::wrap("v1", "RangeAllocation", &proto::encode(&object, ty));
        let key = Bytes::from(hub.registry.key(KEY));
        let write = Write { key, value: Some(value.into()), expect: Some(revision), lease: 0 };
        if let Outcome::Done { .. } = hub.store.write(write).await.map_err(|error| store_failure(&error))? {
            return Ok(outcome);
        }
    }
    Err(Status::server_timeout("", "services", "allocate node port", 1))
}

/// Gives ports back.
pub(super) async fn release(hub: &Hub, node_ports: &[u16]) {
    let (first, last) = hub.network.node_ports;
    let ours: Vec<u16> = node_ports.iter().copied().filter(|port| (first..=last).contains(port)).collect();
    if ours.is_empty() {
        return;
    }
    let released = update(hub, false, |set| {
        ours.iter().for_each(|port| set.bits.set(usize::from(port - first), false));
        Ok(())
    });
    if let Err(status) = released.await {
        tracing::warn!(?ours, %status, "node ports not released");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_a_big_endian_integer_without_leading_zeros() {
        let mut bits = Bits::default();
        bits.set(0, true);
        assert_eq!(bits.0, [1]);
        bits.set(9, true);
        assert_eq!(bits.0, [2, 1]);
        assert!(bits.get(9) && bits.get(0) && !bits.get(8) && !bits.get(100));
        bits.set(9, false);
        assert_eq!(bits.0, [1]);
        bits.set(0, false);
        assert!(bits.0.is_empty());
    }

    fn check(spec: &str, old: Option<&str>, expect: Result<(&[i64], &[u16]), &str>) {
        let parse = |json: &str| {
            let (value, _) = api::json::decode_any(json.as_bytes(), api::json::Strictness::Lenient).expect("JSON");
            value.as_map().expect("object").clone()
        };
        let (mut spec, old) = (parse(spec), old.map(parse));
        let mut set = Set {
            bits: Bits::default(),
            range: (30000, 30001),
            dry_run: false,
            taken: Vec::new(),
            pretended: Vec::new(),
        };
        let had = old.iter().flat_map(|old| old.maps("ports")).map(node_port).filter(|port| *port != 0);
        had.for_each(|port| set.bits.set((port - 30000) as usize, true));
        let outcome = plan(&mut spec, old.as_ref(), "s", &mut set);
        let ports: Vec<i64> = spec.maps("ports").map(node_port).collect();
        let got = outcome.as_ref().map(|()| (&ports[..], &set.taken[..])).map_err(|status| status.message.as_str());
        assert_eq!(got, expect, "{spec:?}");
    }

    #[test]
    fn ports_are_shared_asked_for_and_kept() {
        let two = r#"{"type":"NodePort","ports":[{"port":53,"protocol":"TCP","nodePort":30001},{"port":53,"protocol":"UDP"}]}"#;
        check(two, None, Ok((&[30001, 30001], &[30001])));
        check(two, Some(two), Ok((&[30001, 30000], &[30000])));
        let kept = r#"{"type":"NodePort","ports":[{"port":80,"nodePort":30000}]}"#;
        check(kept, Some(kept), Ok((&[30000], &[])));
        check(
            r#"{"type":"NodePort","ports":[{"port":80,"nodePort":80}]}"#,
            None,
            Err(
                "Service \"s\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-30001",
            ),
        );
        check(
            r#"{"type":"NodePort","ports":[{"port":80,"nodePort":30000},{"port":81,"nodePort":30000}]}"#,
            None,
            Err(
                "Service \"s\" is invalid: spec.ports[1].nodePort: Invalid value: 30000: provided port is already allocated",
            ),
        );
        check(
            r#"{"type":"LoadBalancer","allocateLoadBalancerNodePorts":false,"ports":[{"port":80}]}"#,
            None,
            Ok((&[0], &[])),
        );
    }
    #[test]
    fn a_dry_run_pretends_to_take_any_port() {
        let mut bits = Bits::default();
        bits.set(1, true);
        let mut set = Set { bits, range: (30000, 30001), dry_run: true, taken: Vec::new(), pretended: Vec::new() };
        assert_eq!(set.take_any(0), Ok(32_769));
        for (port, want) in [(65_536, true), (65_536, false), (30_000, true), (30_000, false), (30_001, false)] {
            assert_eq!(set.take(port).is_ok(), want, "{port}");
        }
        assert_eq!(set.take_any(0), Ok(65_537));
        assert!(set.taken.is_empty());
    }
}
