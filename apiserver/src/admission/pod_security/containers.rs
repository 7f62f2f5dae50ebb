//! How checks look at a pod: container by container, and how they tell what they found
//! (k8s.io/pod-security-admission/policy/{visitor,helpers}.go@v0.37.2).

use std::collections::BTreeSet;

use api::value::{Map, Value};

/// A pod or template in the form that checks ask.
pub(super) struct Pod<'a> {
    pub(super) annotations: &'a Map,
    pub(super) spec: &'a Map,
}

impl<'a> Pod<'a> {
    pub(super) fn of(object: &'a Map) -> Self {
        let annotations = object.at(&["metadata", "annotations"]).unwrap_or(Map::EMPTY);
        Pod { annotations, spec: object.map("spec").unwrap_or(Map::EMPTY) }
    }

    /// In upstream's order: init, plain, ephemeral.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Map> {
        ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|list| self.spec.maps(list))
    }

    pub(super) fn security(&self) -> &'a Map {
        self.spec.map("securityContext").unwrap_or(Map::EMPTY)
    }

    pub(super) fn is_windows(&self) -> bool {
        self.spec.map("os").is_some_and(|os| os.str("name") == "windows")
    }

    pub(super) fn has_own_users(&self) -> bool {
        self.spec.bool("hostUsers") == Some(false)
    }

    /// The names of the containers that are bad.
    pub(super) fn bad(&self, bad: impl Fn(&'a Map) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| bad(container)).map(|container| container.str("name")).collect()
    }
}

pub(super) fn security(container: &Map) -> &Map {
    container.map("securityContext").unwrap_or(Map::EMPTY)
}

pub(super) fn texts(values: &[Value]) -> impl Iterator<Item = &str> {
    values.iter().filter_map(Value::as_str)
}

/// `"a", "b"`.
pub(super) fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect::<Vec<_>>().join(", ")
}

pub(super) fn plural<'t>(one: &'t str, many: &'t str, count: usize) -> &'t str {
    if count == 1 { one } else { many }
}

/// `containers "a", "b"`.
pub(super) fn named(one: &str, items: &[&str]) -> String {
    let many = format!("{one}s");
    format!("{} {}", plural(one, &many, items.len()), quoted(items))
}

/// Who set something: the pod itself, containers, or both.
pub(super) fn setters(pod: bool, containers: &[&str]) -> Vec<String> {
    let pod = pod.then(|| "pod".to_string());
    pod.into_iter().chain((!containers.is_empty()).then(|| named("container", containers))).collect()
}

pub(super) type Set = BTreeSet<String>;
