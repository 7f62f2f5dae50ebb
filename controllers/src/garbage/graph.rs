//! The graph of owners and dependents, changed by what the watches see
//! (pkg/controller/garbagecollector/{graph,graph_builder}.go@v1.37.2).
//!
//! Invariant: pure; a change returns which nodes are to be looked at ([`Effects`]). A node is virtual while
//! only others' references tell of it. Nothing here decides a deletion: that needs live reads.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::ApiResource;

/// Owners known to be absent, remembered to spare live reads (upstream: ReferenceCache of 500).
const ABSENT_MAX: usize = 500;
pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

pub(super) type Uid = String;

/// What a reference says of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Identity {
    // In the order in which alternatives are tried.
    pub(super) kind: String,
    pub(super) api_version: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: Uid,
}

impl Identity {
    /// The identity of an object that a watch of `api` saw.
    pub(super) fn observed(api: &ApiResource, meta: &ObjectMeta) -> Self {
        Identity {
            api_version: api.api_version.clone(),
            kind: api.kind.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }

    /// The identity that an owner reference of an object in `namespace` claims.
    pub(super) fn claimed(owner: &OwnerReference, namespace: &str) -> Self {
        Identity {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            namespace: namespace.into(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        }
    }

    /// True when the reference names this object, whatever its namespace.
    fn matches(&self, owner: &OwnerReference) -> bool {
        self.uid == owner.uid
            && self.name == owner.name
            && self.kind == owner.kind
            && self.api_version == owner.api_version
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Identity { kind, api_version, namespace, name, uid } = self;
        write!(f, "[{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}]")
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) identity: Identity,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) dependents: BTreeSet<Uid>,
    pub(super) is_virtual: bool,
    pub(super) being_deleted: bool,
    /// Foreground deletion has begun: dependents go first.
    pub(super) deleting_dependents: bool,
    waits_for_dependents: bool,
    waits_for_orphans: bool,
}

/// Nodes that a change makes worth looking at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    pub(super) delete: Vec<Uid>,
    /// As `delete`, but after a back-off.
    pub(super) delete_later: Vec<Uid>,
    pub(super) orphan: Vec<Uid>,
    /// Dependents that refer to an owner in another namespace, with that reference.
    pub(super) invalid: Vec<(Identity, Identity)>,
}

