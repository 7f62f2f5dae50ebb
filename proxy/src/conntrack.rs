//! Forgets UDP flows to endpoints that no longer serve, which the kernel would else keep alive.
//!
//! Which flows is decided by pure functions; facts: pkg/proxy/conntrack/cleanup.go@v1.37.2. The
//! kernel is asked by ctnetlink.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::engine::Maps;
use crate::family::Family;
use crate::netlink::{Attributes, FLAG_ACK, FLAG_DUMP, Message, Messages, NESTED, TYPE_DONE, TYPE_ERROR, request};
use crate::netns::within;
use crate::service::Protocol;

/// IPCTNL_MSG_CT_GET and _DELETE of the conntrack subsystem (1).
const GET: u16 = 0x101;
const DELETE: u16 = 0x102;
const PROTOCOL_UDP: u8 = 17;
/// CTA_* attributes.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_SOURCE_PORT: u16 = 2;
const PROTOCOL_DESTINATION_PORT: u16 = 3;
/// (source, destination) attributes of an IPv4 and of an IPv6 tuple.
const IPV4: (u16, u16) = (1, 2);
const IPV6: (u16, u16) = (3, 4);

type Backends = Arc<HashSet<SocketAddr>>;

/// The UDP frontends and the endpoints that serve behind each.
#[derive(Debug, Default)]
pub(crate) struct Frontends {
    by_address: HashMap<SocketAddr, Backends>,
    by_node_port: HashMap<u16, Backends>,
}

impl Frontends {
    pub(crate) fn of(maps: &Maps) -> Self {
        let mut frontends = Frontends::default();
        for (name, port) in maps.services.iter().filter(|(_, port)| port.protocol == Protocol::Udp) {
            let endpoints = maps.endpoints.get(name).into_iter().flatten().filter(|endpoint| endpoint.serving);
            let backends: Backends = Arc::new(endpoints.map(|e| SocketAddr::new(e.ip, e.port)).collect());
            let ips = [port.cluster_ip].into_iter().chain(port.load_balancer_vips.iter().copied());
            for ip in ips.chain(port.external_ips.iter().copied()) {
                frontends.by_address.insert(SocketAddr::new(ip, port.port), backends.clone());
            }
            // Flows to a node port are known by the port alone: with no endpoint to compare with,
            // flows that are not ours would go too.
            if port.node_port != 0 && !backends.is_empty() {
                frontends.by_node_port.insert(port.node_port, backends);
            }
        }
        frontends
    }

    /// True if the flow leads through one of our frontends to what no longer serves there.
    fn is_stale(&self, flow: &Flow) -> bool {
        let misses = |backends: &Backends| !backends.contains(&flow.reply_source);
        self.by_address.get(&flow.destination).is_some_and(misses)
            || self.by_node_port.get(&flow.destination.port()).is_some_and(misses)
    }
}

/// A UDP flow, with what the kernel needs to find it again.
#[derive(Debug, PartialEq, Eq)]
struct Flow {
    destination: SocketAddr,
    reply_source: SocketAddr,
    identity: Vec<(u16, Vec<u8>)>,
}

/// Deletes the stale flows; returns how many. Blocks.
pub(crate) fn clean_stale(family: Family, frontends: &Frontends, netns: Option<&Path>) -> io::Result<usize> {
    let socket = within(netns, || {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        Ok(socket)
    })?;
    let stale: Vec<Flow> = list(&socket, family)?.into_iter().filter(|flow| frontends.is_stale(flow)).collect();
    let mut deleted = 0;
    for flow in &stale {
        let attributes: Vec<(u16, &[u8])> = flow.identity.iter().map(|(kind, value)| (*kind, &value[..])).collect();
        socket.send(&request(DELETE, FLAG_ACK, family.number(), &attributes), 0)?;
        let (answer, _) = socket.recv_from_full()?;
        // A flow that ended by itself meanwhile is as well.
        deleted += usize::from(Messages(&answer).any(|m| m.kind == TYPE_ERROR && m.errno() == 0));
    }
    Ok(deleted)
}

