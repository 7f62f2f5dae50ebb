//! Discovery documents against upstream's published ones.

use api::json;
use http::HeaderMap;

use super::{aggregated, plain, unserved};
use crate::aggregation::{Aggregation, Table};
use crate::registry::Registry;

fn registry() -> Registry {
    Registry::new(|facts| facts.served_by_default())
}

fn text(document: Option<api::value::Map>) -> String {
    document.map_or("none".into(), |map| String::from_utf8(json::encode(&map)).expect("UTF-8"))
}

#[test]
fn documents_are_those_of_upstream() {
    let registry = registry();
    let group = r#"{"name":"autoscaling","versions":[{"groupVersion":"autoscaling/v2","version":"v2"},{"groupVersion":"autoscaling/v1","version":"v1"}],"preferredVersion":{"groupVersion":"autoscaling/v2","version":"v2"}}"#;
    let table = Table::default();
    assert_eq!(text(plain::group(&registry, &table, "autoscaling")).trim(), group);
    assert_eq!(text(plain::group(&registry, &table, "")), "none");
    assert_eq!(text(plain::group(&registry, &table, "nope")), "none");
    let list = plain::resource_list(&registry, "", "v1").expect("core");
    let names: Vec<&str> = list.maps("resources").map(|row| row.str("name")).collect();
    assert_eq!(names[..3], ["bindings", "componentstatuses", "configmaps"]);
    let row = |name: &str| text(list.maps("resources").find(|row| row.str("name") == name).cloned());
    let eviction = r#"{"name":"pods/eviction","singularName":"","namespaced":true,"group":"policy","version":"v1","kind":"Eviction","verbs":["create"]}"#;
    assert_eq!(row("pods/eviction").trim(), eviction);
    let namespaces = r#"{"name":"namespaces","singularName":"namespace","namespaced":false,"kind":"Namespace","verbs":["create","delete","get","list","patch","update","watch"],"shortNames":["ns"],"storageVersionHash":"Q3oi5N2YM8M="}"#;
    assert_eq!(row("namespaces").trim(), namespaces);
}

/// The ETags that kube-apiserver v1.37.2 gives with default flags: equal only if every byte is.
#[test]
fn aggregated_documents_have_the_etags_of_upstream() {
    let registry = registry();
    let core = "4D7E1BED90B364BC86049DD9E636494980AEF65B7F8CFAA267616FA062B514A8A3CC2C2851CC9337B8D28B4C80960E2353DE5E0B152E87CC223E02EA3C5C37AC";
    let others = "C1F1010597FE58AB064229356A99E46C1A393186FA4A195FB7F52CC9716570130AA2FD3A1637DC37D5C215C4A3A6022B5C46487215FF916DE5BA1DD781D395AE";
    assert_eq!(aggregated::etag(&aggregated::core_document(&registry)), core);
    let aggregation = Aggregation::new(&Default::default(), Default::default()).expect("no files to read");
    assert_eq!(aggregated::etag(&aggregated::document(&registry, &aggregation)), others);
}

#[test]
fn the_first_clause_that_asks_for_it_gets_the_aggregated_document() {
    let check = |accept: &str, expect: Option<&str>| {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, accept.parse().expect("header"));
        let got = aggregated::negotiated(&headers).map(|format| format.media_type());
        assert_eq!(got, expect, "{accept}");
    };
    let wanted = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    check("", None);
    check("application/json", None);
    check(&format!("application/json;{wanted}"), Some("application/json"));
    check(&format!("application/json,application/json;{wanted};q=0.3"), Some("application/json"));
    check(&format!("text/html;{wanted},application/yaml;{wanted}"), Some("application/yaml"));
    check(&format!("*/*;{wanted};profile=nopeer"), Some("application/json"));
    check(&format!("application/vnd.kubernetes.protobuf;{wanted}"), Some("application/vnd.kubernetes.protobuf"));
    check("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", None);
}

#[test]
fn unserved_paths_are_refused_by_who_owns_them() {
    let registry = registry();
    let check = |path: &str, status: bool| assert_eq!(unserved(&registry, path).is_err(), status, "{path}");
    check("/foo", false);
    check("/openapi", false);
    check("/apis/nope/v1", false);
    check("/apis/apps/v2", true);
    check("/api/v2", true);
    check("/version/foo", true);
}
