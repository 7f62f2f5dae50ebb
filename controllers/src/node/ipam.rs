//! node-ipam-controller: gives each node its own piece of the cluster CIDRs
//! (pkg/controller/nodeipam/ipam/range_allocator.go, cidrset@v1.37.2).
//!
//! Invariant: no piece is given twice: every node's pieces are taken before the first is given, and a
//! piece given but not yet seen on its node stays taken.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use client::Key;
use client::events::Recorder;
use client::informer::Cache;
use client::queue::Queue;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::json;

use super::{ACCOUNT, reference};
use crate::Context;
use crate::error::{Error, Result, is_not_found};

const NAME: &str = "node-ipam-controller";
/// --node-cidr-mask-size-ipv4 and -ipv6
const MASK_IPV4: u8 = 24;
const MASK_IPV6: u8 = 64;
/// The most pieces of one cluster CIDR (upstream: clusterSubnetMaxDiff of 16 bits).
const PIECES_MAX: u32 = 1 << 16;
const WORKERS: usize = 4;

pub(crate) fn start(context: &Context) {
    if !context.config.allocate_node_cidrs {
        return;
    }
    let mut sets = Vec::new();
    for text in &context.config.cluster_cidrs {
        match Pieces::new(text) {
            Ok(pieces) => sets.push(pieces),
            Err(error) => return tracing::error!(controller = NAME, %error, "not started"),
        }
    }
    let services = context.config.service_cluster_ip_range.iter().flat_map(|ranges| ranges.split(','));
    for range in services.filter_map(|range| range.trim().parse::<IpNet>().ok()) {
        sets.iter_mut().for_each(|pieces| pieces.exclude(range));
    }
    let client = context.client(ACCOUNT);
    let all = Arc::new(Ipam {
        recorder: context.recorder(client.clone(), "cidrAllocator"),
        nodes: context.informers.of::<Node>(),
        sets: Mutex::new(sets),
        client,
    });
    let queue: Queue<Key> = Queue::new();
    let (watch, to) = (all.clone(), queue.clone());
    all.nodes.on_change(move |old, new| {
        match (old, new) {
            (Some(old), None) => watch.release(old),
            (_, Some(new)) => watch.take(new),
            (None, None) => {}
        }
        new.into_iter().for_each(|node| to.add(Key::of(&**node)));
    });
    let caches = all.nodes.clone();
    context.controller(NAME, queue, WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { all.sync(key).await.map(|()| None) }
    });
}

/// The pieces of one cluster CIDR, and which nodes have them.
#[derive(Debug)]
struct Pieces {
    cluster: IpNet,
    mask: u8,
    count: u32,
    /// Owner by index; the empty name stands for what is never given.
    taken: BTreeMap<u32, String>,
    next: u32,
}

impl Pieces {
    fn new(text: &str) -> Result<Self> {
        let cluster: IpNet = text.parse().map_err(|_| Error::other(format!("invalid CIDR {text}")))?;
        let mask = if cluster.addr().is_ipv6() { MASK_IPV6 } else { MASK_IPV4 };
        let bits = mask
            .checked_sub(cluster.prefix_len())
            .ok_or_else(|| Error::other(format!("node mask size /{mask} is larger than the cluster CIDR {text}")))?;
        let count = 1u32.checked_shl(bits.into()).filter(|count| *count <= PIECES_MAX);
        let count = count
            .ok_or_else(|| Error::other(format!("cluster CIDR {text} is too large for node mask size /{mask}")))?;
        Ok(Pieces { cluster: cluster.trunc(), mask, count, taken: BTreeMap::new(), next: 0 })
    }

    fn width(&self) -> u32 {
        u32::from(self.cluster.max_prefix_len() - self.mask)
    }

    fn piece(&self, index: u32) -> IpNet {
        let offset = u128::from(index) << self.width();
        match self.cluster {
            IpNet::V4(net) => {
                let address = u32::from(net.network()) + offset as u32;
                Ipv4Net::new_assert(address.into(), self.mask).into()
            }
            IpNet::V6(net) => Ipv6Net::new_assert((u128::from(net.network()) + offset).into(), self.mask).into(),
        }
    }

