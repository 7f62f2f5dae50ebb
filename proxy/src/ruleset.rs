//! An nftables table as data: chains with their rules, sets and maps with their elements.
//!
//! Invariant: a ruleset is complete. Two rulesets are compared to get a transaction (`delta`), none
//! is ever patched. Rules and keys are nft's own text. Non-goal: knowing what a Service is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::family::Family;

/// A whole table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ruleset {
    pub(crate) family: Family,
    pub(crate) table: String,
    pub(crate) chains: BTreeMap<String, Arc<Chain>>,
    pub(crate) containers: BTreeMap<String, Container>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// `type ... hook ... priority ...` of a chain that netfilter calls itself.
    pub(crate) hook: Option<&'static str>,
    pub(crate) comment: Option<&'static str>,
    pub(crate) rules: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Set,
    Map,
}

impl Kind {
    pub(crate) fn nft(self) -> &'static str {
        match self {
            Kind::Set => "set",
            Kind::Map => "map",
        }
    }
}

/// What a set or map is, without its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) of: String,
    pub(crate) comment: Option<&'static str>,
    /// Seconds after which an element that packets added goes away; such a set belongs to the
    /// kernel and its elements are never ours.
    pub(crate) timeout: Option<u32>,
}

/// A set or map and its elements by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) shape: Shape,
    pub(crate) elements: BTreeMap<String, Element>,
}

impl Container {
    pub(crate) fn empty(shape: Shape) -> Self {
        Container { shape, elements: BTreeMap::new() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    /// The verdict, in a map.
    pub(crate) value: Option<String>,
    pub(crate) comment: Option<String>,
}

impl Ruleset {
    /// The table as nft commands that make it from nothing, in the order of knftables' dump
    /// (chains, sets, maps, rules, elements; each by name).
    pub(crate) fn to_text(&self) -> String {
        let mut out = Script::of(self);
        out.add_table();
        self.chains.iter().for_each(|(name, chain)| out.add_chain(name, chain));
        self.by_kind().for_each(|(name, container)| out.add_container(name, &container.shape));
        self.chains.iter().for_each(|(name, chain)| out.add_rules(name, chain));
        self.by_kind().for_each(|(name, container)| out.add_elements(name, container));
        out.text
    }

    /// Sets before maps.
    pub(crate) fn by_kind(&self) -> impl Iterator<Item = (&String, &Container)> {
        let of = |kind| self.containers.iter().filter(move |(_, container)| container.shape.kind == kind);
        of(Kind::Set).chain(of(Kind::Map))
    }
}

/// A list of nft commands on one table: one transaction.
pub(crate) struct Script {
    family: &'static str,
    table: String,
    pub(crate) text: String,
}

impl Script {
    pub(crate) fn of(ruleset: &Ruleset) -> Self {
        Script { family: ruleset.family.nft(), table: ruleset.table.clone(), text: String::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Writes `VERB OBJECT FAMILY TABLE REST`.
    pub(crate) fn command(&mut self, verb: &str, object: &str, rest: &str) {
        let separator = if rest.is_empty() { "" } else { " " };
        let line = format!("{verb} {object} {} {}{separator}{rest}\n", self.family, self.table);
        self.text.push_str(&line);
    }

    pub(crate) fn add_table(&mut self) {
        self.command("add", "table", "{ comment \"rules for kube-proxy\" ; }");
    }

    pub(crate) fn add_chain(&mut self, name: &str, chain: &Chain) {
        let hook = chain.hook.map(|hook| format!("{hook} ; "));
        let comment = chain.comment.map(|comment| format!("comment \"{comment}\" ; "));
        let body = hook.unwrap_or_default() + &comment.unwrap_or_default();
        let rest = if body.is_empty() { name.to_owned() } else { format!("{name} {{ {body}}}") };
        self.command("add", "chain", &rest);
    }

    pub(crate) fn add_rules(&mut self, name: &str, chain: &Chain) {
        for rule in &chain.rules {
            self.command("add", "rule", &format!("{name} {rule}"));
        }
    }

    pub(crate) fn add_container(&mut self, name: &str, shape: &Shape) {
        let mut rest = format!("{name} {{ type {} ;", shape.of);
        if let Some(seconds) = shape.timeout {
            // Without `dynamic` the kernel adds it later and then refuses to see the set again.
            rest.push_str(&format!(" flags dynamic,timeout ; timeout {seconds}s ;"));
        }
        if let Some(comment) = shape.comment {
            rest.push_str(&format!(" comment \"{comment}\" ;"));
        }
        self.command("add", shape.kind.nft(), &(rest + " }"));
    }

    pub(crate) fn add_elements(&mut self, name: &str, container: &Container) {
        container.elements.iter().for_each(|(key, element)| self.add_element(name, key, element));
    }

    pub(crate) fn add_element(&mut self, name: &str, key: &str, element: &Element) {
        let comment = element.comment.as_ref().map(|comment| format!(" comment \"{comment}\"")).unwrap_or_default();
        let value = element.value.as_ref().map(|value| format!(" : {value}")).unwrap_or_default();
        self.command("add", "element", &format!("{name} {{ {key}{comment}{value} }}"));
    }

    pub(crate) fn delete_element(&mut self, name: &str, key: &str) {
        self.command("delete", "element", &format!("{name} {{ {key} }}"));
    }
}