#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
    absent: HashSet<Identity>,
    absent_order: VecDeque<Identity>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    pub(super) fn dependents(&self, node: &Node) -> Vec<&Node> {
        node.dependents.iter().filter_map(|uid| self.nodes.get(uid)).collect()
    }

    /// The dependents that keep a node in foreground deletion from going.
    pub(super) fn blocking_dependents(&self, node: &Node) -> Vec<&Node> {
        let blocks =
            |owner: &OwnerReference| owner.uid == node.identity.uid && owner.block_owner_deletion == Some(true);
        self.dependents(node).into_iter().filter(|dependent| dependent.owners.iter().any(blocks)).collect()
    }

    pub(super) fn is_absent(&self, owner: &Identity) -> bool {
        self.absent.contains(owner)
    }

    pub(super) fn add_absent(&mut self, owner: Identity) {
        if self.absent.insert(owner.clone()) {
            self.absent_order.push_back(owner);
        }
        if self.absent_order.len() > ABSENT_MAX
            && let Some(oldest) = self.absent_order.pop_front()
        {
            self.absent.remove(&oldest);
        }
    }

    /// An object was added or changed.
    pub(super) fn observe(&mut self, identity: Identity, meta: &ObjectMeta) -> Effects {
        let mut effects = Effects::default();
        let uid = identity.uid.clone();
        let owners = meta.owner_references.clone().unwrap_or_default();
        self.confirm(&identity, &mut effects);
        match self.nodes.get_mut(&uid) {
            None => {
                self.nodes.insert(uid.clone(), Node { identity, owners: owners.clone(), ..Node::default() });
                self.add_to_owners(&uid, &owners, &mut effects);
            }
            Some(node) => {
                let before = std::mem::replace(&mut node.owners, owners.clone());
                self.change_owners(&uid, &before, &owners, &mut effects);
            }
        }
        self.transitions(&uid, meta, &mut effects);
        effects
    }

    /// Makes a virtual node real; dependents whose references do not fit it are looked at again.
    fn confirm(&mut self, identity: &Identity, effects: &mut Effects) {
        let Some(node) = self.nodes.get(&identity.uid).filter(|node| node.is_virtual) else { return };
        if node.identity != *identity {
            let (_, odd) = self.partition(node, identity);
            for dependent in odd {
                if !identity.namespace.is_empty() && dependent.identity.namespace != identity.namespace {
                    effects.invalid.extend(invalid_reference(dependent, &identity.uid));
                }
                effects.delete.push(dependent.identity.uid.clone());
            }
        }
        if let Some(node) = self.nodes.get_mut(&identity.uid) {
            node.identity = identity.clone();
            node.is_virtual = false;
        }
    }

    fn add_to_owners(&mut self, uid: &str, owners: &[OwnerReference], effects: &mut Effects) {
        let Some(me) = self.nodes.get(uid).map(|node| node.identity.clone()) else { return };
        let mut suspicious = false;
        for owner in owners {
            let known = self.nodes.contains_key(&owner.uid);
            let node = self.nodes.entry(owner.uid.clone()).or_insert_with(|| Node {
                identity: Identity::claimed(owner, &me.namespace),
                is_virtual: true,
                ..Node::default()
            });
            node.dependents.insert(uid.to_owned());
            if !known {
                // It may be gone for long: a live read will tell.
                effects.delete.push(owner.uid.clone());
                continue;
            }
            let other_namespace = node.identity.namespace != me.namespace;
            let namespaced = !node.identity.namespace.is_empty();
            if namespaced && other_namespace {
                if !node.is_virtual {
                    effects.invalid.push((me.clone(), Identity::claimed(owner, &me.namespace)));
                }
                suspicious = true;
            } else if !node.identity.matches(owner) || (other_namespace && node.is_virtual) {
                suspicious = true;
            }
        }
        if suspicious {
            effects.delete.push(uid.to_owned());
        }
    }

    fn change_owners(&mut self, uid: &str, before: &[OwnerReference], after: &[OwnerReference], effects: &mut Effects) {
        let find = |all: &[OwnerReference], uid: &str| all.iter().find(|owner| owner.uid == uid).cloned();
        for old in before {
            let blocked = old.block_owner_deletion == Some(true);
            let new = find(after, &old.uid);
            let unblocked = new.as_ref().is_none_or(|new| new.block_owner_deletion != Some(true));
            let Some(owner) = self.nodes.get_mut(&old.uid) else { continue };
            if new.is_none() {
                owner.dependents.remove(uid);
            }
            if blocked && unblocked {
                effects.delete.push(old.uid.clone());
            }
        }
        let added: Vec<OwnerReference> = after.iter().filter(|new| find(before, &new.uid).is_none()).cloned().collect();
        self.add_to_owners(uid, &added, effects);
    }

    fn transitions(&mut self, uid: &str, meta: &ObjectMeta, effects: &mut Effects) {
        let deleted = meta.deletion_timestamp.is_some();
        let waits = |finalizer: &str| deleted && meta.finalizers.iter().flatten().any(|has| has == finalizer);
        let Some(node) = self.nodes.get_mut(uid) else { return };
        let (foreground, orphan) = (waits(FOREGROUND), waits(ORPHAN));
        let (starts, starts_orphan) = (foreground && !node.waits_for_dependents, orphan && !node.waits_for_orphans);
        node.being_deleted |= deleted;
        (node.waits_for_dependents, node.waits_for_orphans) = (foreground, orphan);
        if starts_orphan {
            effects.orphan.push(uid.to_owned());
        } else if starts {
            node.deleting_dependents = true;
            effects.delete.extend(node.dependents.iter().cloned());
            effects.delete.push(uid.to_owned());
        }
    }

    /// A watch saw an object go.
    pub(super) fn delete(&mut self, identity: &Identity) -> Effects {
        let mut effects = Effects::default();
        self.remove(identity, &mut effects);
        effects
    }

    /// A live read found that no object with this identity exists.
    pub(super) fn delete_virtual(&mut self, identity: &Identity) -> Effects {
        let mut effects = Effects::default();
        let Some(node) = self.nodes.get(&identity.uid) else { return effects };
        let (fitting, odd) = self.partition(node, identity);
        let alternative = alternative_identity(&odd, identity);
        let fitting: Vec<Uid> = fitting.iter().map(|node| node.identity.uid.clone()).collect();
        let (is_virtual, is_it) = (node.is_virtual, node.identity == *identity);
        if (is_virtual && odd.is_empty()) || (!is_virtual && is_it) {
            self.remove(identity, &mut effects);
            return effects;
        }
        // Others still refer to something else with this uid.
        if !fitting.is_empty() {
            self.add_absent(identity.clone());
            effects.delete.extend(fitting);
        }
        if is_virtual
            && is_it
            && let Some(alternative) = alternative
            && let Some(node) = self.nodes.get_mut(&identity.uid)
        {
            node.identity = alternative;
            effects.delete_later.push(identity.uid.clone());
        }
        effects
    }

    fn remove(&mut self, identity: &Identity, effects: &mut Effects) {
        let Some(node) = self.nodes.remove(&identity.uid) else { return };
        for owner in &node.owners {
            if let Some(owner) = self.nodes.get_mut(&owner.uid) {
                owner.dependents.remove(&identity.uid);
                if owner.deleting_dependents {
                    effects.delete.push(owner.identity.uid.clone());
                }
            }
        }
        if !node.dependents.is_empty() {
            self.add_absent(identity.clone());
        }
        effects.delete.extend(node.dependents);
    }

    /// The dependents whose references fit the identity, and those that have one that does not.
    fn partition(&self, node: &Node, identity: &Identity) -> (Vec<&Node>, Vec<&Node>) {
        let (mut fitting, mut odd) = (Vec::new(), Vec::new());
        for dependent in self.dependents(node) {
            if !identity.namespace.is_empty() && identity.namespace != dependent.identity.namespace {
                odd.push(dependent);
                continue;
            }
            let mut references = dependent.owners.iter().filter(|owner| owner.uid == identity.uid);
            if references.clone().any(|owner| identity.matches(owner)) {
                fitting.push(dependent);
            }
            if references.any(|owner| !identity.matches(owner)) {
                odd.push(dependent);
            }
        }
        (fitting, odd)
    }
}