    /// The indexes that a network overlaps.
    fn indexes(&self, net: &IpNet) -> Option<std::ops::RangeInclusive<u32>> {
        let number = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => u128::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip),
        };
        if net.addr().is_ipv6() != self.cluster.addr().is_ipv6() {
            return None;
        }
        let (first, last) = (number(self.cluster.network()), number(self.cluster.broadcast()));
        let (from, to) = (number(net.network()).max(first), number(net.broadcast()).min(last));
        (from <= to).then(|| ((from - first) >> self.width()) as u32..=((to - first) >> self.width()) as u32)
    }

    fn exclude(&mut self, net: IpNet) {
        for index in self.indexes(&net).into_iter().flatten() {
            self.taken.insert(index, String::new());
        }
    }

    fn take(&mut self, net: &IpNet, node: &str) {
        for index in self.indexes(net).into_iter().flatten() {
            self.taken.entry(index).or_insert_with(|| node.into());
        }
    }

    fn release(&mut self, node: &str) {
        self.taken.retain(|_, owner| owner != node);
    }

    /// The node's piece: the one already given to it, else the next that is free.
    fn give(&mut self, node: &str) -> Option<IpNet> {
        if let Some((index, _)) = self.taken.iter().find(|(_, owner)| *owner == node) {
            return Some(self.piece(*index));
        }
        let candidates = (self.next..self.count).chain(0..self.next);
        let index = candidates.into_iter().find(|index| !self.taken.contains_key(index))?;
        self.taken.insert(index, node.into());
        self.next = (index + 1) % self.count;
        Some(self.piece(index))
    }
}

struct Ipam {
    client: Client,
    recorder: Recorder,
    nodes: Cache<Node>,
    sets: Mutex<Vec<Pieces>>,
}

fn cidrs(node: &Node) -> &[String] {
    node.spec.as_ref().and_then(|spec| spec.pod_cidrs.as_deref()).unwrap_or_default()
}

fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or("")
}

impl Ipam {
    fn take(&self, node: &Node) {
        let mut sets = self.sets.lock();
        for (pieces, cidr) in sets.iter_mut().zip(cidrs(node)) {
            if let Ok(net) = cidr.parse() {
                pieces.take(&net, name(node));
            }
        }
    }

    fn release(&self, node: &Node) {
        self.sets.lock().iter_mut().for_each(|pieces| pieces.release(name(node)));
    }

    async fn sync(&self, key: Key) -> Result<()> {
        let Some(node) = self.nodes.by_key(&key) else { return Ok(()) };
        if node.metadata.deletion_timestamp.is_some() || !cidrs(&node).is_empty() {
            return Ok(());
        }
        let given: Option<Vec<String>> = {
            let mut sets = self.sets.lock();
            sets.iter_mut().map(|pieces| pieces.give(&key.name).map(|net| net.to_string())).collect()
        };
        let about = || reference(&key.name, node.metadata.uid.as_deref().unwrap_or(""));
        let Some(given) = given else {
            let text = format!("Node {} status is now: CIDRNotAvailable", key.name);
            self.recorder.about(about(), "Normal", "CIDRNotAvailable", text);
            return Err(Error::other(format!(
                "failed to allocate cidr for node {key}: CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range"
            )));
        };
        let Some(first) = given.first() else { return Ok(()) };
        let patch = json!({"spec": {"podCIDR": first, "podCIDRs": given}});
        let api: Api<Node> = Api::all(self.client.clone());
        match api.patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => {
                self.release(&node);
                Ok(())
            }
            Err(error) => {
                let text = format!("Node {} status is now: CIDRAssignmentFailed", key.name);
                self.recorder.about(about(), "Normal", "CIDRAssignmentFailed", text);
                Err(error.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(pieces: &mut Pieces, node: &str) -> String {
        pieces.give(node).map(|net| net.to_string()).unwrap_or_default()
    }

    #[test]
    fn pieces_are_given_once_and_in_turn() {
        let mut pieces = Pieces::new("10.244.0.0/22").expect("cidr");
        pieces.exclude("10.244.1.0/28".parse().expect("services"));
        pieces.take(&"10.244.0.0/24".parse().expect("cidr"), "a");
        assert_eq!(give(&mut pieces, "b"), "10.244.2.0/24");
        assert_eq!(give(&mut pieces, "b"), "10.244.2.0/24", "asked again before it was seen");
        pieces.release("a");
        assert_eq!(give(&mut pieces, "c"), "10.244.3.0/24", "not at once again");
        assert_eq!(give(&mut pieces, "d"), "10.244.0.0/24");
        assert_eq!(give(&mut pieces, "e"), "", "all taken");
    }

    #[test]
    fn both_families_and_wrong_sizes() {
        let mut v6 = Pieces::new("fd00:10:244::/48").expect("cidr");
        assert_eq!([give(&mut v6, "a"), give(&mut v6, "b")], ["fd00:10:244::/64", "fd00:10:244:1::/64"]);
        for text in ["10.0.0.0/25", "10.0.0.0/4", "x"] {
            assert!(Pieces::new(text).is_err(), "{text}");
        }
    }
}
