//! discovery.k8s.io: EndpointSlice (pkg/apis/discovery/{v1/defaults.go,validation}@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::check::{self, said};
use super::core::service::validate::endpoint_ip;
use super::simple::Simple;

pub(super) const ENDPOINT_SLICE: Simple =
    Simple { generation: true, default, check: slice, check_change: change, ..Simple::BASE };

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
        check::default_protocol(port);
    }
}

fn change(new: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    check::fixed(&Path::new("addressType"), new.get("addressType"), old.get("addressType"), &mut errors);
    errors
}

fn slice(object: &Map) -> Errors {
    let kind = object.str("addressType");
    if !TYPES.contains(&kind) {
        let mut errors = Errors::new();
        check::one_of(kind, TYPES, &Path::new("addressType"), &mut errors);
        let path = Path::new("endpoints");
        let empty = object.maps("endpoints").enumerate().filter(|(_, endpoint)| endpoint.list("addresses").is_empty());
        errors.extend(empty.map(|(at, _)| field::required(&path.index(at).child("addresses"), "")));
        return errors;
    }
    let mut errors = Errors::new();
    ports(object, &mut errors);
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
        check::one_of(port.str("protocol"), PROTOCOLS, &path.child("protocol"), errors);
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
        let before = errors.len();
        crate::rest::metadata::validate_labels(Some(topology), &path.child("deprecatedTopology"), errors);
        if errors.len() == before && topology.contains("kubernetes.io/hostname") {
            let path = path.child("deprecatedTopology").key("kubernetes.io/hostname");
            errors.push(field::forbidden(&path, "may not be specified here"));
        }
    }
    if let Some(host) = endpoint.get("hostname").and_then(Value::as_str) {
        errors.extend(said(&path.child("hostname"), host, &names::is_dns1123_label(host)));
    }
    if let Some(hints) = endpoint.map("hints") {
        zones(hints, &path.child("hints").child("forZones"), errors);
    }
}

fn address_of(address: &str, kind: &str, path: &Path, index: usize, errors: &mut Errors) {
    let at = path.index(index);
    if kind == "FQDN" {
        return errors.extend(names::is_fully_qualified_domain_name(&at, address));
    }
    let wrong = names::is_valid_ip_for_legacy_field(address);
    if !wrong.is_empty() {
        return errors.extend(said(&at, address, &wrong));
    }
    let v6 = address.contains(':');
    if v6 != (kind == "IPv6") {
        errors.push(field::invalid(path, address, format!("must be an {kind} address")));
    }
    errors.extend(endpoint_ip(address, &at));
}

/// Most zones of one endpoint.
const ZONES_MAX: usize = 8;

fn zones(hints: &Map, path: &Path, errors: &mut Errors) {
    let zones: Vec<&Map> = hints.maps("forZones").collect();
    if zones.len() > ZONES_MAX {
        return errors.push(field::too_many(path, zones.len(), ZONES_MAX));
    }
    for (at, zone) in zones.iter().enumerate() {
        let (path, name) = (path.index(at).child("name"), zone.str("name"));
        if zones[..at].iter().any(|other| other.str("name") == name) {
            errors.push(field::duplicate(&path, name));
        }
        errors.extend(said(&path, name, &names::is_valid_label_value(name)));
    }
}
