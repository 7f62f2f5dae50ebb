//! A Service's status: what a load balancer reported (pkg/apis/core/validation@v1.37.2: ValidateLoadBalancerStatus).

use api::field::{self, Errors, Path};
use api::names;
use api::value::Map;

use super::spec_of;

/// How traffic of an address arrives, unless told.
const DEFAULT_MODE: &str = "VIP";
const MODES: &[&str] = &["Proxy", "VIP"];

pub(super) fn default_modes(object: &mut Map) {
    if object.at(&["status", "loadBalancer"]).is_none_or(|balancer| balancer.list("ingress").is_empty()) {
        return;
    }
    for ingress in object.map_mut("status").map_mut("loadBalancer").maps_mut("ingress") {
        if !ingress.str("ip").is_empty() && ingress.str("ipMode").is_empty() {
            ingress.set("ipMode", DEFAULT_MODE);
        }
    }
}

fn ingresses(object: &Map) -> impl Iterator<Item = &Map> {
    object.at(&["status", "loadBalancer"]).into_iter().flat_map(|balancer| balancer.maps("ingress"))
}

pub(super) fn validate(object: &Map, old: &Map) -> Errors {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    if spec_of(object).str("type") != "LoadBalancer" && ingresses(object).next().is_some() {
        return vec![field::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'")];
    }
    let known: Vec<&str> = ingresses(old).map(|ingress| ingress.str("ip")).collect();
    let mut errors = Errors::new();
    for (at, ingress) in ingresses(object).enumerate() {
        one(ingress, &known, &path.index(at), &mut errors);
    }
    errors
}

fn one(ingress: &Map, known: &[&str], path: &Path, errors: &mut Errors) {
    let (ip, mode, host) = (ingress.str("ip"), ingress.str("ipMode"), ingress.str("hostname"));
    if !ip.is_empty() && !known.contains(&ip) {
        let wrong = names::is_valid_ip_for_legacy_field(ip);
        errors.extend(wrong.iter().map(|message| field::invalid(&path.child("ip"), ip, message)));
    }
    let at_mode = path.child("ipMode");
    match (mode, ip.is_empty()) {
        ("", false) => errors.push(field::required(&at_mode, "must be specified when `ip` is set")),
        ("", true) => {}
        (_, true) => errors.push(field::forbidden(&at_mode, "may not be specified when `ip` is not set")),
        (mode, false) if !MODES.contains(&mode) => errors.push(field::not_supported(&at_mode, mode, MODES)),
        _ => {}
    }
    if !host.is_empty() {
        let at = path.child("hostname");
        errors.extend(names::is_dns1123_subdomain(host).iter().map(|message| field::invalid(&at, host, message)));
        if names::parse_ip_sloppy(host).is_some() {
            errors.push(field::invalid(&at, host, "must be a DNS name, not an IP address"));
        }
    }
}