fn invalid_reference(dependent: &Node, owner: &str) -> Option<(Identity, Identity)> {
    let reference = dependent.owners.iter().find(|reference| reference.uid == owner)?;
    Some((dependent.identity.clone(), Identity::claimed(reference, &dependent.identity.namespace)))
}

/// Another identity that references with the same uid claim: the next in order, else the first.
fn alternative_identity(dependents: &[&Node], absent: &Identity) -> Option<Identity> {
    let mut claimed = BTreeSet::new();
    for dependent in dependents {
        for owner in dependent.owners.iter().filter(|owner| owner.uid == absent.uid) {
            let mut identity = Identity::claimed(owner, &dependent.identity.namespace);
            let same_kind = identity.api_version == absent.api_version && identity.kind == absent.kind;
            if absent.namespace.is_empty() && same_kind {
                identity.namespace = String::new();
            }
            claimed.insert(identity);
        }
    }
    claimed.remove(absent);
    let following = claimed.iter().find(|identity| *identity > absent).cloned();
    following.or_else(|| claimed.first().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(uid: &str) -> Identity {
        Identity {
            kind: "K".into(),
            api_version: "v1".into(),
            namespace: "ns".into(),
            name: uid.into(),
            uid: uid.into(),
        }
    }

    fn meta(owners: &[(&str, bool)], deleting_with: &[&str]) -> ObjectMeta {
        let owners: Vec<serde_json::Value> = owners
            .iter()
            .map(|(uid, block)| serde_json::json!({"apiVersion": "v1", "kind": "K", "name": uid, "uid": uid, "blockOwnerDeletion": block}))
            .collect();
        let deletion = (!deleting_with.is_empty()).then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(
            serde_json::json!({"ownerReferences": owners, "finalizers": deleting_with, "deletionTimestamp": deletion}),
        )
        .expect("meta")
    }

    fn sorted(mut uids: Vec<Uid>) -> Vec<Uid> {
        uids.sort();
        uids.dedup();
        uids
    }

    #[test]
    fn an_owners_end_makes_its_dependents_worth_a_look() {
        let mut graph = Graph::default();
        assert_eq!(graph.observe(id("owner"), &meta(&[], &[])), Effects::default());
        assert_eq!(graph.observe(id("a"), &meta(&[("owner", false)], &[])), Effects::default());
        let effects = graph.delete(&id("owner"));
        assert_eq!(effects.delete, ["a"]);
        assert!(graph.is_absent(&id("owner")));
        assert!(graph.delete(&id("owner")).delete.is_empty(), "twice is nothing");
    }

    #[test]
    fn an_unknown_owner_is_looked_up() {
        let mut graph = Graph::default();
        assert_eq!(graph.observe(id("a"), &meta(&[("owner", false)], &[])).delete, ["owner"]);
        assert!(graph.get("owner").is_some_and(|node| node.is_virtual));
        let absent = graph.get("owner").map(|node| node.identity.clone()).expect("virtual");
        assert_eq!(graph.delete_virtual(&absent).delete, ["a"]);
        graph.observe(id("b"), &meta(&[("owner", false)], &[]));
        graph.observe(id("owner"), &meta(&[], &[]));
        assert!(graph.get("owner").is_some_and(|node| !node.is_virtual && node.dependents.len() == 1));
    }

    #[test]
    fn foreground_deletion_waits_for_blocking_dependents() {
        let mut graph = Graph::default();
        graph.observe(id("owner"), &meta(&[], &[]));
        graph.observe(id("a"), &meta(&[("owner", true)], &[]));
        graph.observe(id("b"), &meta(&[("owner", false)], &[]));
        let effects = graph.observe(id("owner"), &meta(&[], &[FOREGROUND]));
        assert_eq!(sorted(effects.delete), ["a", "b", "owner"]);
        assert!(graph.observe(id("owner"), &meta(&[], &[FOREGROUND])).delete.is_empty(), "only when it starts");
        let owner = graph.get("owner").expect("owner");
        assert!(owner.deleting_dependents && owner.being_deleted);
        assert_eq!(graph.blocking_dependents(owner).len(), 1);
        assert_eq!(graph.observe(id("a"), &meta(&[("owner", false)], &[])).delete, ["owner"], "unblocked");
        assert_eq!(graph.delete(&id("b")).delete, ["owner"]);
    }

    #[test]
    fn orphaning_starts_once() {
        let mut graph = Graph::default();
        graph.observe(id("owner"), &meta(&[], &[]));
        assert_eq!(graph.observe(id("owner"), &meta(&[], &[ORPHAN])).orphan, ["owner"]);
        assert!(graph.observe(id("owner"), &meta(&[], &[ORPHAN])).orphan.is_empty());
    }

    #[test]
    fn references_into_another_namespace_are_reported_and_checked() {
        let mut graph = Graph::default();
        graph.observe(id("owner"), &meta(&[], &[]));
        let foreign = Identity { namespace: "other".into(), ..id("a") };
        let effects = graph.observe(foreign.clone(), &meta(&[("owner", false)], &[]));
        assert_eq!(effects.delete, ["a"]);
        assert_eq!(effects.invalid, [(foreign, Identity { namespace: "other".into(), ..id("owner") })]);
    }

    #[test]
    fn conflicting_claims_to_one_uid_are_tried_in_turn() {
        let mut graph = Graph::default();
        graph.observe(id("a"), &meta(&[("owner", false)], &[]));
        let mut other = meta(&[("owner", false)], &[]);
        other.owner_references.as_mut().expect("owners")[0].kind = "L".into();
        assert_eq!(graph.observe(id("b"), &other).delete, ["b"]);
        let effects = graph.delete_virtual(&id("owner"));
        assert_eq!((effects.delete, effects.delete_later), (vec!["a".to_owned()], vec!["owner".to_owned()]));
        assert_eq!(graph.get("owner").map(|node| node.identity.kind.as_str()), Some("L"));
    }
}
