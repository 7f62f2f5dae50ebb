//! networking.k8s.io (pkg/registry/networking, pkg/apis/networking/{v1/defaults.go,validation}@v1.37.2).

use api::field::{self, Errors, Path, go_quote};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::check::{self, said};
use super::simple::Simple;

const BASE: Simple = Simple { generation: true, ..Simple::BASE };

pub(super) const INGRESS: Simple = Simple {
    default: |object| {
        if !object.contains("status") {
            object.set("status", api::map! { "loadBalancer" => Map::new() });
        }
    },
    create: |_, object| object.set("status", api::map! { "loadBalancer" => Map::new() }),
    check: new_ingress,
    recheck: false,
    check_change: |new, _| ingress(new),
    warn: |object, old| {
        let said = object.annotation(CLASS_ANNOTATION).filter(|_| old.is_none());
        let why = format!(
            "annotation {} is deprecated, please use 'spec.ingressClassName' instead",
            go_quote(CLASS_ANNOTATION)
        );
        said.map(|_| why).into_iter().collect()
    },
    check_status: |new, _| balancer(new),
    ..BASE
};
pub(super) const INGRESS_CLASS: Simple =
    Simple { default: default_class, check: class, check_change: class_change, ..BASE };
pub(super) const NETWORK_POLICY: Simple = Simple { default: default_policy, check: policy, ..BASE };
pub(super) const IP_ADDRESS: Simple = Simple {
    fields: &["spec.parentRef.resource"],
    name: Simple::ip,
    check: ip_address,
    check_change: |new, old| {
        let mut errors = Errors::new();
        let parent = |object: &Map| spec(object).get("parentRef").cloned();
        let (new, old) = (parent(new), parent(old));
        check::fixed(&Path::new("spec").child("parentRef"), new.as_ref(), old.as_ref(), &mut errors);
        errors
    },
    ..Simple::BASE
};
pub(super) const SERVICE_CIDR: Simple =
    Simple { check: service_cidr, recheck: false, check_change: service_cidr_change, ..Simple::BASE };

fn spec(object: &Map) -> &Map {
    object.map("spec").unwrap_or(Map::EMPTY)
}

const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
/// What may not be in a path, and at its end.
const BAD_IN_PATHS: &[&str] = &["//", "/./", "/../", "%2f", "%2F"];
const BAD_AT_ENDS: &[&str] = &["/..", "/."];

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

fn new_ingress(object: &Map) -> Errors {
    let mut errors = ingress(object);
    let class = spec(object).get("ingressClassName").and_then(Value::as_str);
    if let (Some(note), Some(class)) = (object.annotation(CLASS_ANNOTATION), class)
        && note != class
    {
        let path = Path::new("annotations").child(CLASS_ANNOTATION);
        errors.push(field::invalid(&path, note, "must match `ingressClassName` when both are specified"));
    }
    errors
}

fn ingress(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (spec(object), Path::new("spec"));
    if spec.list("rules").is_empty() && spec.map("defaultBackend").is_none() {
        errors.push(field::invalid(&path, Value::Null, "either `defaultBackend` or `rules` must be specified"));
    }
    if let Some(default) = spec.map("defaultBackend") {
        backend(default, &path.child("defaultBackend"), &mut errors);
    }
    for (at, rule) in spec.maps("rules").enumerate() {
        let path = path.child("rules").index(at);
        host(rule.str("host"), &path.child("host"), &mut errors);
        let Some(http) = rule.map("http") else { continue };
        let path = path.child("http").child("paths");
        if http.list("paths").is_empty() {
            errors.push(field::required(&path, ""));
        }
        for (at, one) in http.maps("paths").enumerate() {
            http_path(one, &path.index(at), &mut errors);
        }
    }
    for (at, tls) in spec.maps("tls").enumerate() {
        let path = path.child("tls").index(at);
        let secret = tls.str("secretName");
        if !secret.is_empty() {
            errors.extend(said(&path.child("secretName"), secret, &names::name_is_dns_subdomain(secret, false)));
        }
        let path = path.child("hosts");
        for (at, name) in tls.list("hosts").iter().filter_map(Value::as_str).enumerate() {
            let wrong = if name.contains('*') {
                names::is_wildcard_dns1123_subdomain(name)
            } else {
                names::is_dns1123_subdomain(name)
            };
            errors.extend(said(&path.index(at), name, &wrong));
        }
    }
    if let Some(class) = spec.get("ingressClassName").and_then(Value::as_str) {
        let wrong = names::name_is_dns_subdomain(class, false);
        errors.extend(said(&path.child("ingressClassName"), class, &wrong));
    }
    errors
}

