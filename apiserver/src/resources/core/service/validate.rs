//! What is wrong with a Service (pkg/apis/core/validation/validation.go@v1.37.2: ValidateService, ValidateServiceUpdate).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::{has_cluster_ip, has_node_ports};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
/// Longest affinity, in seconds (one day).
const AFFINITY_SECONDS_MAX: i64 = 86_400;

pub(super) fn service(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let spec = object.map("spec").unwrap_or(Map::EMPTY);
    let path = Path::new("spec");
    let headless = spec.str("clusterIP") == "None";
    if spec.list("ports").is_empty() && !headless && spec.str("type") != "ExternalName" {
        errors.push(field::required(&path.child("ports"), ""));
    }
    match spec.str("type") {
        "NodePort" | "LoadBalancer" if headless => {
            errors.push(field::invalid(
                &path.child("clusterIPs").index(0),
                "None",
                format!("may not be set to 'None' for {} services", spec.str("type")),
            ));
        }
        "ExternalName" => external_name(spec, &path, &mut errors),
        "" => errors.push(field::required(&path.child("type"), "")),
        other if !TYPES.contains(&other) => errors.push(field::not_supported(&path.child("type"), other, TYPES)),
        _ => {}
    }
    ports(spec, &path.child("ports"), &mut errors);
    crate::rest::metadata::validate_labels(spec.map("selector"), &path.child("selector"), &mut errors);
    affinity(spec, &path, &mut errors);
    policies(spec, &path, &mut errors);
    external_ips(spec, &path.child("externalIPs"), &mut errors);
    errors
}

fn external_name(spec: &Map, path: &Path, errors: &mut Errors) {
    let name = spec.str("externalName");
    let at = path.child("externalName");
    if name.is_empty() {
        return errors.push(field::required(&at, ""));
    }
    let wrong = names::is_dns1123_subdomain(name.strip_suffix('.').unwrap_or(name));
    errors.extend(wrong.iter().map(|message| field::invalid(&at, name, message)));
    for (name, why) in [("clusterIPs", "may not be set for ExternalName services")] {
        if !spec.list(name).is_empty() {
            errors.push(field::forbidden(&path.child(name), why));
        }
    }
}

fn ports(spec: &Map, path: &Path, errors: &mut Errors) {
    let ports: Vec<&Map> = spec.maps("ports").collect();
    let mut names_seen: Vec<&str> = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        let path = path.index(at);
        one_port(spec, port, ports.len() > 1, &path, errors);
        let name = port.str("name");
        if !name.is_empty() && names_seen.contains(&name) {
            errors.push(field::duplicate(&path.child("name"), name));
        }
        names_seen.push(name);
        let same =
            |other: &&Map| other.str("protocol") == port.str("protocol") && other.i64("port") == port.i64("port");
        if ports[..at].iter().any(|other| same(other)) {
            let shown = api::map! { "protocol" => port.str("protocol"), "port" => port.i64("port").unwrap_or(0) };
            errors.push(field::duplicate(&path, Value::Map(shown)));
        }
        let node_port = port.i64("nodePort").unwrap_or(0);
        let taken =
            |other: &&Map| other.i64("nodePort") == Some(node_port) && other.str("protocol") == port.str("protocol");
        if node_port != 0 && ports[..at].iter().any(|other| taken(other)) {
            errors.push(field::duplicate(&path.child("nodePort"), node_port));
        }
    }
}

fn one_port(spec: &Map, port: &Map, needs_name: bool, path: &Path, errors: &mut Errors) {
    let name = port.str("name");
    if name.is_empty() && needs_name {
        errors.push(field::required(&path.child("name"), ""));
    } else if !name.is_empty() {
        let wrong = names::is_dns1123_label(name);
        errors.extend(wrong.iter().map(|message| field::invalid(&path.child("name"), name, message)));
    }
    let number = port.i64("port").unwrap_or(0);
    errors.extend(names::is_valid_port_num(number).iter().map(|m| field::invalid(&path.child("port"), number, m)));
    match port.str("protocol") {
        "" => errors.push(field::required(&path.child("protocol"), "")),
        other if !PROTOCOLS.contains(&other) => {
            errors.push(field::not_supported(&path.child("protocol"), other, PROTOCOLS));
        }
        _ => {}
    }
    let target = path.child("targetPort");
    match port.get("targetPort") {
        Some(Value::Int(number)) => {
            errors.extend(names::is_valid_port_num(*number).iter().map(|m| field::invalid(&target, *number, m)));
        }
        Some(Value::String(name)) => {
            errors.extend(names::is_valid_port_name(name).iter().map(|m| field::invalid(&target, name.as_str(), m)));
        }
        _ => {}
    }
    if port.i64("nodePort").unwrap_or(0) != 0 && !has_node_ports(spec) && spec.str("type") != "LoadBalancer" {
        errors.push(field::forbidden(
            &path.child("nodePort"),
            format!("may not be used when `type` is '{}'", spec.str("type")),
        ));
    }
}

fn affinity(spec: &Map, path: &Path, errors: &mut Errors) {
    let at = path.child("sessionAffinity");
    match spec.str("sessionAffinity") {
        "" => errors.push(field::required(&at, "")),
        "None" => {
            if spec.map("sessionAffinityConfig").is_some() {
                let why = "must not be set when session affinity is None";
                errors.push(field::forbidden(&path.child("sessionAffinityConfig"), why));
            }
        }
        "ClientIP" => {
            let seconds = spec.at(&["sessionAffinityConfig", "clientIP"]).and_then(|ip| ip.i64("timeoutSeconds"));
            if let Some(seconds) = seconds.filter(|seconds| !(1..=AFFINITY_SECONDS_MAX).contains(seconds)) {
                let at = path.child("sessionAffinityConfig").child("clientIP").child("timeoutSeconds");
                errors.push(field::invalid(
                    &at,
                    seconds,
                    format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}"),
                ));
            }
        }
        other => errors.push(field::not_supported(&at, other, &["ClientIP", "None"])),
    }
}

fn policies(spec: &Map, path: &Path, errors: &mut Errors) {
    for name in ["internalTrafficPolicy", "externalTrafficPolicy"] {
        match spec.str(name) {
            "" | "Cluster" | "Local" => {}
            other => errors.push(field::not_supported(&path.child(name), other, &["Cluster", "Local"])),
        }
    }
    let outside = matches!(spec.str("type"), "NodePort" | "LoadBalancer") || !spec.list("externalIPs").is_empty();
    if !outside && !spec.str("externalTrafficPolicy").is_empty() {
        let why = "may only be set for externally-accessible services";
        errors.push(field::invalid(&path.child("externalTrafficPolicy"), spec.str("externalTrafficPolicy"), why));
    }
}

fn external_ips(spec: &Map, path: &Path, errors: &mut Errors) {
    for (at, ip) in spec.list("externalIPs").iter().filter_map(Value::as_str).enumerate() {
        let wrong = names::is_valid_ip(ip);
        errors.extend(wrong.iter().map(|message| field::invalid(&path.index(at), ip, message)));
    }
}

pub(super) fn update(object: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, was) = (object.map("spec").unwrap_or(Map::EMPTY), old.map("spec").unwrap_or(Map::EMPTY));
    let first = |spec: &Map| spec.str("clusterIP").to_string();
    if has_cluster_ip(spec) && has_cluster_ip(was) && first(spec) != first(was) && !first(was).is_empty() {
        let path = Path::new("spec").child("clusterIPs").index(0);
        errors.push(field::invalid(&path, first(spec).as_str(), "may not change once set"));
    }
    errors.extend(service(object));
    errors
}
