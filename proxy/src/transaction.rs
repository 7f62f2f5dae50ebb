//! From one ruleset to the next: the transactions that the kernel gets.
//!
//! Invariant: a chain that went out of use is only emptied; it is deleted at least a second later.
//! Kernels before 6.2 still count it as referenced for a while after the verdict-map element that
//! pointed at it is gone (pkg/proxy/nftables/proxier.go@v1.37.2, syncProxyRules).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::names::is_affinity_set;
use crate::ruleset::{Chain, Container, Kind, Ruleset, Script};

/// What the kernel holds in our table, as far as a full sync must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Existing {
    pub(crate) chains: BTreeSet<String>,
    /// Sets and maps, with their timeout in seconds.
    pub(crate) containers: BTreeMap<String, (Kind, Option<u32>)>,
}

/// One atomic change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) script: String,
    /// Chains that the script only emptied.
    pub(crate) stale: BTreeSet<String>,
}

/// Makes the table equal to `new` whatever it holds. Who is bound to which endpoint survives.
pub(crate) fn full(new: &Ruleset, existing: &Existing) -> Transaction {
    let mut script = Script::of(new);
    script.add_table();
    recreate_base_chains(&mut script, new);
    for (name, chain) in &new.chains {
        script.add_chain(name, chain);
        script.command("flush", "chain", name);
    }
    let stale: BTreeSet<String> =
        existing.chains.iter().filter(|name| !new.chains.contains_key(*name)).cloned().collect();
    stale.iter().for_each(|name| script.command("flush", "chain", name));
    for (name, (kind, timeout)) in &existing.containers {
        let same = new.containers.get(name).is_some_and(|c| c.shape.kind == *kind && c.shape.timeout == *timeout);
        if !same {
            script.command("delete", kind.nft(), name);
        }
    }
    for (name, container) in new.by_kind() {
        script.add_container(name, &container.shape);
        if !is_affinity_set(name) {
            script.command("flush", container.shape.kind.nft(), name);
        }
    }
    new.chains.iter().for_each(|(name, chain)| script.add_rules(name, chain));
    new.by_kind().for_each(|(name, container)| script.add_elements(name, container));
    Transaction { script: script.text, stale }
}

/// The last resort: throws the whole table away first, in the same transaction.
pub(crate) fn from_nothing(new: &Ruleset) -> Transaction {
    let mut script = Script::of(new);
    script.command("add", "table", "");
    script.command("delete", "table", "");
    script.text.push_str(&new.to_text());
    Transaction { script: script.text, stale: BTreeSet::new() }
}

/// Type, hook and priority of a base chain cannot be altered, so those of an older proxy go first.
fn recreate_base_chains(script: &mut Script, new: &Ruleset) {
    for (name, _) in new.chains.iter().filter(|(_, chain)| chain.hook.is_some()) {
        script.command("add", "chain", name);
        script.command("delete", "chain", name);
    }
}

/// The difference between two rulesets; `None` if there is none.
pub(crate) fn delta(old: &Ruleset, new: &Ruleset) -> Option<Transaction> {
    let mut script = Script::of(new);
    let changed = changed_chains(old, new);
    let stale: BTreeSet<String> = old.chains.keys().filter(|name| !new.chains.contains_key(*name)).cloned().collect();
    for (name, _) in changed.iter().filter(|(name, _)| old.chains.contains_key(*name)) {
        script.command("flush", "chain", name);
    }
    stale.iter().for_each(|name| script.command("flush", "chain", name));
    delete_containers(&mut script, old, new);
    add_containers(&mut script, old, new);
    for (name, chain) in changed.iter().filter(|(name, _)| !old.chains.contains_key(*name)) {
        script.add_chain(name, chain);
    }
    changed.iter().for_each(|(name, chain)| script.add_rules(name, chain));
    change_elements(&mut script, old, new);
    if script.is_empty() { None } else { Some(Transaction { script: script.text, stale }) }
}

fn changed_chains<'a>(old: &Ruleset, new: &'a Ruleset) -> Vec<(&'a String, &'a Arc<Chain>)> {
    let same = |name: &String, chain: &Arc<Chain>| {
        old.chains.get(name).is_some_and(|before| Arc::ptr_eq(before, chain) || before == chain)
    };
    new.chains.iter().filter(|(name, chain)| !same(name, chain)).collect()
}

/// The container of the other ruleset if it has the same shape.
fn counterpart<'a>(of: &'a Ruleset, name: &str, container: &Container) -> Option<&'a Container> {
    of.containers.get(name).filter(|other| other.shape == container.shape)
}

fn delete_containers(script: &mut Script, old: &Ruleset, new: &Ruleset) {
    for (name, container) in old.by_kind().filter(|(name, c)| counterpart(new, name, c).is_none()) {
        script.command("delete", container.shape.kind.nft(), name);
    }
}

fn add_containers(script: &mut Script, old: &Ruleset, new: &Ruleset) {
    for (name, container) in new.by_kind().filter(|(name, c)| counterpart(old, name, c).is_none()) {
        script.add_container(name, &container.shape);
    }
}

fn change_elements(script: &mut Script, old: &Ruleset, new: &Ruleset) {
    let none = BTreeMap::new();
    for (name, container) in new.by_kind() {
        let before = counterpart(old, name, container).map_or(&none, |c| &c.elements);
        let unchanged = |key: &String, in_other: &BTreeMap<_, _>, element| in_other.get(key) == Some(element);
        for (key, _) in before.iter().filter(|(key, e)| !unchanged(key, &container.elements, *e)) {
            script.delete_element(name, key);
        }
        for (key, element) in container.elements.iter().filter(|(key, e)| !unchanged(key, before, *e)) {
            script.add_element(name, key, element);
        }
    }
}

/// Deletes chains that nothing refers to any more.
pub(crate) fn delete_chains(of: &Ruleset, names: &BTreeSet<String>) -> String {
    let mut script = Script::of(of);
    names.iter().for_each(|name| script.command("delete", "chain", name));
    script.text
}
