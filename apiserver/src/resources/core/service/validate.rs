//! What is wrong with a Service (pkg/apis/core/validation/validation.go@v1.37.2: validateService, ValidateServiceUpdate).

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::families::family_of;
use super::{NONE, is_headless, is_outside, needs_cluster_ip, needs_health_port, node_port, spec_of, texts};
use crate::rest::metadata::validate_labels;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
/// Longest affinity, in seconds (one day).
const AFFINITY_SECONDS_MAX: i64 = 86_400;
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";

pub(super) fn service(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    let (spec, was) = (spec_of(object), old.map(spec_of));
    let path = Path::new("spec");
    annotations(object, &mut errors);
    if spec.list("ports").is_empty() && !is_headless(spec) && needs_cluster_ip(spec) {
        errors.push(field::required(&path.child("ports"), ""));
    }
    match spec.str("type") {
        kind @ ("NodePort" | "LoadBalancer") if is_headless(spec) => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.push(field::invalid(&path.child("clusterIPs").index(0), NONE, why));
        }
        "ExternalName" => external_name(spec, &path, &mut errors),
        _ => {}
    }
    ports(spec, &path.child("ports"), &mut errors);
    validate_labels(spec.map("selector"), &path.child("selector"), &mut errors);
    affinity(spec, &path, &mut errors);
    errors.extend(cluster_ips(spec, was));
    external_ips(spec, was, &path.child("externalIPs"), &mut errors);
    one_of(spec.str("type"), TYPES, &path.child("type"), &mut errors);
    pairs(spec, &path.child("ports"), &mut errors);
    source_ranges(object, old, &path, &mut errors);
    balancing(spec, &path, &mut errors);
    class(spec, None, &path, &mut errors);
    outside_policy(spec, &path, &mut errors);
    inside_policy(spec, &path, &mut errors);
    errors
}

/// Required, and one of a few.
fn one_of(value: &str, valid: &[&str], path: &Path, errors: &mut Errors) {
    match value {
        "" => errors.push(field::required(path, "")),
        other if !valid.contains(&other) => errors.push(field::not_supported(path, other, valid)),
        _ => {}
    }
}

fn annotations(object: &Map, errors: &mut Errors) {
    if let (Some(mode), Some(hints)) = (object.annotation(MODE), object.annotation(HINTS))
        && mode != hints
    {
        let path = Path::new("metadata").child("annotations").key(MODE);
        errors.push(field::invalid(&path, mode, format!("must match annotations[{HINTS}] when both are specified")));
    }
}

fn external_name(spec: &Map, path: &Path, errors: &mut Errors) {
    for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if spec.get(name).is_some_and(|value| !value.is_zero()) {
            errors.push(field::forbidden(&path.child(name), "may not be set for ExternalName services"));
        }
    }
    let name = spec.str("externalName");
    let (at, bare) = (path.child("externalName"), name.strip_suffix('.').unwrap_or(name));
    if bare.is_empty() {
        return errors.push(field::required(&at, ""));
    }
    errors.extend(names::is_dns1123_subdomain(bare).iter().map(|message| field::invalid(&at, bare, message)));
}

fn ports(spec: &Map, path: &Path, errors: &mut Errors) {
    let many = spec.list("ports").len() > 1;
    let mut seen: Vec<&str> = Vec::new();
    for (at, port) in spec.maps("ports").enumerate() {
        one_port(port, many, &mut seen, &path.index(at), errors);
    }
}

