//! Service: defaults, validation of the common rules, and what changes with its type
//! (pkg/apis/core/v1/defaults.go, pkg/registry/core/service/strategy.go, pkg/apis/core/validation@v1.37.2).

pub(crate) mod allocate;
mod ports;
mod validate;

use api::field::Errors;
use api::map;
use api::value::{Map, Value};

use super::super::simple::field_text;
use crate::strategy::{Context, Strategy};

/// How long a client stays with an endpoint, in seconds, unless told (core.DefaultClientIPServiceAffinitySeconds).
const AFFINITY_SECONDS: i64 = 10_800;

pub(crate) struct Service;

/// Types that have cluster IPs.
pub(crate) fn has_cluster_ip(spec: &Map) -> bool {
    matches!(spec.str("type"), "ClusterIP" | "NodePort" | "LoadBalancer") && spec.str("clusterIP") != "None"
}

/// Types that have node ports.
pub(crate) fn has_node_ports(spec: &Map) -> bool {
    match spec.str("type") {
        "NodePort" => true,
        "LoadBalancer" => spec.bool("allocateLoadBalancerNodePorts") != Some(false),
        _ => false,
    }
}

impl Strategy for Service {
    fn default(&self, object: &mut Map) {
        let spec = object.map_mut("spec");
        set_absent(spec, "sessionAffinity", "None");
        set_absent(spec, "type", "ClusterIP");
        if spec.str("sessionAffinity") == "ClientIP" && spec.map("sessionAffinityConfig").is_none() {
            let timeout = map! { "timeoutSeconds" => AFFINITY_SECONDS };
            spec.set("sessionAffinityConfig", map! { "clientIP" => timeout });
        }
        let outside = matches!(spec.str("type"), "NodePort" | "LoadBalancer") || !spec.list("externalIPs").is_empty();
        for port in spec.maps_mut("ports") {
            set_absent(port, "protocol", "TCP");
            if port
                .get("targetPort")
                .is_none_or(|target| matches!(target, Value::Int(0)) || target.as_str() == Some(""))
            {
                let number = port.i64("port").unwrap_or(0);
                port.set("targetPort", number);
            }
        }
        if outside {
            set_absent(spec, "externalTrafficPolicy", "Cluster");
        }
        if matches!(spec.str("type"), "ClusterIP" | "NodePort" | "LoadBalancer") {
            set_absent(spec, "internalTrafficPolicy", "Cluster");
        }
        if spec.str("type") == "LoadBalancer" && spec.bool("allocateLoadBalancerNodePorts").is_none() {
            spec.set("allocateLoadBalancerNodePorts", true);
        }
        default_ips(spec);
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        let old_spec = old.map("spec").unwrap_or(Map::EMPTY).clone();
        let spec = object.map_mut("spec");
        keep_allocated(spec, &old_spec);
        drop_unused(spec, &old_spec);
    }

    fn validate(&self, object: &Map) -> Errors {
        validate::service(object)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        validate::update(object, old)
    }

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        api::names::name_is_dns_label(name, prefix)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
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

/// clusterIP and clusterIPs[0] say the same; families follow from what is asked.
fn default_ips(spec: &mut Map) {
    if spec.str("type") == "ExternalName" {
        return;
    }
    let (ip, ips) = (spec.str("clusterIP").to_string(), spec.list("clusterIPs").to_vec());
    if !ip.is_empty() && ips.is_empty() {
        spec.set("clusterIPs", vec![Value::from(ip.as_str())]);
    } else if ip.is_empty()
        && let Some(first) = ips.first()
    {
        spec.set("clusterIP", first.clone());
    }
    set_absent(spec, "ipFamilyPolicy", "SingleStack");
    if spec.list("ipFamilies").is_empty() {
        let family = if spec.str("clusterIP").contains(':') { "IPv6" } else { "IPv4" };
        spec.set("ipFamilies", vec![Value::from(family)]);
    }
}

/// An update that does not mention what was allocated keeps it (patchAllocatedValues).
fn keep_allocated(spec: &mut Map, old: &Map) {
    if has_cluster_ip(spec) && has_cluster_ip(old) && spec.str("clusterIP").is_empty() {
        for name in ["clusterIP", "clusterIPs"] {
            if let Some(value) = old.get(name) {
                spec.set(name, value.clone());
            }
        }
    }
    if has_node_ports(spec) && has_node_ports(old) {
        let olds: Vec<Map> = old.maps("ports").cloned().collect();
        for port in spec.maps_mut("ports").filter(|port| port.i64("nodePort").unwrap_or(0) == 0) {
            let same =
                |other: &&Map| other.i64("port") == port.i64("port") && other.str("protocol") == port.str("protocol");
            if let Some(node_port) = olds.iter().find(same).and_then(|other| other.i64("nodePort")) {
                port.set("nodePort", node_port);
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

pub(crate) fn needs_health_port(spec: &Map) -> bool {
    spec.str("type") == "LoadBalancer" && spec.str("externalTrafficPolicy") == "Local"
}

/// What a change of type leaves without meaning goes, unless the client changed it too (dropTypeDependentFields).
fn drop_unused(spec: &mut Map, old: &Map) {
    if has_cluster_ip(old) && spec.str("type") == "ExternalName" && spec.get("clusterIP") == old.get("clusterIP") {
        for name in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            spec.remove(name);
        }
    }
    if has_node_ports(old) && !has_node_ports(spec) {
        let olds: Vec<Option<i64>> = old.maps("ports").map(|port| port.i64("nodePort")).collect();
        for port in spec.maps_mut("ports").filter(|port| olds.contains(&port.i64("nodePort"))) {
            port.remove("nodePort");
        }
    }
    if needs_health_port(old)
        && !needs_health_port(spec)
        && spec.get("healthCheckNodePort") == old.get("healthCheckNodePort")
    {
        spec.remove("healthCheckNodePort");
    }
    if spec.str("type") != "LoadBalancer" && old.str("type") == "LoadBalancer" {
        spec.remove("allocateLoadBalancerNodePorts");
    }
    let outside = matches!(spec.str("type"), "NodePort" | "LoadBalancer") || !spec.list("externalIPs").is_empty();
    if !outside && spec.get("externalTrafficPolicy") == old.get("externalTrafficPolicy") {
        spec.remove("externalTrafficPolicy");
    }
}
