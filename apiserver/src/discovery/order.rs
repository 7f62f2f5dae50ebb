//! The order of groups and versions in the aggregated document
//! (k8s.io/apiserver/pkg/endpoints/discovery/aggregated/handler.go@v0.37.2: calculateAPIGroupsLocked).
//!
//! Invariant: of a group version that several sources have one is shown: another server's before a built-in one
//! before a custom resource's. A group stands where the best of its shown versions does.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::aggregation::{Found, priorities};
use crate::registry::Registry;

/// A version of a group that is shown.
pub(super) struct Version<'a> {
    pub(super) version: &'a str,
    /// What another server tells of it.
    pub(super) remote: Option<&'a Found>,
    priorities: (i64, i64),
}

/// All groups but the core group, each with its versions.
pub(super) fn groups<'a>(
    registry: &Registry,
    found: &'a BTreeMap<(String, String), Found>,
) -> Vec<(&'a str, Vec<Version<'a>>)> {
    let mut groups: BTreeMap<&str, Vec<Version<'_>>> = BTreeMap::new();
    let mut show = |group: &'a str, version: Version<'a>| {
        let shown = groups.entry(group).or_default();
        if shown.iter().all(|known| known.version != version.version) {
            shown.push(version);
        }
    };
    for found in found.values() {
        let priorities = found.priorities;
        show(&found.group, Version { version: &found.version, remote: Some(found), priorities });
    }
    for entry in registry.fixed_entries().iter().filter(|entry| !entry.facts.group.is_empty()) {
        let (group, version) = (entry.facts.group, entry.facts.version);
        show(group, Version { version, remote: None, priorities: priorities::built_in(group, version) });
    }
    for entry in registry.custom_entries() {
        let (group, version) = (entry.facts.group, entry.facts.version);
        show(group, Version { version, remote: None, priorities: priorities::CUSTOM });
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    for (_, versions) in &mut groups {
        versions.sort_by(|a, b| {
            let by_name = || api::names::compare_versions(b.version, a.version);
            b.priorities.1.cmp(&a.priorities.1).then_with(by_name)
        });
    }
    // Groups of equal priority stay in the order of their names.
    groups.sort_by_key(|(_, versions)| Reverse(versions.iter().map(|version| version.priorities.0).max()));
    groups
}
