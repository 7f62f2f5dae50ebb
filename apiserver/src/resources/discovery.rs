//! discovery.k8s.io: EndpointSlice (pkg/apis/discovery/{v1/defaults.go,validation}@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::check::{self, said};
use super::common;
use super::core::service::validate::endpoint_ip;
use super::simple::Simple;
use crate::strategy::MetaCheck;

pub(super) const ENDPOINT_SLICE: Simple = Simple {
    generation: true,
    meta: &[MetaCheck::Whole],
    default,
    create: |_, object| settle_topology(object, None),
    update: |_, object, old| {
        // Labels count as well as what is in the slice, and so does what is dropped of it.
        let content = ["addressType", "endpoints", "ports"];
        let differs = content.iter().any(|name| !common::same(object.get(name), old.get(name)));
        if differs || object.meta().map("labels") != old.meta().map("labels") {
            object.meta_mut().set("generation", old.generation() + 1);
        }
        settle_topology(object, Some(old));
    },
    check: |object| slice(object, None),
    recheck: false,
    check_change: |new, old| {
        let mut errors = slice(new, Some(old));
        check::fixed(&Path::new("addressType"), new.get("addressType"), old.get("addressType"), &mut errors);
        errors
    },
    warn,
    ..Simple::BASE
};

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

fn default(object: &mut Map) {
    if object.list("ports").is_empty() {
        return;
    }
    for port in object.maps_mut("ports") {
        check::set_missing(port, "name", "");
        check::set_missing(port, "protocol", "TCP");
    }
}

const HOST: &str = "kubernetes.io/hostname";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Who writes no addresses that are worth a word.
const CONTROLLERS: [&str; 2] = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

/// v1 has no topology: of old slices the names of nodes live on in their field (dropTopologyOnV1).
fn settle_topology(object: &mut Map, old: Option<&Map>) {
    if old.is_some_and(|old| common::same(old.get("endpoints"), object.get("endpoints"))) {
        return;
    }
    let host = |endpoint: &Map| endpoint.map("deprecatedTopology").map(|topology| topology.str(HOST).to_string());
    let known: Vec<String> = old.into_iter().flat_map(|old| old.maps("endpoints")).filter_map(host).collect();
    for endpoint in object.maps_mut("endpoints") {
        let named = host(endpoint).filter(|name| known.contains(name) && !endpoint.contains("nodeName"));
        endpoint.remove("deprecatedTopology");
        if let Some(name) = named.filter(|name| names::name_is_dns_subdomain(name, false).is_empty()) {
            endpoint.set("nodeName", name);
        }
    }
}

fn warn(object: &Map, old: Option<&Map>) -> Vec<String> {
    let mut warnings = Vec::new();
    if object.str("addressType") == "FQDN" && old.is_none() {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".to_string());
    }
    if object.label(MANAGED_BY).is_some_and(|by| CONTROLLERS.contains(&by)) {
        return warnings;
    }
    for (at, endpoint) in object.maps("endpoints").enumerate() {
        let path = Path::new("endpoints").index(at).child("addresses");
        for (index, address) in endpoint.list("addresses").iter().filter_map(Value::as_str).enumerate() {
            warnings.extend(super::core::pod::warnings::address(address, &path.index(index)));
        }
    }
    warnings
}

/// What is wrong; endpoints that are as they were are taken as they are.
fn slice(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    let kind = object.str("addressType");
    check::one_of(kind, TYPES, &Path::new("addressType"), &mut errors);
    let same = old.is_some_and(|old| common::same(old.get("endpoints"), object.get("endpoints")));
    ports(object, &mut errors);
    if same {
        return errors;
    }
    let path = Path::new("endpoints");
    if object.list("endpoints").len() > ENDPOINTS_MAX {
        errors.push(field::too_many(&path, object.list("endpoints").len(), ENDPOINTS_MAX));
        return errors;
    }
    for (at, endpoint) in object.maps("endpoints").enumerate() {
        one(endpoint, kind, &path.index(at), &mut errors);
    }
    errors
}