fn list(socket: &Socket, family: Family) -> io::Result<Vec<Flow>> {
    socket.send(&request(GET, FLAG_DUMP, family.number(), &[]), 0)?;
    let mut flows = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        for message in Messages(&bytes) {
            match message.kind {
                TYPE_DONE => return Ok(flows),
                TYPE_ERROR => return Err(io::Error::from_raw_os_error(message.errno())),
                _ => flows.extend(udp_flow(&message)),
            }
        }
        if bytes.is_empty() {
            return Ok(flows);
        }
    }
}

fn udp_flow(message: &Message<'_>) -> Option<Flow> {
    let original = message.attributes().find(TUPLE_ORIGINAL)?;
    let (protocol, _, destination) = tuple(original)?;
    let (_, reply_source, _) = tuple(message.attributes().find(TUPLE_REPLY)?)?;
    let mut identity = vec![(TUPLE_ORIGINAL | NESTED, original.to_vec())];
    for kind in [ID, ZONE] {
        identity.extend(message.attributes().find(kind).map(|value| (kind, value.to_vec())));
    }
    (protocol == PROTOCOL_UDP).then_some(Flow { destination, reply_source, identity })
}

/// (protocol, source, destination) of a tuple.
fn tuple(bytes: &[u8]) -> Option<(u8, SocketAddr, SocketAddr)> {
    let ip = Attributes(bytes).find(TUPLE_IP)?;
    let protocol = Attributes(bytes).find(TUPLE_PROTOCOL)?;
    let number = *Attributes(protocol).find(PROTOCOL_NUMBER)?.first()?;
    let port = |kind| Some(u16::from_be_bytes(*Attributes(protocol).find(kind)?.first_chunk()?));
    let v4 = |kind| Some(IpAddr::from(Ipv4Addr::from(*Attributes(ip).find(kind)?.first_chunk::<4>()?)));
    let v6 = |kind| Some(IpAddr::from(Ipv6Addr::from(*Attributes(ip).find(kind)?.first_chunk::<16>()?)));
    let source = v4(IPV4.0).or_else(|| v6(IPV6.0))?;
    let destination = v4(IPV4.1).or_else(|| v6(IPV6.1))?;
    // Protocols without ports are none of ours.
    let (from, to) = (port(PROTOCOL_SOURCE_PORT)?, port(PROTOCOL_DESTINATION_PORT)?);
    Some((number, SocketAddr::new(source, from), SocketAddr::new(destination, to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(destination: &str, reply_source: &str) -> Flow {
        let parse = |text: &str| text.parse().expect("an address");
        Flow { destination: parse(destination), reply_source: parse(reply_source), identity: vec![] }
    }

    #[test]
    fn stale_is_what_no_longer_serves_behind_our_frontend() {
        let serving: Backends = Arc::new(HashSet::from(["10.0.0.1:53".parse().expect("an address")]));
        let frontends = Frontends {
            by_address: HashMap::from([
                ("172.30.0.10:53".parse().expect("an address"), serving.clone()),
                ("172.30.0.11:53".parse().expect("an address"), Backends::default()),
            ]),
            by_node_port: HashMap::from([(30053, serving)]),
        };
        let cases = [
            ("172.30.0.10:53", "10.0.0.1:53", false),
            ("172.30.0.10:53", "10.0.0.2:53", true),
            ("172.30.0.10:54", "10.0.0.2:53", false),
            ("172.30.0.11:53", "10.0.0.1:53", true),
            ("192.168.0.2:30053", "10.0.0.1:53", false),
            ("192.168.0.2:30053", "10.0.0.2:53", true),
            ("8.8.8.8:53", "8.8.8.8:53", false),
        ];
        for (destination, source, expect) in cases {
            assert_eq!(frontends.is_stale(&flow(destination, source)), expect, "{destination} {source}");
        }
    }
}