fn host(host: &str, path: &Path, errors: &mut Errors) {
    if host.is_empty() {
        return;
    }
    if names::parse_ip_sloppy(host).is_some() {
        return errors.push(field::invalid(path, host, "must be a DNS name, not an IP address"));
    }
    let wild = host.contains('*');
    let wrong = if wild { names::is_wildcard_dns1123_subdomain(host) } else { names::is_dns1123_subdomain(host) };
    errors.extend(said(path, host, &wrong));
}

fn http_path(one: &Map, path: &Path, errors: &mut Errors) {
    let (text, kind) = (one.str("path"), one.str("pathType"));
    let at = path.child("path");
    match kind {
        "" => errors.push(field::required(&path.child("pathType"), "pathType must be specified")),
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.push(field::invalid(&at, text, "must be an absolute path"));
            }
            for bad in BAD_IN_PATHS.iter().filter(|bad| text.contains(**bad)) {
                errors.push(field::invalid(&at, text, format!("must not contain '{bad}'")));
            }
            for bad in BAD_AT_ENDS.iter().filter(|bad| text.ends_with(**bad)) {
                errors.push(field::invalid(&at, text, format!("cannot end with '{bad}'")));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.push(field::invalid(&at, text, "must be an absolute path"));
            }
        }
        other => errors.push(field::not_supported(&path.child("pathType"), other, PATH_TYPES)),
    }
    backend(one.map("backend").unwrap_or(Map::EMPTY), &path.child("backend"), errors);
}

fn backend(backend: &Map, path: &Path, errors: &mut Errors) {
    match (backend.map("service"), backend.map("resource")) {
        (Some(_), Some(_)) => errors.push(field::invalid(path, "", "cannot set both resource and service backends")),
        (None, Some(resource)) => {
            if let Some(group) = resource.get("apiGroup").and_then(Value::as_str) {
                let path = path.child("resource").child("apiGroup");
                errors.extend(said(&path, group, &names::is_dns1123_subdomain(group)));
            }
            for name in ["name", "kind"] {
                if resource.str(name).is_empty() {
                    errors.push(field::required(&path.child("resource").child(name), ""));
                }
            }
        }
        (Some(service), None) => service_backend(service, path, errors),
        (None, None) => errors.push(field::invalid(path, "", "resource or service backend is required")),
    }
}

fn service_backend(service: &Map, path: &Path, errors: &mut Errors) {
    let (name, at) = (service.str("name"), path.child("service").child("name"));
    if name.is_empty() {
        errors.push(field::required(&at, ""));
    } else {
        errors.extend(said(&at, name, &names::name_is_dns_label(name, false)));
    }
    let port = service.map("port").unwrap_or(Map::EMPTY);
    let at = path.child("service").child("port");
    match (port.str("name"), port.i64("number").unwrap_or(0)) {
        ("", 0) => errors.push(field::required(path, "port name or number is required")),
        (name, 0) => errors.extend(said(&at.child("name"), name, &names::is_valid_port_name(name))),
        ("", number) => {
            let wrong = names::is_valid_port_num(number);
            errors.extend(wrong.iter().map(|message| field::invalid(&at.child("number"), number, message)));
        }
        _ => errors.push(field::invalid(path, "", "cannot set both port name & port number")),
    }
}

fn balancer(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let ingresses = object.at(&["status", "loadBalancer"]).into_iter().flat_map(|balancer| balancer.maps("ingress"));
    for (at, ingress) in ingresses.enumerate() {
        let (path, ip, host) = (path.index(at), ingress.str("ip"), ingress.str("hostname"));
        if !ip.is_empty() {
            errors.extend(said(&path.child("ip"), ip, &names::is_valid_ip_for_legacy_field(ip)));
        }
        if !host.is_empty() {
            errors.extend(said(&path.child("hostname"), host, &names::is_dns1123_subdomain(host)));
            if names::parse_ip_sloppy(host).is_some() {
                errors.push(field::invalid(&path.child("hostname"), host, "must be a DNS name, not an IP address"));
            }
        }
    }
    errors
}

fn default_class(object: &mut Map) {
    if spec(object).map("parameters").is_some() {
        check::set_absent(object.map_mut("spec").map_mut("parameters"), "scope", "Cluster");
    }
}

/// Longest controller name.
const CONTROLLER_MAX: usize = 250;