fn one_port<'s>(port: &'s Map, needs_name: bool, seen: &mut Vec<&'s str>, path: &Path, errors: &mut Errors) {
    let (name, at_name) = (port.str("name"), path.child("name"));
    if name.is_empty() && needs_name {
        errors.push(field::required(&at_name, ""));
    } else if !name.is_empty() {
        errors.extend(names::is_dns1123_label(name).iter().map(|message| field::invalid(&at_name, name, message)));
        if seen.contains(&name) {
            errors.push(field::duplicate(&at_name, name));
        }
        seen.push(name);
    }
    let number = port.i64("port").unwrap_or(0);
    errors.extend(names::is_valid_port_num(number).iter().map(|m| field::invalid(&path.child("port"), number, m)));
    one_of(port.str("protocol"), PROTOCOLS, &path.child("protocol"), errors);
    let target = path.child("targetPort");
    match port.get("targetPort") {
        Some(Value::String(name)) => {
            errors.extend(names::is_valid_port_name(name).iter().map(|m| field::invalid(&target, name.as_str(), m)));
        }
        other => {
            let number = other.and_then(Value::as_i64).unwrap_or(0);
            errors.extend(names::is_valid_port_num(number).iter().map(|m| field::invalid(&target, number, m)));
        }
    }
    if let Some(protocol) = port.get("appProtocol").and_then(Value::as_str) {
        let at = path.child("appProtocol");
        errors.extend(names::is_qualified_name(protocol).iter().map(|message| field::invalid(&at, protocol, message)));
    }
}

/// A port of the internal form, as upstream shows a duplicate.
fn shown_port(port: &Map) -> Value {
    Value::Map(api::map! {
        "Name" => "",
        "Protocol" => port.str("protocol"),
        "AppProtocol" => Value::Null,
        "Port" => port.i64("port").unwrap_or(0),
        "TargetPort" => 0i64,
        "NodePort" => 0i64,
    })
}

/// Node ports where there may be none, and pairs of protocol and number that come twice.
fn pairs(spec: &Map, path: &Path, errors: &mut Errors) {
    let ports: Vec<&Map> = spec.maps("ports").collect();
    if spec.str("type") == "ClusterIP" {
        for (at, _) in ports.iter().enumerate().filter(|(_, port)| node_port(port) != 0) {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.push(field::forbidden(&path.index(at).child("nodePort"), why));
        }
    }
    let twice = |at: usize, number: &dyn Fn(&Map) -> i64| {
        let port = ports[at];
        ports[..at].iter().any(|other| other.str("protocol") == port.str("protocol") && number(other) == number(port))
    };
    for (at, port) in ports.iter().enumerate().filter(|(_, port)| node_port(port) != 0) {
        if twice(at, &node_port) {
            errors.push(field::duplicate(&path.index(at).child("nodePort"), node_port(port)));
        }
    }
    for (at, port) in ports.iter().enumerate() {
        if twice(at, &|port| port.i64("port").unwrap_or(0)) {
            errors.push(field::duplicate(&path.index(at), shown_port(port)));
        }
    }
}

fn affinity(spec: &Map, path: &Path, errors: &mut Errors) {
    one_of(spec.str("sessionAffinity"), &["ClientIP", NONE], &path.child("sessionAffinity"), errors);
    let (config, at) = (spec.map("sessionAffinityConfig"), path.child("sessionAffinityConfig"));
    match (spec.str("sessionAffinity"), config) {
        (NONE, Some(_)) => errors.push(field::forbidden(&at, "must not be set when session affinity is None")),
        ("ClientIP", config) => client_ip(config, &at, errors),
        _ => {}
    }
}

fn client_ip(config: Option<&Map>, path: &Path, errors: &mut Errors) {
    let missing = |path: &Path| field::required(path, "when session affinity type is ClientIP");
    let Some(config) = config else { return errors.push(missing(path)) };
    let path = path.child("clientIP");
    let Some(client) = config.map("clientIP") else { return errors.push(missing(&path)) };
    let path = path.child("timeoutSeconds");
    let Some(seconds) = client.i64("timeoutSeconds") else { return errors.push(missing(&path)) };
    if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) {
        let why = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
        errors.push(field::invalid(&path, seconds, why));
    }
}

fn strings(spec: &Map, name: &str) -> Value {
    match spec.list(name) {
        [] => Value::Null,
        list => Value::List(list.to_vec()),
    }
}

/// clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy together (ValidateServiceClusterIPsRelatedFields).
pub(super) fn cluster_ips(spec: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    if !needs_cluster_ip(spec) {
        return errors;
    }
    let path = Path::new("spec");
    let (at_ips, ips, families) = (path.child("clusterIPs"), texts(spec, "clusterIPs"), texts(spec, "ipFamilies"));
    let shown = || strings(spec, "clusterIPs");
    match (spec.str("clusterIP"), ips.first()) {
        ("", Some(_)) => {
            errors.push(field::invalid(&at_ips, shown(), "must be empty when `clusterIP` is not specified"));
        }
        ("", None) => {}
        (_, None) => errors.push(field::required(&at_ips, "")),
        (one, Some(first)) if one != first => {
            errors.push(field::invalid(&at_ips, shown(), "first value must match `clusterIP`"));
        }
        _ => {}
    }
    for (at, family) in families.iter().enumerate() {
        let path = path.child("ipFamilies").index(at);
        if !matches!(family.as_str(), "IPv4" | "IPv6") {
            errors.push(field::not_supported(&path, family.as_str(), &["IPv4", "IPv6"]));
        }
        if families[..at].contains(family) {
            errors.push(field::duplicate(&path, family.as_str()));
        }
    }
    let policy = spec.str("ipFamilyPolicy");
    if spec.contains("ipFamilyPolicy") && !POLICIES.contains(&policy) {
        errors.push(field::not_supported(&path.child("ipFamilyPolicy"), policy, POLICIES));
    }
    let known = old.map(|old| texts(old, "clusterIPs")).unwrap_or_default();
    let readable = readable_ips(&ips, &known, &at_ips, &shown, &mut errors);
    if ips.len() > 2 {
        errors.push(field::invalid(&at_ips, shown(), "may only hold up to 2 values"));
    }
    if readable {
        stacks(spec, &ips, &families, &at_ips, &mut errors);
    }
    errors
}

fn readable_ips(ips: &[String], known: &[String], path: &Path, shown: &dyn Fn() -> Value, errors: &mut Errors) -> bool {
    let mut readable = true;
    for (at, ip) in ips.iter().enumerate() {
        if at == 0 && ip == NONE {
            if ips.len() > 1 {
                readable = false;
                errors.push(field::invalid(path, shown(), "'None' must be the first and only value"));
            }
            continue;
        }
        let wrong = if known.contains(ip) { Vec::new() } else { names::is_valid_ip_for_legacy_field(ip) };
        readable &= wrong.is_empty();
        errors.extend(wrong.iter().map(|message| field::invalid(&path.index(at), ip.as_str(), message)));
    }
    readable
}

