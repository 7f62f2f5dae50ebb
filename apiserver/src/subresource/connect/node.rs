//! How a node's kubelet is reached (pkg/kubelet/client/kubelet_client.go,
//! pkg/registry/core/node/strategy.go@v1.37.2).

use std::net::IpAddr;

use api::status::Status;
use api::value::{Map, Value};

use super::backends::Backends;
use super::target::{Identity, Target, split_scheme_name_port, subpath};
use super::{admit, live, plain};
use crate::chain::Asked;
use crate::rest::Call;

/// A kubelet hands WebSockets on itself.
const WEBSOCKETS: &str = "ExtendWebSocketsToKubelet";

/// Where a kubelet listens.
pub(super) struct Kubelet {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) takes_websockets: bool,
}

impl Kubelet {
    pub(super) async fn of(asked: &Asked<'_>, call: &Call<'_>, name: &str) -> Result<Self, Status> {
        let node = live(call, "nodes", "", name).await?;
        let status = node.map("status").unwrap_or(Map::EMPTY);
        let backends: &Backends = &asked.core.backends;
        let told = status.at(&["daemonEndpoints", "kubeletEndpoint"]).and_then(|endpoint| endpoint.i64("Port"));
        let port = told.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        Ok(Kubelet {
            host: address(status, &backends.address_types)?,
            port: port.unwrap_or(backends.kubelet_port),
            takes_websockets: status.list("declaredFeatures").iter().any(|name| name.as_str() == Some(WEBSOCKETS)),
        })
    }

    pub(super) fn target(&self, path: String, query: String, identity: Identity) -> Target {
        Target { tls: Some(identity), host: self.host.clone(), port: Some(self.port.to_string()), path, query }
    }
}

/// The first address of the first preferred type that there is.
fn address(status: &Map, preferred: &[String]) -> Result<String, Status> {
    let find = |kind: &String| status.maps("addresses").find(|address| address.str("type") == kind);
    if let Some(address) = preferred.iter().find_map(find) {
        return Ok(address.str("address").into());
    }
    let known: Vec<String> = status
        .maps("addresses")
        .map(|address| format!("{{{} {}}}", address.str("type"), address.str("address")))
        .collect();
    Err(plain(500, format!("no preferred addresses found; known addresses: [{}]", known.join(" "))))
}

/// Neither loopback nor link-local nor multicast nor unspecified (Go's IsGlobalUnicast).
pub(super) fn is_allowed(ip: IpAddr) -> bool {
    let special = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !special && !ip.is_loopback() && !ip.is_multicast() && !ip.is_unspecified()
}

async fn check_host(host: &str) -> Result<(), Status> {
    let found = tokio::net::lookup_host((host, 0)).await;
    let found: Vec<_> = found
        .map_err(|error| Status::bad_request(format!("lookup {host}: {error}")))?
        .map(|address| address.ip())
        .collect();
    if found.is_empty() {
        return Err(Status::bad_request("no addresses for hostname"));
    }
    match found.into_iter().all(is_allowed) {
        true => Ok(()),
        false => Err(Status::bad_request("address not allowed")),
    }
}

pub(super) async fn proxy_target(asked: &Asked<'_>, call: &Call<'_>) -> Result<Target, Status> {
    let id = &call.info.name;
    let (scheme, name, port) = split_scheme_name_port(id)
        .ok_or_else(|| Status::bad_request(format!("invalid node request {}", api::field::go_quote(id))))?;
    admit(call).await?;
    let kubelet = Kubelet::of(asked, call, name).await?;
    check_host(&kubelet.host).await?;
    let path = subpath(&call.info.rest, &call.info.path);
    if port.is_empty() || port == kubelet.port.to_string() {
        return Ok(kubelet.target(path, String::new(), Identity::Kubelet));
    }
    let tls = (scheme == "https").then_some(Identity::Anyone);
    Ok(Target { tls, host: kubelet.host, port: Some(port.into()), path, query: String::new() })
}

/// Text of a value that is text.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::map;

    #[test]
    fn the_preferred_address() {
        let one = |kind: &str, address: &str| Value::Map(map! { "type" => kind, "address" => address });
        let status = map! { "addresses" => vec![one("InternalIP", "10.0.0.1"), one("Hostname", "n"), one("InternalIP", "fd00::1")] };
        let find = |types: &[&str]| {
            let types: Vec<String> = types.iter().map(|kind| (*kind).into()).collect();
            address(&status, &types).map_err(|status| status.message)
        };
        assert_eq!(find(&["ExternalIP", "InternalIP"]), Ok("10.0.0.1".into()));
        assert_eq!(find(&["Hostname", "InternalIP"]), Ok("n".into()));
        let none =
            "no preferred addresses found; known addresses: [{InternalIP 10.0.0.1} {Hostname n} {InternalIP fd00::1}]";
        assert_eq!(find(&["ExternalIP"]), Err(none.into()));
    }

    #[test]
    fn addresses_that_are_nobodys() {
        for (ip, expect) in [
            ("10.0.0.1", true),
            ("fd00::1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("224.0.0.1", false),
            ("0.0.0.0", false),
            ("::1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_allowed(ip.parse().expect("an address")), expect, "{ip}");
        }
    }
}
