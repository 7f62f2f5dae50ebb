//! What a client is told about a Service beside the answer (pkg/api/service/warnings.go@v1.37.2).

use api::field::{Path, go_quote};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::{NONE, spec_of};

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";

pub(super) fn service(object: &Map) -> Vec<String> {
    let spec = spec_of(object);
    let path = Path::new("spec");
    let mut warnings = Vec::new();
    if object.annotation(HINTS).is_some() {
        warnings.push(format!("annotation {HINTS} is deprecated, please use {MODE} instead"));
    }
    if !matches!(spec.str("clusterIP"), "" | NONE) {
        list(spec, "clusterIPs", &path, &mut warnings);
    }
    let headless = spec.str("type") == "ClusterIP" && spec.str("clusterIP") == NONE;
    let (external, name) = (!spec.list("externalIPs").is_empty(), spec.str("type") == "ExternalName");
    if headless {
        let ignored = [
            (!spec.str("loadBalancerIP").is_empty(), "spec.loadBalancerIP"),
            (external, "spec.externalIPs"),
            (spec.str("sessionAffinity") != NONE, "spec.SessionAffinity"),
        ];
        let ignored = ignored.iter().filter(|row| row.0);
        warnings.extend(ignored.map(|row| format!("{} is ignored for headless services", row.1)));
    }
    list(spec, "externalIPs", &path, &mut warnings);
    if external && !headless && !name {
        warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".into());
    }
    if !spec.str("loadBalancerIP").is_empty() {
        warnings.extend(ip(&path.child("loadBalancerIP"), spec.str("loadBalancerIP")));
    }
    if name && external {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if !name && !spec.str("externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if spec.str("trafficDistribution") == "PreferClose" {
        warnings.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".into());
    }
    warnings
}

fn list(spec: &Map, name: &str, path: &Path, warnings: &mut Vec<String>) {
    for (at, text) in spec.list(name).iter().filter_map(Value::as_str).enumerate() {
        warnings.extend(ip(&path.child(name).index(at), text));
    }
}

/// An address in a form that is not the one it should have.
fn ip(path: &Path, text: &str) -> Option<String> {
    let address = names::parse_ip_sloppy(text)?;
    match text.parse::<std::net::IpAddr>() {
        Ok(parsed) if parsed.to_canonical() == parsed => {
            let canonical = parsed.to_string();
            (parsed.is_ipv6() && canonical != text).then(|| {
                let (text, canonical) = (go_quote(text), go_quote(&canonical));
                format!("{path}: IPv6 address {text} should be in RFC 5952 canonical format ({canonical})")
            })
        }
        _ => {
            let (text, standard) = (go_quote(text), go_quote(&address.to_canonical().to_string()));
            Some(format!("{path}: non-standard IP address {text} is invalid: use {standard}"))
        }
    }
}
