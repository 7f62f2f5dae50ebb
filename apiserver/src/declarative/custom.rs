//! Rules that upstream wrote by hand and names in markers (`+k8s:customValidation`;
//! pkg/apis/core/v1/validation.go, pkg/apis/lifecycle/v1alpha1/validation.go@v1.37.2).

use api::field::{self, Errors};

use super::walk::{At, Place, text};

const RESERVED_DOMAINS: [&str; 2] = [".k8s.io", ".kubernetes.io"];
/// Priorities from 0 to here are for responders of Kubernetes itself.
const RESERVED_PRIORITIES: i64 = 1000;

pub(super) fn check(name: &str, place: &Place, at: At) -> Errors {
    match name {
        "EvictionResponder_Priority" => priority(place, at),
        _ => at.new.and_then(text).map(|text| reserved(text, place)).unwrap_or_default(),
    }
}

fn priority(place: &Place, at: At) -> Errors {
    let value = at.new.map(|value| value.as_i64().unwrap_or(0));
    let reserved = value.filter(|value| (0..RESERVED_PRIORITIES).contains(value));
    let why = "priorities 0-999 are reserved for responders with *.k8s.io suffix";
    reserved.map(|value| field::invalid(&place.path(), value, why)).into_iter().collect()
}

/// A name below a domain that is Kubernetes' own.
fn reserved(name: &str, place: &Place) -> Errors {
    let domain = name.split('/').next().unwrap_or_default().to_lowercase();
    let domain = domain.trim().trim_end_matches('.');
    if !RESERVED_DOMAINS.iter().any(|suffix| domain.ends_with(suffix) || domain == &suffix[1..]) {
        return Errors::new();
    }
    let domains = RESERVED_DOMAINS.map(|suffix| format!("*{suffix}")).join(", ");
    vec![field::invalid(&place.path(), name, format!("domain names {domains} are reserved"))]
}