fn stacks(spec: &Map, ips: &[String], families: &[String], path: &Path, errors: &mut Errors) {
    let both =
        |ips: &[String]| ips.iter().any(|ip| family_of(ip) == "IPv4") && ips.iter().any(|ip| family_of(ip) == "IPv6");
    if ips.len() > 1 && !both(ips) {
        let why = "may specify no more than one IP for each IP family";
        errors.push(field::invalid(path, strings(spec, "clusterIPs"), why));
    }
    if is_headless(spec) {
        return;
    }
    for (at, (ip, family)) in ips.iter().zip(families).enumerate() {
        if matches!(family.as_str(), "IPv4" | "IPv6") && family_of(ip) != family {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{at}]`");
            errors.push(field::invalid(&path.index(at), ip.as_str(), why));
        }
    }
}

/// Addresses that endpoints, and external IPs, may not have (ValidateEndpointIP).
pub(in crate::resources) fn endpoint_ip(text: &str, path: &Path) -> Errors {
    let Some(ip) = names::parse_ip_sloppy(text).map(|ip| ip.to_canonical()) else {
        return vec![field::invalid(path, text, "must be a valid IP address")];
    };
    let (link_local, multicast) = match ip {
        std::net::IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.segments()[0] & 0xff0f == 0xff02),
    };
    let unspecified = format!("may not be unspecified ({text})");
    let rules = [
        (ip.is_unspecified(), unspecified.as_str()),
        (ip.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ];
    rules.iter().filter(|rule| rule.0).map(|rule| field::invalid(path, text, rule.1)).collect()
}

fn external_ips(spec: &Map, old: Option<&Map>, path: &Path, errors: &mut Errors) {
    let known = old.map(|old| texts(old, "externalIPs")).unwrap_or_default();
    for (at, ip) in texts(spec, "externalIPs").iter().enumerate() {
        let path = path.index(at);
        let wrong = if known.contains(ip) { Vec::new() } else { names::is_valid_ip_for_legacy_field(ip) };
        match wrong.is_empty() {
            true => errors.extend(endpoint_ip(ip, &path)),
            false => errors.extend(wrong.iter().map(|message| field::invalid(&path, ip.as_str(), message))),
        }
    }
}

fn source_ranges(object: &Map, old: Option<&Map>, path: &Path, errors: &mut Errors) {
    let spec = spec_of(object);
    let balanced = spec.str("type") == "LoadBalancer";
    let ranges = |spec: &Map| -> Vec<String> {
        texts(spec, "loadBalancerSourceRanges").iter().map(|range| range.trim().to_string()).collect()
    };
    let check = |path: &Path, range: &str, errors: &mut Errors| {
        let wrong = names::is_valid_cidr_for_legacy_field(range);
        errors.extend(wrong.iter().map(|message| field::invalid(path, range, message)));
    };
    if !spec.list("loadBalancerSourceRanges").is_empty() {
        let path = path.child("LoadBalancerSourceRanges");
        if !balanced {
            errors.push(field::forbidden(&path, ONLY_BALANCED));
        }
        let known = old.map(|old| ranges(spec_of(old))).unwrap_or_default();
        for (at, range) in ranges(spec).iter().enumerate().filter(|(_, range)| !known.contains(range)) {
            check(&path.index(at), range, errors);
        }
    } else if let Some(list) = object.annotation(SOURCE_RANGES) {
        let path = Path::new("metadata").child("annotations").key(SOURCE_RANGES);
        if !balanced {
            errors.push(field::forbidden(&path, ONLY_BALANCED));
        }
        if old.and_then(|old| old.annotation(SOURCE_RANGES)) != Some(list) && !list.trim().is_empty() {
            list.trim().split(',').for_each(|range| check(&path, range.trim(), errors));
        }
    }
}

fn balancing(spec: &Map, path: &Path, errors: &mut Errors) {
    let balanced = spec.str("type") == "LoadBalancer";
    match (spec.contains("allocateLoadBalancerNodePorts"), balanced) {
        (true, false) => errors.push(field::forbidden(&path.child("allocateLoadBalancerNodePorts"), ONLY_BALANCED)),
        (false, true) => errors.push(field::required(&Path::new("allocateLoadBalancerNodePorts"), "")),
        _ => {}
    }
}

fn class(spec: &Map, old: Option<&Map>, path: &Path, errors: &mut Errors) {
    let class = |spec: &Map| spec.get("loadBalancerClass").cloned();
    let balanced = |spec: &Map| spec.str("type") == "LoadBalancer";
    let path = path.child("loadBalancerClass");
    if let Some(old) = old
        && balanced(old)
        && balanced(spec)
        && class(old) != class(spec)
    {
        errors.push(field::invalid(&path, class(spec).unwrap_or_default(), "may not change once set"));
    }
    match spec.get("loadBalancerClass").and_then(Value::as_str) {
        Some(class) if balanced(spec) => {
            errors.extend(names::is_qualified_name(class).iter().map(|message| field::invalid(&path, class, message)));
        }
        Some(_) => errors.push(field::forbidden(&path, ONLY_BALANCED)),
        None => {}
    }
}

fn outside_policy(spec: &Map, path: &Path, errors: &mut Errors) {
    let (policy, at) = (spec.str("externalTrafficPolicy"), path.child("externalTrafficPolicy"));
    if is_outside(spec) {
        one_of(policy, &["Cluster", "Local"], &at, errors);
    } else if !policy.is_empty() {
        errors.push(field::invalid(&at, policy, "may only be set for externally-accessible services"));
    }
    let (port, at) = (spec.i64("healthCheckNodePort").unwrap_or(0), path.child("healthCheckNodePort"));
    match (needs_health_port(spec), port) {
        (true, 0) => errors.push(field::required(&at, "")),
        (true, port) => {
            errors.extend(names::is_valid_port_num(port).iter().map(|message| field::invalid(&at, port, message)));
        }
        (false, 0) => {}
        (false, port) => {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(field::invalid(&at, port, why));
        }
    }
}

fn inside_policy(spec: &Map, path: &Path, errors: &mut Errors) {
    let policy = spec.get("internalTrafficPolicy").and_then(Value::as_str);
    let at = path.child("internalTrafficPolicy");
    match policy {
        None if matches!(spec.str("type"), "ClusterIP" | "NodePort" | "LoadBalancer") => {
            errors.push(field::required(&at, ""));
        }
        Some(policy) if !matches!(policy, "Cluster" | "Local") => {
            errors.push(field::not_supported(&at, policy, &["Cluster", "Local"]));
        }
        _ => {}
    }
    if let Some(wanted) = spec.get("trafficDistribution").and_then(Value::as_str)
        && !DISTRIBUTIONS.contains(&wanted)
    {
        errors.push(field::not_supported(&path.child("trafficDistribution"), wanted, DISTRIBUTIONS));
    }
}

pub(super) fn update(object: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, was) = (spec_of(object), spec_of(old));
    let path = Path::new("spec");
    if needs_cluster_ip(spec) && needs_cluster_ip(was) {
        changed_ips(spec, was, &path, &mut errors);
        changed_families(spec, was, &path, &mut errors);
    }
    class(spec, Some(was), &path, &mut errors);
    if needs_health_port(spec)
        && needs_health_port(was)
        && spec.get("healthCheckNodePort") != was.get("healthCheckNodePort")
    {
        errors.push(field::forbidden(&path.child("healthCheckNodePort"), "field is immutable"));
    }
    errors.extend(service(object, Some(old)));
    errors
}

fn released(spec: &Map, path: &Path, what: &str, errors: &mut Errors) {
    let policy = spec.get("ipFamilyPolicy").cloned().unwrap_or_default();
    if policy.as_str() != Some("SingleStack") {
        let why = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        errors.push(field::invalid(&path.child("ipFamilyPolicy"), policy, why));
    }
}

fn changed_ips(spec: &Map, was: &Map, path: &Path, errors: &mut Errors) {
    if is_headless(spec) && is_headless(was) {
        return;
    }
    let (new, old) = (texts(spec, "clusterIPs"), texts(was, "clusterIPs"));
    let at = |at: usize| path.child("clusterIPs").index(at);
    let changed = |index| field::invalid(&at(index), strings(spec, "clusterIPs"), "may not change once set");
    if new.len() == old.len() {
        errors.extend((0..new.len()).filter(|index| new[*index] != old[*index]).map(changed));
        return;
    }
    if new.is_empty() {
        errors.push(field::invalid(&at(0), strings(spec, "clusterIPs"), "primary clusterIP can not be unset"));
    }
    if let (Some(first), Some(old_first)) = (new.first(), old.first())
        && first != old_first
    {
        errors.push(changed(0));
    }
    if new.len() == 1 && old.len() > 1 {
        released(spec, path, "clusterIP", errors);
    }
}

fn changed_families(spec: &Map, was: &Map, path: &Path, errors: &mut Errors) {
    if is_headless(spec) || is_headless(was) {
        return;
    }
    let (new, old) = (texts(spec, "ipFamilies"), texts(was, "ipFamilies"));
    let at = path.child("ipFamilies").index(0);
    if new.len() == old.len() {
        let changed = new.iter().zip(&old).filter(|(new, old)| new != old);
        errors.extend(changed.map(|_| field::invalid(&at, strings(spec, "ipFamilies"), "may not change once set")));
        return;
    }
    if new.len() < old.len() && spec.list("clusterIPs").is_empty() {
        errors.push(field::invalid(&at, strings(spec, "ipFamilies"), "primary ipFamily can not be unset"));
    }
    if let (Some(first), Some(old_first)) = (new.first(), old.first())
        && first != old_first
    {
        errors.push(field::invalid(&at, strings(spec, "clusterIPs"), "may not change once set"));
    }
    if new.len() == 1 && old.len() > 1 {
        released(spec, path, "ipFamily", errors);
    }
}
