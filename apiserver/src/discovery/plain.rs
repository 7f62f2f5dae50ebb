//! The unaggregated documents: APIVersions, APIGroupList, APIGroup, APIResourceList.

use api::facts::{self, Resource};
use api::map;
use api::value::{Map, Value};

use crate::aggregation::{self, Table};
use crate::registry::Registry;

/// The served versions of a group, best first.
pub(super) fn versions(registry: &Registry, group: &str) -> Vec<&'static str> {
    let of_group = registry.entries().into_iter().filter(|entry| entry.facts.group == group);
    let mut served: Vec<&'static str> = of_group.map(|entry| entry.facts.version).collect();
    match facts::groups().iter().find(|known| known.0 == group) {
        Some((_, versions)) => versions.iter().copied().filter(|version| served.contains(version)).collect(),
        None => {
            served.sort_by(|a, b| api::names::compare_versions(b, a));
            served.dedup();
            served
        }
    }
}

/// The groups that this server serves itself, with their versions; the core group is none of them.
pub(super) fn groups(registry: &Registry) -> Vec<(&'static str, Vec<&'static str>)> {
    let fixed = facts::groups().iter().map(|group| group.0).filter(|group| !group.is_empty());
    let mut custom: Vec<&'static str> = registry.custom_entries().iter().map(|entry| entry.facts.group).collect();
    custom.sort_unstable();
    custom.dedup();
    custom.retain(|group| facts::groups().iter().all(|fixed| fixed.0 != *group));
    fixed.chain(custom).map(|group| (group, versions(registry, group))).filter(|group| !group.1.is_empty()).collect()
}

/// What is served of a version.
pub(super) fn entries(registry: &Registry, group: &str, version: &str) -> Vec<&'static Resource> {
    let facts = registry.entries().into_iter().map(|entry| entry.facts);
    facts.filter(|facts| facts.group == group && facts.version == version).collect()
}

pub(super) fn api_versions(address: &str) -> Map {
    let everywhere = map! { "clientCIDR" => "0.0.0.0/0", "serverAddress" => address };
    map! { "versions" => texts(&["v1"]), "serverAddressByClientCIDRs" => vec![Value::Map(everywhere)] }
}

/// The group that says which groups there are, which no APIService is of, and what the APIServices make.
pub(super) fn group_list(registry: &Registry, table: &Table) -> Map {
    let own = group_of(aggregation::GROUP, &versions(registry, aggregation::GROUP));
    let others = table.groups().iter().map(|(name, versions)| {
        let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
        group_of(name, &versions)
    });
    map! { "groups" => std::iter::once(own).chain(others).map(Value::Map).collect::<Vec<_>>() }
}

/// A group as the APIServices make it, or one that no APIService is of yet.
pub(super) fn group(registry: &Registry, table: &Table, name: &str) -> Option<Map> {
    let registered: Vec<&str> = table.versions(name).iter().map(String::as_str).collect();
    let versions = if registered.is_empty() { versions(registry, name) } else { registered };
    (!versions.is_empty() && !name.is_empty()).then(|| group_of(name, &versions))
}

fn group_of(name: &str, versions: &[&str]) -> Map {
    let version = |version: &&str| map! { "groupVersion" => facts::api_version(name, version), "version" => *version };
    let listed: Vec<Value> = versions.iter().map(version).map(Value::Map).collect();
    let mut group = map! { "name" => name, "versions" => listed };
    if let Some(preferred) = versions.first() {
        group.set("preferredVersion", version(preferred));
    }
    group
}

/// Nothing when no resource of the version is served.
pub(super) fn resource_list(registry: &Registry, group: &str, version: &str) -> Option<Map> {
    let mut rows: Vec<Map> = entries(registry, group, version).into_iter().flat_map(rows).collect();
    if rows.is_empty() {
        return None;
    }
    rows.sort_by(|a, b| a.str("name").cmp(b.str("name")));
    let resources: Vec<Value> = rows.into_iter().map(Value::Map).collect();
    Some(map! { "groupVersion" => facts::api_version(group, version), "resources" => resources })
}

/// A resource and its subresources.
fn rows(facts: &'static Resource) -> Vec<Map> {
    let mut rows = vec![row(facts)];
    for sub in facts.subresources {
        let name = format!("{}/{}", facts.plural, sub.name);
        let mut row = map! { "name" => name, "singularName" => "", "namespaced" => facts.namespaced };
        if (sub.group, sub.version) != (facts.group, facts.version) {
            row.set("group", sub.group);
            row.set("version", sub.version);
        }
        row.set("kind", sub.kind);
        row.set("verbs", texts(sub.verbs));
        rows.push(row);
    }
    rows
}

fn row(facts: &'static Resource) -> Map {
    let mut row = map! {
        "name" => facts.plural, "singularName" => facts.singular, "namespaced" => facts.namespaced,
        "kind" => facts.kind, "verbs" => texts(facts.verbs),
    };
    if !facts.short_names.is_empty() {
        row.set("shortNames", texts(facts.short_names));
    }
    if !facts.categories.is_empty() {
        row.set("categories", texts(facts.categories));
    }
    if !facts.storage_hash.is_empty() {
        row.set("storageVersionHash", facts.storage_hash);
    }
    row
}

pub(super) fn texts(list: &[&'static str]) -> Vec<Value> {
    list.iter().map(|text| Value::from(*text)).collect()
}
