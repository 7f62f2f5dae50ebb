//! Service: defaults, and what changes with its type
//! (pkg/apis/core/v1/defaults.go, pkg/registry/core/service/{strategy,storage/storage}.go@v1.37.2).

pub(crate) mod allocate;
mod families;
mod ips;
mod ports;
mod status;
pub(in crate::resources) mod validate;
mod warnings;

use api::field::Errors;
use api::map;
use api::value::{Map, Value};

use super::super::simple::field_text;
use crate::strategy::{Context, Strategy};

/// How long a client stays with an endpoint, in seconds, unless told (core.DefaultClientIPServiceAffinitySeconds).
const AFFINITY_SECONDS: i64 = 10_800;
const NONE: &str = "None";

pub(crate) struct Service;

fn spec_of(object: &Map) -> &Map {
    object.map("spec").unwrap_or(Map::EMPTY)
}

fn texts(spec: &Map, name: &str) -> Vec<String> {
    spec.list(name).iter().filter_map(Value::as_str).map(str::to_string).collect()
}

fn set_texts(spec: &mut Map, name: &'static str, texts: &[String]) {
    match texts.is_empty() {
        true => drop(spec.remove(name)),
        false => spec.set(name, texts.iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>()),
    }
}

/// `clusterIPs: [None]`.
fn is_headless(spec: &Map) -> bool {
    texts(spec, "clusterIPs") == [NONE]
}

fn needs_cluster_ip(spec: &Map) -> bool {
    spec.str("type") != "ExternalName"
}

/// Types that may have node ports.
fn may_have_node_ports(spec: &Map) -> bool {
    matches!(spec.str("type"), "NodePort" | "LoadBalancer")
}

/// Types that are given node ports.
fn has_node_ports(spec: &Map) -> bool {
    match spec.str("type") {
        "NodePort" => true,
        "LoadBalancer" => spec.bool("allocateLoadBalancerNodePorts") != Some(false),
        _ => false,
    }
}

fn needs_health_port(spec: &Map) -> bool {
    spec.str("type") == "LoadBalancer" && spec.str("externalTrafficPolicy") == "Local"
}

/// Reachable from outside the cluster.
fn is_outside(spec: &Map) -> bool {
    may_have_node_ports(spec) || (spec.str("type") == "ClusterIP" && !spec.list("externalIPs").is_empty())
}

fn node_port(port: &Map) -> i64 {
    port.i64("nodePort").unwrap_or(0)
}

impl Strategy for Service {
    fn default(&self, object: &mut Map) {
        let spec = object.map_mut("spec");
        set_absent(spec, "sessionAffinity", NONE);
        default_affinity(spec);
        set_absent(spec, "type", "ClusterIP");
        for port in spec.maps_mut("ports") {
            set_absent(port, "protocol", "TCP");
            let unset = |target: &Value| matches!(target, Value::Int(0)) || target.as_str() == Some("");
            if port.get("targetPort").is_none_or(unset) {
                let number = port.i64("port").unwrap_or(0);
                port.set("targetPort", number);
            }
        }
        if is_outside(spec) {
            set_absent(spec, "externalTrafficPolicy", "Cluster");
        }
        if matches!(spec.str("type"), "ClusterIP" | "NodePort" | "LoadBalancer") {
            set_absent(spec, "internalTrafficPolicy", "Cluster");
        }
        if spec.str("type") == "LoadBalancer" {
            if spec.bool("allocateLoadBalancerNodePorts").is_none() {
                spec.set("allocateLoadBalancerNodePorts", true);
            }
            status::default_modes(object);
        }
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        object.set("status", map! { "loadBalancer" => Map::new() });
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        drop_unused(object.map_mut("spec"), spec_of(old));
        if spec_of(object).str("type") != "LoadBalancer" {
            object.map_mut("status").set("loadBalancer", Map::new());
        }
    }

    fn validate(&self, object: &Map) -> Errors {
        validate::service(object, None)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        validate::update(object, old)
    }

    fn validate_status_update(&self, object: &Map, old: &Map) -> Errors {
        status::validate(object, old)
    }

    fn warnings(&self, object: &Map, _: Option<&Map>) -> Vec<String> {
        warnings::service(object)
    }

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        api::names::name_is_dns_label(name, prefix)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self, _: &str) -> bool {
        true
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        self.field_names().iter().map(|name| (*name, field_text(object, name))).collect()
    }
}

