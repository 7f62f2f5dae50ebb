//! What of a claim only some may write: admin access, allocations, the status of a driver's devices
//! (pkg/registry/resource/utils.go@v1.37.2).
//!
//! Non-goal: asking an authorizer or for a namespace, which `rest::access` does.

use std::collections::BTreeSet;

use api::field::Path;
use api::value::{Map, Value};

use super::{canonical, convert};
use crate::resources::common;

/// Where a claim, or the template of one, first asks for admin access.
pub(crate) fn requested(object: &Map, is_template: bool) -> Option<Path> {
    let (conversion, to_spec) = match is_template {
        true => (&convert::CLAIM_TEMPLATE, &["spec", "spec", "devices"][..]),
        false => (&convert::CLAIM, &["spec", "devices"][..]),
    };
    let object = canonical(object, conversion);
    let path = Path::new("spec").child("devices").child("requests");
    let requests = object.at(to_spec)?.maps("requests");
    first_admin(requests.map(|request| request.map("exactly").unwrap_or(Map::EMPTY)), &path)
}

/// Where an allocation first grants admin access.
pub(crate) fn granted(claim: &Map) -> Option<Path> {
    let path = Path::new("status").child("allocation").child("devices").child("results");
    first_admin(claim.at(&["status", "allocation", "devices"])?.maps("results"), &path)
}

fn first_admin<'m>(mut entries: impl Iterator<Item = &'m Map>, path: &Path) -> Option<Path> {
    let at = entries.position(|entry| entry.get("adminAccess") == Some(&Value::Bool(true)))?;
    Some(path.index(at).child("adminAccess"))
}

fn status(claim: &Map) -> &Map {
    claim.map("status").unwrap_or(Map::EMPTY)
}

/// Whether a write binds a claim, or frees it.
pub(crate) fn binds(new: &Map, old: &Map) -> bool {
    ["allocation", "reservedFor"].iter().any(|name| !common::same(status(new).get(name), status(old).get(name)))
}

/// The drivers of whose devices the status changes, while there is an allocation.
pub(crate) fn changed_drivers<'m>(new: &'m Map, old: &'m Map) -> BTreeSet<&'m str> {
    if status(new).map("allocation").is_none() {
        return BTreeSet::new();
    }
    let key = |device: &'m Map| ["driver", "pool", "device", "shareID"].map(|name| device.str(name));
    let lacks = |of: &'m Map, device: &'m Map| {
        let mut same = status(of).maps("devices").filter(|other| key(other) == key(device));
        !same.any(|other| common::same_maps(other, device))
    };
    let added = status(new).maps("devices").filter(|device| lacks(old, device));
    let gone = status(old).maps("devices").filter(|device| lacks(new, device));
    added.chain(gone).map(|device| device.str("driver")).collect()
}

/// The one node that an allocation is for; empty when it is for others too.
pub(crate) fn node(claim: &Map) -> &str {
    let terms =
        claim.at(&["status", "allocation", "nodeSelector"]).map_or(&[][..], |node| node.list("nodeSelectorTerms"));
    let [Value::Map(term)] = terms else { return "" };
    let [Value::Map(field)] = term.list("matchFields") else { return "" };
    let named = field.str("key") == "metadata.name" && field.str("operator") == "In";
    match field.list("values") {
        [Value::String(node)] if named && term.list("matchExpressions").is_empty() => node,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::common::given::map;

    #[test]
    fn admin_access_is_found_where_it_is_asked_for_and_given() {
        let shown = |path: Option<Path>| path.map(|path| path.to_string()).unwrap_or_default();
        let request = r#"{"devices":{"requests":[{"name":"a"},{"name":"b","exactly":{"adminAccess":true}}]}}"#;
        let claim = map(&format!(r#"{{"spec":{request}}}"#));
        let want = "spec.devices.requests[1].adminAccess";
        assert_eq!(shown(requested(&claim, false)), want);
        assert_eq!(shown(requested(&map(&format!(r#"{{"spec":{{"spec":{request}}}}}"#)), true)), want);
        assert_eq!(shown(requested(&claim, true)), "");
        let beta = r#"{"apiVersion":"resource.k8s.io/v1beta1","spec":{"devices":{"requests":[{"adminAccess":true}]}}}"#;
        assert_eq!(shown(requested(&map(beta), false)), "spec.devices.requests[0].adminAccess");
        let status = map(r#"{"status":{"allocation":{"devices":{"results":[{"adminAccess":true}]}}}}"#);
        assert_eq!(shown(granted(&status)), "status.allocation.devices.results[0].adminAccess");
        assert_eq!(shown(granted(&claim)), "");
    }

    #[test]
    fn drivers_whose_devices_change() {
        let claim = |devices: &str| map(&format!(r#"{{"status":{{"allocation":{{"x":1}},"devices":[{devices}]}}}}"#));
        let (a, b) = (r#"{"driver":"a","pool":"p","device":"d"}"#, r#"{"driver":"b","pool":"p","device":"d"}"#);
        let changed = r#"{"driver":"a","pool":"p","device":"d","data":{"k":1}}"#;
        for (old, new, want) in [
            (a.to_owned(), a.to_owned(), ""),
            (a.to_owned(), changed.to_owned(), "a"),
            (a.to_owned(), format!("{a},{b}"), "b"),
            (format!("{a},{b}"), String::new(), "a b"),
        ] {
            let (old, new) = (claim(&old), claim(&new));
            let drivers: Vec<_> = changed_drivers(&new, &old).into_iter().collect();
            assert_eq!(drivers.join(" "), want, "{old:?} {new:?}");
            assert!(!binds(&new, &old));
        }
        assert!(binds(&claim(""), Map::EMPTY));
        assert_eq!(changed_drivers(Map::EMPTY, &claim(a)), BTreeSet::new());
    }

    #[test]
    fn an_allocation_is_for_one_node_or_for_none() {
        let on = |terms: &str| {
            node(&map(&format!(
                r#"{{"status":{{"allocation":{{"nodeSelector":{{"nodeSelectorTerms":[{terms}]}}}}}}}}"#
            )))
            .to_owned()
        };
        let term = |values: &str| {
            format!(r#"{{"matchFields":[{{"key":"metadata.name","operator":"In","values":[{values}]}}]}}"#)
        };
        assert_eq!(on(&term("\"n\"")), "n");
        assert_eq!(on(&term("\"n\",\"m\"")), "");
        assert_eq!(on(&format!("{},{}", term("\"n\""), term("\"n\""))), "");
        assert_eq!(on(""), "");
    }
}
