//! networking.k8s.io (pkg/registry/networking, pkg/apis/networking/{v1/defaults.go,validation}@v1.37.2).

use api::field::{self, Errors, Path, go_quote};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::check::{self, said};
use super::common;
use super::common::subnets;
use super::core::pod::warnings;
use super::simple::Simple;
use crate::strategy::MetaCheck;

const BASE: Simple = Simple { generation: true, ..Simple::BASE };

pub(super) const INGRESS: Simple = Simple {
    meta: &[MetaCheck::Update, MetaCheck::Whole],
    default: |object| {
        if !object.contains("status") {
            object.set("status", api::map! { "loadBalancer" => Map::new() });
        }
    },
    create: |_, object| object.set("status", api::map! { "loadBalancer" => Map::new() }),
    check: new_ingress,
    recheck: false,
    check_change: |new, old| ingress(new, &Allowed::by(old)),
    warn: |object, old| {
        let unsaid = old.is_none() && !spec(object).contains("ingressClassName");
        let said = object.annotation(CLASS_ANNOTATION).filter(|_| unsaid);
        let why = format!(
            "annotation {} is deprecated, please use 'spec.ingressClassName' instead",
            go_quote(CLASS_ANNOTATION)
        );
        said.map(|_| why).into_iter().collect()
    },
    check_status: balancer,
    warn_status: |object| {
        let path = Path::new("status").child("loadBalancer").child("ingress");
        let ips = ingresses(object).map(|ingress| ingress.str("ip")).enumerate();
        ips.filter_map(|(at, ip)| warnings::address(ip, &path.index(at))).collect()
    },
    ..BASE
};
pub(super) const INGRESS_CLASS: Simple = Simple {
    meta: &[MetaCheck::Update, MetaCheck::Whole],
    default: default_class,
    check: class,
    recheck: false,
    check_change: class_change,
    ..BASE
};
pub(super) const NETWORK_POLICY: Simple = Simple {
    counts_empty: true,
    default: default_policy,
    check: |object| policy(object, None),
    recheck: false,
    check_change: |new, old| policy(new, Some(old)),
    warn: policy_warnings,
    ..BASE
};
pub(super) const IP_ADDRESS: Simple = Simple {
    meta: &[MetaCheck::Whole, MetaCheck::Update],
    name: Simple::ip,
    generates_names: false,
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
    Simple { check: service_cidr, recheck: false, check_change: service_cidr_change, ..Simple::OWN_STATUS };

fn spec(object: &Map) -> &Map {
    object.map("spec").unwrap_or(Map::EMPTY)
}

const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
/// What may not be in a path, and at its end.
const BAD_IN_PATHS: &[&str] = &["//", "/./", "/../", "%2f", "%2F"];
const BAD_AT_ENDS: &[&str] = &["/..", "/."];

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// What was allowed once and stays allowed to who has it.
#[derive(Default)]
struct Allowed {
    secret_names: bool,
    wildcard_rules: bool,
}

impl Allowed {
    fn by(old: &Map) -> Self {
        let bad_secret = |tls: &Map| {
            let secret = tls.str("secretName");
            !secret.is_empty() && !names::name_is_dns_subdomain(secret, false).is_empty()
        };
        let bad_rule = |rule: &Map| {
            let mut errors = Errors::new();
            http_rule(rule, &Path::default(), &mut errors);
            rule.str("host").contains('*') && !errors.is_empty()
        };
        Allowed {
            secret_names: spec(old).maps("tls").any(bad_secret),
            wildcard_rules: spec(old).maps("rules").any(bad_rule),
        }
    }
}

fn new_ingress(object: &Map) -> Errors {
    let mut errors = ingress(object, &Allowed::default());
    let class = spec(object).get("ingressClassName").and_then(Value::as_str);
    if let (Some(note), Some(class)) = (object.annotation(CLASS_ANNOTATION), class)
        && note != class
    {
        let path = Path::new("annotations").child(CLASS_ANNOTATION);
        errors.push(field::invalid(&path, note, "must match `ingressClassName` when both are specified"));
    }
    errors
}

fn ingress(object: &Map, allowed: &Allowed) -> Errors {
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
        if !(rule.str("host").contains('*') && allowed.wildcard_rules) {
            http_rule(rule, &path, &mut errors);
        }
    }
    for (at, tls) in spec.maps("tls").enumerate() {
        let path = path.child("tls").index(at);
        for (at, name) in tls.list("hosts").iter().filter_map(Value::as_str).enumerate() {
            errors.extend(said(&path.child("hosts").index(at), name, &host_name(name)));
        }
        let secret = tls.str("secretName");
        if !secret.is_empty() && !allowed.secret_names {
            errors.extend(said(&path.child("secretName"), secret, &names::name_is_dns_subdomain(secret, false)));
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
        errors.push(field::invalid(path, host, "must be a DNS name, not an IP address"));
    }
    errors.extend(said(path, host, &host_name(host)));
}

fn host_name(name: &str) -> Vec<String> {
    match name.contains('*') {
        true => names::is_wildcard_dns1123_subdomain(name),
        false => names::is_dns1123_subdomain(name),
    }
}

fn http_rule(rule: &Map, path: &Path, errors: &mut Errors) {
    let Some(http) = rule.map("http") else { return };
    let path = path.child("http").child("paths");
    if http.list("paths").is_empty() {
        errors.push(field::required(&path, ""));
    }
    for (at, one) in http.maps("paths").enumerate() {
        http_path(one, &path.index(at), errors);
    }
}

fn http_path(one: &Map, path: &Path, errors: &mut Errors) {
    let Some(kind) = one.get("pathType").and_then(Value::as_str) else {
        return errors.push(field::required(&path.child("pathType"), "pathType must be specified"));
    };
    let (text, at) = (one.str("path"), path.child("path"));
    match kind {
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
            segments(resource, &["kind", "name"], &path.child("resource"), true, errors);
        }
        (Some(service), None) => service_backend(service, path, errors),
        (None, None) => errors.push(field::invalid(path, "", "resource or service backend is required")),
    }
}

