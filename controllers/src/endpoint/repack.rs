//! Endpoints subsets in their normal form: each address once a subset, ports with the same addresses
//! together (pkg/api/v1/endpoints/util.go@v1.37.2).
//!
//! Upstream orders by a hash of Go values; we order by content. Equality is decided on normal forms, so
//! neither rewrites what the other wrote.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset};

/// What tells addresses apart: IP and the pod's uid.
type AddressKey = (String, String);
/// Port fields in the order that sorts them; `None` stands for a subset without ports.
type PortKey = Option<(Option<String>, i32, Option<String>, Option<String>)>;

/// One address with at most one port; subsets are made of these.
pub(super) struct Entry {
    pub(super) address: EndpointAddress,
    pub(super) port: Option<EndpointPort>,
    pub(super) ready: bool,
}

/// The entries that a subset list means.
pub(super) fn unpack(subsets: &[EndpointSubset]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for subset in subsets {
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(not_ready) {
            let ports: Vec<Option<EndpointPort>> = match subset.ports.as_deref() {
                None | Some([]) => vec![None],
                Some(ports) => ports.iter().cloned().map(Some).collect(),
            };
            entries.extend(ports.into_iter().map(|port| Entry { address: address.clone(), port, ready }));
        }
    }
    entries
}

/// The normal form of entries. An address that is both ready and not ready at a port is not ready.
pub(super) fn pack(entries: Vec<Entry>) -> Vec<EndpointSubset> {
    let mut addresses: BTreeMap<AddressKey, EndpointAddress> = BTreeMap::new();
    let mut by_port: BTreeMap<PortKey, BTreeMap<AddressKey, bool>> = BTreeMap::new();
    for Entry { mut address, port, ready } in entries {
        if let Some(target) = &mut address.target_ref {
            target.resource_version = None;
        }
        let uid = address.target_ref.as_ref().and_then(|target| target.uid.clone()).unwrap_or_default();
        let key = (address.ip.clone(), uid);
        addresses.entry(key.clone()).or_insert(address);
        let known = by_port.entry(port_key(port)).or_default().entry(key).or_insert(ready);
        *known &= ready;
    }
    let mut by_addresses: BTreeMap<BTreeMap<AddressKey, bool>, Vec<EndpointPort>> = BTreeMap::new();
    for (port, of_port) in by_port {
        by_addresses.entry(of_port).or_default().extend(port.map(from_key));
    }
    by_addresses.into_iter().map(|(of_ports, ports)| subset(&addresses, &of_ports, ports)).collect()
}

fn subset(
    addresses: &BTreeMap<AddressKey, EndpointAddress>,
    of_ports: &BTreeMap<AddressKey, bool>,
    ports: Vec<EndpointPort>,
) -> EndpointSubset {
    let with = |wanted: bool| -> Option<Vec<EndpointAddress>> {
        let keys = of_ports.iter().filter(|(_, ready)| **ready == wanted);
        let found: Vec<EndpointAddress> = keys.filter_map(|(key, _)| addresses.get(key).cloned()).collect();
        (!found.is_empty()).then_some(found)
    };
    EndpointSubset {
        addresses: with(true),
        not_ready_addresses: with(false),
        ports: (!ports.is_empty()).then_some(ports),
    }
}

fn port_key(port: Option<EndpointPort>) -> PortKey {
    // An unnamed port is stored without a name.
    port.map(|port| (port.name.filter(|name| !name.is_empty()), port.port, port.protocol, port.app_protocol))
}

fn from_key(key: (Option<String>, i32, Option<String>, Option<String>)) -> EndpointPort {
    let (name, port, protocol, app_protocol) = key;
    EndpointPort { name, port, protocol, app_protocol }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subsets(text: &str) -> Vec<EndpointSubset> {
        serde_json::from_str(text).expect("subsets")
    }

    #[test]
    fn normal_form() {
        let table = [
            ("nothing", "[]", "[]"),
            (
                "one address, two ports",
                r#"[{"addresses":[{"ip":"1.2.3.4"}],"ports":[{"port":222}]},{"addresses":[{"ip":"1.2.3.4"}],"ports":[{"port":111}]}]"#,
                r#"[{"addresses":[{"ip":"1.2.3.4"}],"ports":[{"port":111},{"port":222}]}]"#,
            ),
            (
                "two addresses, one port",
                r#"[{"addresses":[{"ip":"5.6.7.8"}],"ports":[{"port":111}]},{"notReadyAddresses":[{"ip":"1.2.3.4"}],"ports":[{"port":111}]}]"#,
                r#"[{"addresses":[{"ip":"5.6.7.8"}],"notReadyAddresses":[{"ip":"1.2.3.4"}],"ports":[{"port":111}]}]"#,
            ),
            (
                "ready and not ready is not ready",
                r#"[{"addresses":[{"ip":"1.2.3.4"}],"ports":[{"port":1}]},{"notReadyAddresses":[{"ip":"1.2.3.4"}],"ports":[{"port":1}]}]"#,
                r#"[{"notReadyAddresses":[{"ip":"1.2.3.4"}],"ports":[{"port":1}]}]"#,
            ),
            (
                "headless without ports",
                r#"[{"addresses":[{"ip":"1.2.3.4"}]}]"#,
                r#"[{"addresses":[{"ip":"1.2.3.4"}]}]"#,
            ),
            (
                "different ports stay apart",
                r#"[{"addresses":[{"ip":"1.2.3.4"}],"ports":[{"name":"a","port":1}]},{"addresses":[{"ip":"5.6.7.8"}],"ports":[{"name":"a","port":2}]}]"#,
                r#"[{"addresses":[{"ip":"1.2.3.4"}],"ports":[{"name":"a","port":1}]},{"addresses":[{"ip":"5.6.7.8"}],"ports":[{"name":"a","port":2}]}]"#,
            ),
        ];
        for (what, before, after) in table {
            let packed = pack(unpack(&subsets(before)));
            assert_eq!(packed, subsets(after), "{what}");
            assert_eq!(pack(unpack(&packed)), packed, "{what}: stable");
        }
    }
}