fn class(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (spec(object), Path::new("spec"));
    let (controller, at) = (spec.str("controller"), path.child("controller"));
    if controller.len() > CONTROLLER_MAX {
        errors.push(field::too_long(&at, CONTROLLER_MAX));
    }
    errors.extend(names::is_domain_prefixed_path(&at, controller));
    let Some(parameters) = spec.map("parameters") else { return errors };
    let path = path.child("parameters");
    check::one_of(parameters.str("scope"), &["Cluster", "Namespace"], &path.child("scope"), &mut errors);
    if let Some(group) = parameters.get("apiGroup").and_then(Value::as_str) {
        errors.extend(said(&path.child("apiGroup"), group, &names::is_dns1123_subdomain(group)));
    }
    for name in ["kind", "name"] {
        match parameters.str(name) {
            "" => errors.push(field::required(&path.child(name), "")),
            text => errors.extend(said(&path.child(name), text, &names::is_path_segment_name(text))),
        }
    }
    let at = path.child("namespace");
    match (parameters.str("scope"), parameters.get("namespace").and_then(Value::as_str)) {
        ("Namespace", None) => errors.push(field::required(&at, "`parameters.scope` is set to 'Namespace'")),
        ("Namespace", Some(namespace)) => {
            errors.extend(said(&at, namespace, &names::name_is_dns_label(namespace, false)));
        }
        ("Cluster", Some(_)) => errors.push(field::forbidden(&at, "`parameters.scope` is set to 'Cluster'")),
        _ => {}
    }
    errors
}

fn class_change(new: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let controller = |object| spec(object).str("controller");
    check::fixed_text(&Path::new("spec").child("controller"), controller(new), controller(old), &mut errors);
    errors
}

fn default_policy(object: &mut Map) {
    let spec = object.map_mut("spec");
    for list in ["ingress", "egress"] {
        if spec.list(list).is_empty() {
            continue;
        }
        for rule in spec.maps_mut(list).filter(|rule| !rule.list("ports").is_empty()) {
            rule.maps_mut("ports").for_each(check::default_protocol);
        }
    }
    if spec.list("policyTypes").is_empty() {
        let egress = !spec.list("egress").is_empty();
        let types = ["Ingress", "Egress"].into_iter().take(if egress { 2 } else { 1 });
        spec.set("policyTypes", types.map(Value::from).collect::<Vec<_>>());
    }
}

fn policy(object: &Map) -> Errors {
    let (spec, path) = (spec(object), Path::new("spec"));
    let mut errors = check::label_selector(spec.map("podSelector"), &path.child("podSelector"));
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        for (at, rule) in spec.maps(list).enumerate() {
            let path = path.child(list).index(at);
            for (at, port) in rule.maps("ports").enumerate() {
                policy_port(port, &path.child("ports").index(at), &mut errors);
            }
            for (at, peer) in rule.maps(peers).enumerate() {
                policy_peer(peer, &path.child(peers).index(at), &mut errors);
            }
        }
    }
    let types: Vec<&str> = spec.list("policyTypes").iter().filter_map(Value::as_str).collect();
    let at = path.child("policyTypes");
    if types.len() > 2 {
        let shown = Value::List(spec.list("policyTypes").to_vec());
        errors.push(field::invalid(&at, shown, "may not specify more than two policyTypes"));
        return errors;
    }
    for (index, kind) in types.iter().enumerate() {
        if !matches!(*kind, "Ingress" | "Egress") {
            errors.push(field::not_supported(&at.index(index), *kind, &["Ingress", "Egress"]));
        }
    }
    errors
}

fn policy_port(port: &Map, path: &Path, errors: &mut Errors) {
    let protocol = port.str("protocol");
    if !protocol.is_empty() && !matches!(protocol, "TCP" | "UDP" | "SCTP") {
        errors.push(field::not_supported(&path.child("protocol"), protocol, &["TCP", "UDP", "SCTP"]));
    }
    let (at, end_at) = (path.child("port"), path.child("endPort"));
    let end = port.i64("endPort");
    match (port.get("port"), end) {
        (Some(Value::String(name)), end) => {
            if let Some(end) = end {
                errors.push(field::invalid(&end_at, end, "may not be specified when `port` is non-numeric"));
            }
            errors.extend(said(&at, name, &names::is_valid_port_name(name)));
        }
        (Some(value), end) => {
            let number = value.as_i64().unwrap_or(0);
            let wrong = names::is_valid_port_num(number);
            errors.extend(wrong.iter().map(|message| field::invalid(&at, number, message)));
            if let Some(end) = end {
                if end < number {
                    errors.push(field::invalid(&end_at, end, "must be greater than or equal to `port`"));
                }
                let wrong = names::is_valid_port_num(end);
                errors.extend(wrong.iter().map(|message| field::invalid(&end_at, end, message)));
            }
        }
        (None, Some(end)) => {
            errors.push(field::invalid(&end_at, end, "may not be specified when `port` is not specified"));
        }
        (None, None) => {}
    }
}

