//! Pod (pkg/registry/core/pod/strategy.go@v1.37.2): what the server decides about a pod, and how it leaves.

pub(crate) mod defaults;
pub(crate) mod qos;
mod update;
pub(crate) mod validate;

use api::field::Errors;
use api::map;
use api::object::Meta;
use api::value::{Map, Value};

use super::super::simple::field_text;
use crate::strategy::{Context, Generation, Grace, Strategy};

pub(crate) struct Pod;

/// Grace when a pod does not say, in seconds.
pub(crate) const GRACE_SECONDS: i64 = 30;

const FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];

impl Strategy for Pod {
    fn default(&self, object: &mut Map) {
        let spec = object.map_mut("spec");
        defaults::pod_spec(spec);
        // Only pods have it, not templates.
        if spec.bool("enableServiceLinks").is_none() {
            spec.set("enableServiceLinks", true);
        }
    }

    fn prepare_for_create(&self, cx: &Context, object: &mut Map) {
        let class = qos::class(object.map("spec").unwrap_or(Map::EMPTY));
        let mut status = map! { "phase" => "Pending" };
        let gated = object.map("spec").is_some_and(|spec| !spec.list("schedulingGates").is_empty());
        if gated {
            let condition = map! {
                "type" => "PodScheduled", "status" => "False", "reason" => "SchedulingGated",
                "message" => "Scheduling is blocked due to non-empty scheduling gates",
            };
            status.set("conditions", vec![Value::Map(condition)]);
        }
        status.set("qosClass", class);
        object.set("status", status);
        let _ = cx;
    }

    fn prepare_for_status_update(&self, _: &Context, object: &mut Map, old: &Map) {
        // The class never changes; conditions and the like come from the kubelet.
        let class = old.map("status").map_or("", |status| status.str("qosClass")).to_string();
        if !class.is_empty() && object.map("status").is_some_and(|status| status.str("qosClass").is_empty()) {
            object.map_mut("status").set("qosClass", class);
        }
        if object.meta().get("deletionTimestamp").is_none() {
            object.meta_mut().remove("deletionGracePeriodSeconds");
        }
    }

    fn prepare_for_subresource_update(&self, _: &Context, subresource: &str, object: &mut Map, old: &Map) {
        let taken = object.map("spec").cloned().unwrap_or_default();
        let version = object.resource_version().to_string();
        let mut whole = old.clone();
        whole.meta_mut().set("resourceVersion", version);
        let spec = whole.map_mut("spec");
        match subresource {
            "ephemeralcontainers" => {
                if let Some(list) = taken.get("ephemeralContainers") {
                    spec.set("ephemeralContainers", list.clone());
                }
            }
            "resize" => resize(spec, &taken),
            _ => {}
        }
        *object = whole;
    }

    fn validate(&self, object: &Map) -> Errors {
        validate::pod(object)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        update::pod(object, old)
    }

    fn validate_subresource_update(&self, subresource: &str, object: &Map, old: &Map) -> Errors {
        match subresource {
            "ephemeralcontainers" => update::ephemeral(object, old),
            _ => Errors::new(),
        }
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
            "status.podIPs" => {
                let ips = object.map("status").into_iter().flat_map(|status| status.maps("podIPs"));
                ips.map(|ip| ip.str("ip")).collect::<Vec<_>>().join(",")
            }
            name => field_text(object, name),
        };
        FIELDS.iter().map(|name| (*name, value(name))).collect()
    }

    /// CheckGracefulDelete: pods that no kubelet has to end go at once.
    fn grace(&self, object: &Map, asked: Option<i64>) -> Grace {
        let spec = object.map("spec").unwrap_or(Map::EMPTY);
        let phase = object.map("status").map_or("", |status| status.str("phase"));
        let seconds = asked.or(spec.i64("terminationGracePeriodSeconds")).unwrap_or(GRACE_SECONDS);
        let unscheduled = spec.str("nodeName").is_empty();
        let ended = matches!(phase, "Failed" | "Succeeded");
        Grace::Seconds(if unscheduled || ended { 0 } else { seconds.max(0) })
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// Of a resize only the containers' resources and resize policies are taken.
fn resize(spec: &mut Map, taken: &Map) {
    for group in ["containers", "initContainers"] {
        let wanted: Vec<Map> = taken.maps(group).cloned().collect();
        for container in spec.maps_mut(group) {
            let Some(new) = wanted.iter().find(|other| other.str("name") == container.str("name")) else { continue };
            for name in ["resources", "resizePolicy"] {
                match new.get(name) {
                    Some(value) => container.set(name, value.clone()),
                    None => drop(container.remove(name)),
                }
            }
        }
    }
    if let Some(resources) = taken.get("resources") {
        spec.set("resources", resources.clone());
    }
}
