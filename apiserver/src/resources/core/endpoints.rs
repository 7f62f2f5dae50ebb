//! Endpoints (pkg/registry/core/endpoint/strategy.go, pkg/apis/core/validation/validation.go@v1.37.2: ValidateEndpoints).

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::pod::warnings::address;
use super::service::validate::endpoint_ip;
use crate::resources::check::{self, one_of, said};
use crate::resources::common;
use crate::resources::simple::Simple;
use crate::strategy::MetaCheck;

pub(in crate::resources) const ENDPOINTS: Simple = Simple {
    creates: true,
    meta: &[MetaCheck::Update, MetaCheck::Whole],
    default,
    check: |object| check(object, None),
    recheck: false,
    check_change,
    warn,
    ..Simple::BASE
};

const LISTS: [&str; 2] = ["addresses", "notReadyAddresses"];
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpoint-controller";

fn default(object: &mut Map) {
    for subset in object.maps_mut("subsets") {
        subset.maps_mut("ports").for_each(|port| check::set_absent(port, "protocol", "TCP"));
    }
}

/// Subsets that are as they were are taken as they are, whatever is wrong with them.
fn check_change(object: &Map, old: &Map) -> Errors {
    check(object, Some(old))
}

fn check(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    if old.is_some_and(|old| common::same(object.get("subsets"), old.get("subsets"))) {
        return errors;
    }
    for (at, subset) in object.maps("subsets").enumerate() {
        let path = Path::new("subsets").index(at);
        if LISTS.iter().all(|list| subset.list(list).is_empty()) {
            errors.push(field::required(&path, "must specify `addresses` or `notReadyAddresses`"));
        }
        for list in LISTS {
            for (at, address) in subset.maps(list).enumerate() {
                one_address(address, &path.child(list).index(at), &mut errors);
            }
        }
        let several = subset.list("ports").len() > 1;
        for (at, port) in subset.maps("ports").enumerate() {
            one_port(port, several, &path.child("ports").index(at), &mut errors);
        }
    }
    errors
}

fn one_address(address: &Map, path: &Path, errors: &mut Errors) {
    let (ip, host, at) = (address.str("ip"), address.str("hostname"), path.child("ip"));
    errors.extend(said(&at, ip, &names::is_valid_ip_for_legacy_field(ip)));
    if !host.is_empty() {
        common::dns_label(host, &path.child("hostname"), errors);
    }
    if let Some(node) = address.get("nodeName").and_then(Value::as_str) {
        errors.extend(said(&path.child("nodeName"), node, &names::name_is_dns_subdomain(node, false)));
    }
    errors.extend(endpoint_ip(ip, &at));
}

fn one_port(port: &Map, named: bool, path: &Path, errors: &mut Errors) {
    match port.str("name") {
        "" if named => errors.push(field::required(&path.child("name"), "")),
        "" => {}
        name => common::dns_label(name, &path.child("name"), errors),
    }
    let number = port.i64("port").unwrap_or(0);
    let wrong = names::is_valid_port_num(number);
    errors.extend(wrong.iter().map(|message| field::invalid(&path.child("port"), number, message)));
    one_of(port.str("protocol"), &["SCTP", "TCP", "UDP"], &path.child("protocol"), errors);
    if let Some(protocol) = port.get("appProtocol").and_then(Value::as_str) {
        common::qualified_name(protocol, &path.child("appProtocol"), errors);
    }
}

/// Addresses in a form that they should not have, unless the controller wrote them.
fn warn(object: &Map, _: Option<&Map>) -> Vec<String> {
    if object.label(MANAGED_BY) == Some(CONTROLLER) {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    for (at, subset) in object.maps("subsets").enumerate() {
        for list in LISTS {
            for (index, one) in subset.maps(list).enumerate() {
                let path = Path::new("subsets").index(at).child(list).index(index).child("ip");
                warnings.extend(address(one.str("ip"), &path));
            }
        }
    }
    warnings
}