fn policy_peer(peer: &Map, path: &Path, errors: &mut Errors) {
    let mut kinds = 0;
    for name in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = peer.map(name) {
            kinds += 1;
            errors.extend(check::label_selector(Some(selector), &path.child(name)));
        }
    }
    if let Some(block) = peer.map("ipBlock") {
        ip_block(block, &path.child("ipBlock"), errors);
        if kinds > 0 {
            errors.push(field::forbidden(path, "may not specify both ipBlock and another peer"));
        }
        kinds += 1;
    }
    if kinds == 0 {
        errors.push(field::required(path, "must specify a peer"));
    }
}

fn ip_block(block: &Map, path: &Path, errors: &mut Errors) {
    let (cidr, at) = (block.str("cidr"), path.child("cidr"));
    if cidr.is_empty() {
        return errors.push(field::required(&at, ""));
    }
    let wrong = names::is_valid_cidr_for_legacy_field(cidr);
    let readable = wrong.is_empty();
    errors.extend(said(&at, cidr, &wrong));
    let net = |text: &str| text.parse::<ipnet::IpNet>().ok();
    for (at, except) in block.list("except").iter().filter_map(Value::as_str).enumerate() {
        let path = path.child("except").index(at);
        let wrong = names::is_valid_cidr_for_legacy_field(except);
        errors.extend(said(&path, except, &wrong));
        if let (true, true, Some(outer), Some(inner)) = (readable, wrong.is_empty(), net(cidr), net(except))
            && (!outer.contains(&inner) || outer.prefix_len() >= inner.prefix_len())
        {
            errors.push(field::invalid(&path, except, "must be a strict subset of `cidr`"));
        }
    }
}

fn ip_address(object: &Map) -> Errors {
    let path = Path::new("spec").child("parentRef");
    let Some(parent) = spec(object).map("parentRef") else { return vec![field::required(&path, "")] };
    let mut errors = Errors::new();
    let group = parent.str("group");
    if !group.is_empty() {
        errors.extend(said(&path.child("group"), group, &names::is_dns1123_subdomain(group)));
    }
    for name in ["resource", "name", "namespace"] {
        let (value, path) = (parent.str(name), path.child(name));
        if !value.is_empty() {
            errors.extend(said(&path, value, &names::is_path_segment_name(value)));
        } else if name != "namespace" {
            errors.push(field::required(&path, ""));
        }
    }
    errors
}

fn service_cidr(object: &Map) -> Errors {
    let (path, list) = (Path::new("spec").child("cidrs"), spec(object).list("cidrs"));
    let cidrs: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
    let shown = || Value::List(list.to_vec());
    if cidrs.is_empty() {
        return vec![field::required(&path, "at least one CIDR required")];
    }
    if cidrs.len() > 2 {
        let shown = Value::Map(api::map! { "CIDRs" => list.to_vec() });
        return vec![field::invalid(&path, shown, "may only hold up to 2 values")];
    }
    let mut errors = Errors::new();
    let families: Vec<bool> =
        cidrs.iter().filter(|cidr| names::parse_cidr_sloppy(cidr).is_some()).map(|cidr| cidr.contains(':')).collect();
    if families.len() == 2 && families[0] == families[1] {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(field::invalid(&path, shown(), why));
    }
    for (at, cidr) in cidrs.iter().enumerate() {
        errors.extend(said(&path.index(at), cidr, &names::is_valid_cidr(cidr)));
    }
    errors
}

/// A second family may be added; what is there stays.
fn service_cidr_change(new: &Map, old: &Map) -> Errors {
    let path = Path::new("spec").child("cidrs");
    let cidrs = |object: &Map| -> Vec<String> {
        spec(object).list("cidrs").iter().filter_map(Value::as_str).map(str::to_string).collect()
    };
    let whole = new;
    let (new, old) = (cidrs(new), cidrs(old));
    if new.len() != old.len() && (old.len(), new.len()) != (1, 2) {
        let shown = Value::List(new.iter().map(|cidr| Value::from(cidr.as_str())).collect());
        return vec![field::invalid(&path, shown, super::common::IMMUTABLE)];
    }
    let mut errors = Errors::new();
    for (at, (new, old)) in new.iter().zip(&old).enumerate() {
        check::fixed_text(&path.index(at), new, old, &mut errors);
    }
    if new.len() != old.len() {
        errors.extend(service_cidr(whole));
    }
    errors
}