/// Path segments; with `needed`, none may be missing.
fn segments(map: &Map, fields: &[&str], path: &Path, needed: bool, errors: &mut Errors) {
    for name in fields {
        match map.str(name) {
            "" if needed => errors.push(field::required(&path.child(name), "")),
            "" => {}
            text => errors.extend(said(&path.child(name), text, &names::is_path_segment_name(text))),
        }
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

fn ingresses(object: &Map) -> impl Iterator<Item = &Map> {
    object.at(&["status", "loadBalancer"]).into_iter().flat_map(|balancer| balancer.maps("ingress"))
}

fn balancer(object: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let known: Vec<&str> = ingresses(old).map(|ingress| ingress.str("ip")).collect();
    for (at, ingress) in ingresses(object).enumerate() {
        let (path, ip, host) = (path.index(at), ingress.str("ip"), ingress.str("hostname"));
        if !ip.is_empty() && !known.contains(&ip) {
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
        check::set_missing(object.map_mut("spec").map_mut("parameters"), "scope", "Cluster");
    }
}

const SCOPES: [&str; 2] = ["Cluster", "Namespace"];
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
    if let Some(group) = parameters.get("apiGroup").and_then(Value::as_str) {
        errors.extend(said(&path.child("apiGroup"), group, &names::is_dns1123_subdomain(group)));
    }
    segments(parameters, &["kind", "name"], &path, true, &mut errors);
    let scope = parameters.str("scope");
    if !SCOPES.contains(&scope) {
        errors.push(field::not_supported(&path.child("scope"), scope, &SCOPES));
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
    errors.extend(class(new));
    errors
}

fn default_policy(object: &mut Map) {
    let spec = object.map_mut("spec");
    for list in ["ingress", "egress"] {
        if spec.list(list).is_empty() {
            continue;
        }
        for rule in spec.maps_mut(list).filter(|rule| !rule.list("ports").is_empty()) {
            rule.maps_mut("ports").for_each(|port| check::set_missing(port, "protocol", "TCP"));
        }
    }
    if spec.list("policyTypes").is_empty() {
        let egress = !spec.list("egress").is_empty();
        let types = ["Ingress", "Egress"].into_iter().take(if egress { 2 } else { 1 });
        spec.set("policyTypes", types.map(Value::from).collect::<Vec<_>>());
    }
}

/// The lists of rules, with the list of peers in each.
const RULES: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

/// The blocks of a policy with their places.
fn blocks(object: &Map) -> Vec<(Path, &Map)> {
    let mut all = Vec::new();
    for (list, peers) in RULES {
        for (at, rule) in spec(object).maps(list).enumerate() {
            let path = Path::new("spec").child(list).index(at).child(peers);
            let peers = rule.maps(peers).enumerate();
            all.extend(peers.filter_map(|(at, peer)| Some((path.index(at).child("ipBlock"), peer.map("ipBlock")?))));
        }
    }
    all
}

fn excepts(block: &Map) -> impl Iterator<Item = &str> {
    block.list("except").iter().filter_map(Value::as_str)
}

fn policy_warnings(object: &Map, _: Option<&Map>) -> Vec<String> {
    let mut all = Vec::new();
    for (path, block) in blocks(object) {
        all.extend(subnets::warnings(block.str("cidr"), &path.child("cidr")));
        for (at, except) in excepts(block).enumerate() {
            all.extend(subnets::warnings(except, &path.child("except").index(at)));
        }
    }
    all
}

/// What an old policy has may stay as it is.
#[derive(Default)]
struct Kept<'a> {
    any_value: bool,
    subnets: Vec<&'a str>,
}

impl<'a> Kept<'a> {
    fn of(old: &'a Map) -> Self {
        let wrong = check::label_selector(spec(old).map("podSelector"), &Path::default());
        let subnets = |(_, block): (Path, &'a Map)| [block.str("cidr")].into_iter().chain(excepts(block));
        Kept { any_value: !wrong.is_empty(), subnets: blocks(old).into_iter().flat_map(subnets).collect() }
    }
}

fn policy(object: &Map, old: Option<&Map>) -> Errors {
    let kept = old.map(Kept::of).unwrap_or_default();
    let (spec, path) = (spec(object), Path::new("spec"));
    let mut errors = Errors::new();
    common::label_selector(spec.map("podSelector"), kept.any_value, &path.child("podSelector"), &mut errors);
    for (list, peers) in RULES {
        for (at, rule) in spec.maps(list).enumerate() {
            let path = path.child(list).index(at);
            for (at, port) in rule.maps("ports").enumerate() {
                policy_port(port, &path.child("ports").index(at), &mut errors);
            }
            for (at, peer) in rule.maps(peers).enumerate() {
                policy_peer(peer, &kept, &path.child(peers).index(at), &mut errors);
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
    if let Some(protocol) = port.get("protocol").and_then(Value::as_str)
        && !matches!(protocol, "TCP" | "UDP" | "SCTP")
    {
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

fn policy_peer(peer: &Map, kept: &Kept, path: &Path, errors: &mut Errors) {
    let mut kinds = 0;
    for name in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = peer.map(name) {
            kinds += 1;
            common::label_selector(Some(selector), kept.any_value, &path.child(name), errors);
        }
    }
    if let Some(block) = peer.map("ipBlock") {
        ip_block(block, kept, &path.child("ipBlock"), errors);
        if kinds > 0 {
            errors.push(field::forbidden(path, "may not specify both ipBlock and another peer"));
        }
        kinds += 1;
    }
    if kinds == 0 {
        errors.push(field::required(path, "must specify a peer"));
    }
}

fn ip_block(block: &Map, kept: &Kept, path: &Path, errors: &mut Errors) {
    let (cidr, at) = (block.str("cidr"), path.child("cidr"));
    if cidr.is_empty() {
        return errors.push(field::required(&at, ""));
    }
    let judge = |text: &str, path: &Path| match kept.subnets.contains(&text) {
        true => Errors::new(),
        false => said(path, text, &names::is_valid_cidr_for_legacy_field(text)),
    };
    errors.extend(judge(cidr, &at));
    let Some(outer) = subnets::parse(cidr) else { return };
    for (at, except) in excepts(block).enumerate() {
        let path = path.child("except").index(at);
        errors.extend(judge(except, &path));
        if let Some(inner) = subnets::parse(except)
            && (!outer.trunc().contains(&inner.trunc().addr()) || outer.prefix_len() >= inner.prefix_len())
        {
            errors.push(field::invalid(&path, except, "must be a strict subset of `cidr`"));
        }
    }
}

fn ip_address(object: &Map) -> Errors {
    let path = Path::new("spec").child("parentRef");
    let Some(parent) = spec(object).map("parentRef") else { return vec![field::required(&path, "")] };
    let (mut errors, group) = (Errors::new(), parent.str("group"));
    if !group.is_empty() {
        errors.extend(said(&path.child("group"), group, &names::is_dns1123_subdomain(group)));
    }
    segments(parent, &["resource", "name"], &path, true, &mut errors);
    segments(parent, &["namespace"], &path, false, &mut errors);
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
    for (at, cidr) in cidrs.iter().enumerate() {
        errors.extend(said(&path.index(at), cidr, &names::is_valid_cidr(cidr)));
    }
    let families: Vec<bool> =
        cidrs.iter().filter(|cidr| names::parse_cidr_sloppy(cidr).is_some()).map(|cidr| cidr.contains(':')).collect();
    if families.len() == 2 && families[0] == families[1] {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(field::invalid(&path, shown(), why));
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
        let shown = spec(whole).get("cidrs").cloned().unwrap_or_default();
        return vec![field::invalid(&path, shown, common::IMMUTABLE)];
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::common::given::map;
    use crate::strategy::Strategy;

    /// What is wrong with an object of this spec, new and as a change of itself.
    fn check_errors(strategy: &Simple, spec: &str, new: &[&str], kept: &[&str]) {
        let object = map(&format!(r#"{{"spec":{spec}}}"#));
        let texts = |errors: Errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(strategy.validate(&object)), new, "{spec}");
        assert_eq!(texts(strategy.validate_update(&object, &object)), kept, "{spec}");
    }

    #[test]
    fn what_was_allowed_once_stays_allowed() {
        let leading = "spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"010.0.0.0/8\": must not have leading 0s in IP or prefix length";
        check_errors(
            &NETWORK_POLICY,
            r#"{"ingress":[{"from":[{"ipBlock":{"cidr":"010.0.0.0/8"}}]}]}"#,
            &[leading],
            &[],
        );
        let paths = "spec.rules[0].http.paths: Required value";
        check_errors(&INGRESS, r#"{"rules":[{"host":"*.a","http":{"paths":[]}}]}"#, &[paths], &[]);
        check_errors(&INGRESS, r#"{"rules":[{"host":"a","http":{"paths":[]}}]}"#, &[paths], &[paths]);
        check_errors(
            &INGRESS_CLASS,
            r#"{"controller":"a.b/c","parameters":{"kind":"","name":"a/b","scope":""}}"#,
            &[
                "spec.parameters.kind: Required value",
                "spec.parameters.name: Invalid value: \"a/b\": may not contain '/'",
                r#"spec.parameters.scope: Unsupported value: "": supported values: "Cluster", "Namespace""#,
            ],
            &[
                "spec.parameters.kind: Required value",
                "spec.parameters.name: Invalid value: \"a/b\": may not contain '/'",
                r#"spec.parameters.scope: Unsupported value: "": supported values: "Cluster", "Namespace""#,
            ],
        );
    }

    #[test]
    fn addresses_are_worth_a_word() {
        let policy = map(r#"{"spec":{"egress":[{"to":[{"ipBlock":{"cidr":"10.1.0.0/8"}}]}]}}"#);
        let why = r#"is ambiguous in this context (should be "10.0.0.0/8" or "10.1.0.0/32"?)"#;
        let expect = format!(r#"spec.egress[0].to[0].ipBlock.cidr: CIDR value "10.1.0.0/8" {why}"#);
        assert_eq!(NETWORK_POLICY.warnings(&policy, None), [expect]);
        let ingress = map(r#"{"status":{"loadBalancer":{"ingress":[{"ip":"010.0.0.1"}]}}}"#);
        let expect =
            r#"status.loadBalancer.ingress[0]: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1""#;
        assert_eq!(INGRESS.status_warnings(&ingress), [expect]);
    }
}