fn set_absent(map: &mut Map, name: &'static str, value: &str) {
    if map.str(name).is_empty() {
        map.set(name, value);
    }
}

fn default_affinity(spec: &mut Map) {
    match spec.str("sessionAffinity") {
        NONE => drop(spec.remove("sessionAffinityConfig")),
        "ClientIP" => {
            let timeout = spec.value_at(&["sessionAffinityConfig", "clientIP", "timeoutSeconds"]);
            if timeout.is_none() {
                let timeout = map! { "timeoutSeconds" => AFFINITY_SECONDS };
                spec.set("sessionAffinityConfig", map! { "clientIP" => timeout });
            }
        }
        _ => {}
    }
}

/// clusterIP and clusterIPs[0] say the same, whichever of them a client changes (normalizeClusterIPs).
fn normalize_ips(spec: &mut Map, old: Option<&Map>) {
    let (one, many) = (spec.str("clusterIP").to_string(), texts(spec, "clusterIPs"));
    let Some(old) = old else {
        if !one.is_empty() && many.is_empty() {
            set_texts(spec, "clusterIPs", &[one]);
        }
        return;
    };
    let (old_one, old_many) = (old.str("clusterIP"), texts(old, "clusterIPs"));
    if old_one == one {
        if many.is_empty() {
            set_texts(spec, "clusterIPs", &old_many);
        }
        return;
    }
    if many == old_many {
        let changed = if one.is_empty() { Vec::new() } else { vec![one] };
        set_texts(spec, "clusterIPs", &changed);
    }
}

/// An update that does not mention what was allocated keeps it (patchAllocatedValues).
fn keep_allocated(spec: &mut Map, old: &Map) {
    if needs_cluster_ip(spec) && needs_cluster_ip(old) {
        if spec.str("clusterIP").is_empty() && !old.str("clusterIP").is_empty() {
            spec.set("clusterIP", old.str("clusterIP"));
        }
        if spec.list("clusterIPs").is_empty() {
            set_texts(spec, "clusterIPs", &texts(old, "clusterIPs"));
        }
    }
    if has_node_ports(spec) && has_node_ports(old) {
        let used: Vec<i64> = spec.maps("ports").map(node_port).filter(|number| *number != 0).collect();
        let olds: Vec<(String, i64)> =
            old.maps("ports").map(|port| (port.str("name").to_string(), node_port(port))).collect();
        for port in spec.maps_mut("ports").filter(|port| node_port(port) == 0) {
            // Of several ports of one name the last counts.
            let same = olds.iter().rev().find(|(name, _)| name == port.str("name"));
            if let Some((_, number)) = same.filter(|(_, number)| *number != 0 && !used.contains(number)) {
                port.set("nodePort", *number);
            }
        }
    }
    if needs_health_port(spec)
        && needs_health_port(old)
        && spec.i64("healthCheckNodePort").unwrap_or(0) == 0
        && let Some(port) = old.get("healthCheckNodePort")
    {
        spec.set("healthCheckNodePort", port.clone());
    }
}

/// What a change of type leaves without meaning goes, unless the client changed it too (dropTypeDependentFields).
fn drop_unused(spec: &mut Map, old: &Map) {
    let drop_same = |spec: &mut Map, names: &[&str]| {
        if names.iter().all(|name| spec.get(name) == old.get(name)) {
            names.iter().for_each(|name| drop(spec.remove(name)));
        }
    };
    if needs_cluster_ip(old) && !needs_cluster_ip(spec) {
        drop_same(spec, &["clusterIP", "clusterIPs"]);
        drop_same(spec, &["ipFamilies"]);
        drop_same(spec, &["ipFamilyPolicy"]);
    }
    if may_have_node_ports(old) && !may_have_node_ports(spec) {
        let olds: Vec<i64> = old.maps("ports").map(node_port).collect();
        if spec.maps("ports").map(node_port).all(|number| number == 0 || olds.contains(&number)) {
            spec.maps_mut("ports").for_each(|port| drop(port.remove("nodePort")));
        }
    }
    if needs_health_port(old) && !needs_health_port(spec) {
        drop_same(spec, &["healthCheckNodePort"]);
    }
    if old.str("type") == "LoadBalancer" && spec.str("type") != "LoadBalancer" {
        drop_same(spec, &["allocateLoadBalancerNodePorts"]);
        drop_same(spec, &["loadBalancerClass"]);
    }
    if is_outside(old) && !is_outside(spec) {
        drop_same(spec, &["externalTrafficPolicy"]);
    }
}
