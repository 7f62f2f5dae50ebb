//! Every APIService, and the groups that they make in the order of their priorities
//! (k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper/helpers.go@v0.37.2: SortedByGroupAndVersion).
//!
//! Invariant: a table never changes; a changed APIService makes a new one.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::service::ApiService;

/// A group and its versions, best first.
pub(crate) type Group = (String, Vec<String>);

#[derive(Default)]
pub(crate) struct Table {
    by_name: BTreeMap<String, Arc<ApiService>>,
    groups: Vec<Group>,
}

impl Table {
    /// This table with one APIService as it is now, or without it.
    pub(super) fn with(&self, name: &str, service: Option<Arc<ApiService>>) -> Self {
        let mut by_name = self.by_name.clone();
        match service {
            Some(service) => by_name.insert(name.to_owned(), service),
            None => by_name.remove(name),
        };
        Table { groups: groups(by_name.values().map(|service| &**service)), by_name }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<ApiService>> {
        self.by_name.get(name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ApiService>> {
        self.by_name.values()
    }

    /// The groups as discovery lists them; the core group is none of them.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The versions of a group, best first.
    pub(crate) fn versions(&self, group: &str) -> &[String] {
        self.groups.iter().find(|known| known.0 == group).map_or(&[], |known| &known.1)
    }
}

/// A group stands where the best of its versions does; versions have an order of their own within it.
fn groups<'a>(services: impl Iterator<Item = &'a ApiService>) -> Vec<Group> {
    let mut sorted: Vec<&ApiService> = services.filter(|service| !service.group.is_empty()).collect();
    sorted.sort_by_key(|service| (Reverse(service.group_priority), &service.name));
    let mut groups: Vec<(&str, Vec<&ApiService>)> = Vec::new();
    for service in sorted {
        match groups.iter_mut().find(|known| known.0 == service.group) {
            Some(known) => known.1.push(service),
            None => groups.push((&service.group, vec![service])),
        }
    }
    let versions = |mut of_group: Vec<&ApiService>| -> Vec<String> {
        of_group.sort_by(|a, b| {
            let by_name = || api::names::compare_versions(&b.version, &a.version);
            b.version_priority.cmp(&a.version_priority).then_with(by_name)
        });
        of_group.into_iter().map(|service| service.version.clone()).collect()
    };
    groups.into_iter().map(|(group, of_group)| (group.to_owned(), versions(of_group))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::testing::object;

    /// `version.group` with its group's and its own priority.
    fn check(services: &[(&str, i64, i64)], expect: &str) {
        let mut table = Table::default();
        for (name, group, own) in services {
            let (version, of) = name.split_once('.').expect("a dot");
            let object = object(&format!(
                r#"{{"metadata":{{"name":"{name}"}},"spec":{{"group":"{of}","version":"{version}","groupPriorityMinimum":{group},"versionPriority":{own}}}}}"#
            ));
            table = table.with(name, Some(Arc::new(ApiService::of(object))));
        }
        let shown: Vec<String> =
            table.groups().iter().map(|(group, versions)| format!("{group}:{}", versions.join(","))).collect();
        assert_eq!(shown.join(" "), expect);
    }

    #[test]
    fn groups_and_versions_by_their_priorities() {
        check(&[("v1.", 18_000, 1), ("v1.b", 10, 1), ("v1.a", 10, 1)], "a:v1 b:v1");
        check(&[("v1.a", 10, 1), ("v1.b", 20, 1)], "b:v1 a:v1");
        check(&[("v1.a", 10, 15), ("v1beta1.a", 30, 5), ("v1.b", 20, 1)], "a:v1,v1beta1 b:v1");
        check(&[("v1.a", 10, 1), ("v2.a", 10, 2), ("v10.a", 10, 1), ("v1alpha1.a", 10, 3)], "a:v1alpha1,v2,v10,v1");
        // Of equal priority the name of the APIService decides, which begins with its version.
        check(&[("v2.a", 10, 1), ("v1.b", 10, 1)], "b:v1 a:v2");
    }
}
