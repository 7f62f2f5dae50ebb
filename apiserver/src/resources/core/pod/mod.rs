//! Pod (pkg/registry/core/pod/strategy.go@v1.37.2): what the server decides about a pod, what it checks, and how it
//! leaves.

pub(crate) mod affinity;
pub(crate) mod annotations;
pub(crate) mod claim;
mod container_status;
mod containers;
pub(crate) mod defaults;
mod dns;
mod env;
mod image;
mod mounts;
pub(crate) mod network_volumes;
pub(crate) mod options;
mod paths;
pub(crate) mod prepare;
pub(crate) mod privileged;
mod probes;
mod projected;
pub(crate) mod qos;
mod resize;
pub(crate) mod resources;
mod security;
pub(crate) mod spec;
mod spread;
mod status;
#[cfg(test)]
mod tests;
pub(crate) mod tolerations;
mod update;
pub(crate) mod volumes;
pub(crate) mod warnings;
mod windows;

use api::field::{Errors, Path};
use api::object::Meta;
use api::value::Map;

use super::super::simple::field_text;
use crate::resources::common;
use crate::strategy::{Context, Generation, Grace, Strategy};

pub(crate) struct Pod;

/// Grace when a pod does not say, in seconds.
pub(crate) const GRACE_SECONDS: i64 = 30;

/// How upstream prints the path of a whole object.
const WHOLE: &str = "[]";

/// Where containers are, in the order that upstream visits them.
pub(crate) const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

const FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    // Taken in selectors, but no pod has a value for it.
    "status.podIPs",
    "status.nominatedNodeName",
    // What old clients call spec.nodeName.
    "spec.host",
];

/// Every container of a spec: its list, its place there, itself.
pub(crate) fn containers_of(spec: &Map) -> impl Iterator<Item = (&'static str, usize, &Map)> {
    CONTAINER_LISTS
        .into_iter()
        .flat_map(move |list| spec.maps(list).enumerate().map(move |(at, container)| (list, at, container)))
}

impl Strategy for Pod {
    fn reset_fields(&self, subresource: &str) -> Option<&'static [&'static [&'static str]]> {
        const STATUS: &[&[&str]] = &[&["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"], &["spec"]];
        (subresource == "status").then_some(STATUS)
    }

    fn default(&self, object: &mut Map) {
        defaults::pod(object);
    }

    fn prepare_for_create(&self, cx: &Context, object: &mut Map) {
        prepare::create(object, cx.now);
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        prepare::keep_pod_resources(object, old);
        prepare::drop_gated(object, Some(old));
    }

    fn prepare_for_status_update(&self, _: &Context, object: &mut Map, old: &Map) {
        prepare::status(object, old);
    }

    fn prepare_for_subresource_update(&self, _: &Context, subresource: &str, object: &mut Map, old: &Map) {
        prepare::subresource(object, old, subresource);
    }

    fn validate(&self, object: &Map) -> Errors {
        spec::create(object)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        update::pod(object, old)
    }

    fn validate_status_update(&self, object: &Map, old: &Map) -> Errors {
        status::check(object, old)
    }

    fn validate_subresource_update(&self, subresource: &str, object: &Map, old: &Map) -> Errors {
        match subresource {
            "ephemeralcontainers" => update::ephemeral(object, old),
            "resize" => resize::check(object, old),
            _ => Errors::new(),
        }
    }

    fn warnings(&self, object: &Map, old: Option<&Map>) -> Vec<String> {
        if old.is_some() {
            return Vec::new();
        }
        let advice = common::host_name_advice(object.name(), "the Pod's hostname");
        advice.into_iter().chain(warnings::of(object, &Path::default())).collect()
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn field_names(&self) -> &'static [&'static str] {
        FIELDS
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        let value = |name: &'static str| match name {
            "spec.hostNetwork" => {
                let host = object.map("spec").and_then(|spec| spec.bool("hostNetwork")).unwrap_or(false);
                host.to_string()
            }
            "status.podIP" => {
                let first = object.map("status").and_then(|status| status.maps("podIPs").next());
                first.map_or(String::new(), |first| first.str("ip").to_string())
            }
            "status.podIPs" => String::new(),
            "spec.host" => field_text(object, "spec.nodeName"),
            name => field_text(object, name),
        };
        FIELDS.iter().map(|name| (*name, value(name))).collect()
    }

    /// CheckGracefulDelete: pods that no kubelet has to end go at once.
    fn grace(&self, object: &Map, asked: Option<i64>) -> Grace {
        let spec = object.map("spec").unwrap_or(Map::EMPTY);
        let phase = object.map("status").map_or("", |status| status.str("phase"));
        let seconds = asked.or(spec.i64("terminationGracePeriodSeconds")).unwrap_or(0);
        let unscheduled = spec.str("nodeName").is_empty();
        let ended = matches!(phase, "Failed" | "Succeeded");
        Grace::Seconds(match seconds {
            _ if unscheduled || ended => 0,
            seconds if seconds < 0 => 1,
            seconds => seconds,
        })
    }

    fn returns_deleted_object(&self, _: &str) -> bool {
        true
    }
}