fn ports(object: &Map, errors: &mut Errors) {
    let path = Path::new("ports");
    if object.list("ports").len() > PORTS_MAX {
        return errors.push(field::too_many(&path, object.list("ports").len(), PORTS_MAX));
    }
    let mut seen: Vec<&str> = Vec::new();
    for (at, port) in object.maps("ports").enumerate() {
        let (path, name) = (path.index(at), port.str("name"));
        if !name.is_empty() {
            errors.extend(said(&path.child("name"), name, &names::is_dns1123_label(name)));
        }
        if seen.contains(&name) {
            errors.push(field::duplicate(&path.child("name"), name));
        }
        seen.push(name);
        common::one_of(port, "protocol", PROTOCOLS, &path, errors);
        if let Some(protocol) = port.get("appProtocol").and_then(Value::as_str) {
            errors.extend(said(&path.child("appProtocol"), protocol, &names::is_qualified_name(protocol)));
        }
    }
}

fn one(endpoint: &Map, kind: &str, path: &Path, errors: &mut Errors) {
    let addresses: Vec<&str> = endpoint.list("addresses").iter().filter_map(Value::as_str).collect();
    let at = path.child("addresses");
    if addresses.is_empty() {
        errors.push(field::required(&at, ""));
    } else if addresses.len() > ADDRESSES_MAX {
        errors.push(field::too_many(&at, addresses.len(), ADDRESSES_MAX));
    }
    for (index, address) in addresses.iter().enumerate() {
        address_of(address, kind, &at, index, errors);
    }
    if let Some(node) = endpoint.get("nodeName").and_then(Value::as_str) {
        errors.extend(said(&path.child("nodeName"), node, &names::name_is_dns_subdomain(node, false)));
    }
    if let Some(topology) = endpoint.map("deprecatedTopology") {
        crate::rest::metadata::validate_labels(Some(topology), &path.child("deprecatedTopology"), errors);
    }
    if let Some(host) = endpoint.get("hostname").and_then(Value::as_str) {
        errors.extend(said(&path.child("hostname"), host, &names::is_dns1123_label(host)));
    }
    if let Some(hints) = endpoint.map("hints") {
        self::hints(hints, &path.child("hints"), errors);
    }
}

fn address_of(address: &str, kind: &str, path: &Path, index: usize, errors: &mut Errors) {
    let at = path.index(index);
    if kind == "FQDN" {
        return errors.extend(names::is_fully_qualified_domain_name(&at, address));
    }
    let wrong = match kind {
        "IPv4" => names::is_valid_ip_for_legacy_field(address),
        "IPv6" => names::is_valid_ip(address),
        // Of an unknown type nothing is known of its addresses either.
        _ => return,
    };
    if !wrong.is_empty() {
        return errors.extend(said(&at, address, &wrong));
    }
    let v6 = address.contains(':');
    if v6 != (kind == "IPv6") {
        errors.push(field::invalid(path, address, format!("must be an {kind} address")));
    }
    errors.extend(endpoint_ip(address, &at));
}

/// Most zones, and most nodes, of one endpoint.
const HINTS_MAX: usize = 8;

fn hints(hints: &Map, path: &Path, errors: &mut Errors) {
    for list in ["forZones", "forNodes"] {
        let (path, all) = (path.child(list), hints.maps(list).map(|hint| hint.str("name")).collect::<Vec<_>>());
        if all.len() > HINTS_MAX {
            return errors.push(field::too_many(&path, all.len(), HINTS_MAX));
        }
        for (at, name) in all.iter().enumerate() {
            let path = path.index(at).child("name");
            if all[..at].contains(name) {
                errors.push(field::duplicate(&path, *name));
            }
            let wrong = match list {
                "forZones" => names::is_valid_label_value(name),
                _ => names::name_is_dns_subdomain(name, false),
            };
            errors.extend(said(&path, name, &wrong));
        }
    }
}
