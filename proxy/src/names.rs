//! Names of what is in the proxy's table.
//!
//! They are upstream's (pkg/proxy/nftables/proxier.go@v1.37.2), as other software matches on them.
//! Invariant: names of a Service's own objects have a slash, those of stock objects have none.

use sha2::{Digest, Sha256};

use crate::endpoint::Endpoint;
use crate::service::ServicePortName;

pub(crate) const DEFAULT_TABLE: &str = "kube-proxy";

pub(crate) const SERVICES_CHAIN: &str = "services";
pub(crate) const MASQUERADING_CHAIN: &str = "masquerading";
pub(crate) const REJECT_CHAIN: &str = "reject-chain";
pub(crate) const SERVICE_ENDPOINTS_CHECK_CHAIN: &str = "service-endpoints-check";
pub(crate) const NODE_PORT_ENDPOINTS_CHECK_CHAIN: &str = "nodeport-endpoints-check";
pub(crate) const CLUSTER_IPS_CHECK_CHAIN: &str = "cluster-ips-check";
pub(crate) const FIREWALL_CHECK_CHAIN: &str = "firewall-check";

pub(crate) const CLUSTER_IPS_SET: &str = "cluster-ips";
pub(crate) const NODE_PORT_IPS_SET: &str = "nodeport-ips";
pub(crate) const HAIRPIN_CONNECTIONS_SET: &str = "hairpin-connections";
pub(crate) const SERVICE_IPS_MAP: &str = "service-ips";
pub(crate) const SERVICE_NODE_PORTS_MAP: &str = "service-nodeports";
pub(crate) const NO_ENDPOINT_SERVICES_MAP: &str = "no-endpoint-services";
pub(crate) const NO_ENDPOINT_NODE_PORTS_MAP: &str = "no-endpoint-nodeports";
pub(crate) const FIREWALL_IPS_MAP: &str = "firewall-ips";

/// The longest name the kernel takes is 256 bytes; 16 are left for the prefix.
const NAME_BASE_LENGTH_MAX: usize = 240;
/// The longest comment the kernel takes, in bytes.
const COMMENT_LENGTH_MAX: usize = 128;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// 40 bits of the hash make 8 letters of base 32.
const HASH_BITS: u32 = 40;

/// The names of the objects of one service port.
pub(crate) struct ServiceNames {
    base: String,
}

impl ServiceNames {
    pub(crate) fn of(name: &ServicePortName) -> Self {
        ServiceNames { base: hash_and_truncate(path(name)) }
    }

    pub(crate) fn cluster(&self) -> String {
        format!("service-{}", self.base)
    }

    pub(crate) fn local(&self) -> String {
        format!("local-{}", self.base)
    }

    pub(crate) fn external(&self) -> String {
        format!("external-{}", self.base)
    }

    pub(crate) fn firewall(&self) -> String {
        format!("firewall-{}", self.base)
    }
}

/// The names of the chain and the affinity set of one endpoint of a service port.
pub(crate) struct EndpointNames {
    pub(crate) chain: String,
    pub(crate) affinity: String,
}

impl EndpointNames {
    pub(crate) fn of(name: &ServicePortName, endpoint: &Endpoint) -> Self {
        // A colon is not allowed in a chain name.
        let ip = endpoint.ip.to_string().replace(':', ".");
        let base = hash_and_truncate(format!("{}__{ip}/{}", path(name), endpoint.port));
        EndpointNames { chain: format!("endpoint-{base}"), affinity: format!("affinity-{base}") }
    }
}

/// True for the sets that hold which client goes to which endpoint: never to be flushed.
pub(crate) fn is_affinity_set(name: &str) -> bool {
    name.starts_with("affinity-")
}

/// The comment of an element: the service port it is there for.
pub(crate) fn comment_of(name: &ServicePortName) -> String {
    let mut text = name.to_string();
    text.truncate(COMMENT_LENGTH_MAX);
    text
}

fn path(name: &ServicePortName) -> String {
    format!("{}/{}/{}/{}", name.namespace, name.service, name.protocol.lower(), name.port)
}

/// The hash keeps truncated names apart, and lets the eye tell neighbours apart.
fn hash_and_truncate(name: String) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let bits = digest.iter().take(5).fold(0u64, |bits, byte| (bits << 8) | u64::from(*byte));
    let letter = |at: u32| BASE32[(bits >> (HASH_BITS - 5 * (at + 1)) & 31) as usize] as char;
    let mut named: String = (0..HASH_BITS / 5).map(letter).collect();
    named.push('-');
    named.push_str(&name);
    if named.len() > NAME_BASE_LENGTH_MAX {
        named.truncate(NAME_BASE_LENGTH_MAX - 3);
        named.push_str("...");
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Protocol;

    fn name(namespace: &str) -> ServicePortName {
        ServicePortName {
            namespace: namespace.into(),
            service: "svc1".into(),
            port: "p80".into(),
            protocol: Protocol::Tcp,
        }
    }

    #[test]
    fn names_are_upstreams() {
        assert_eq!(ServiceNames::of(&name("ns1")).cluster(), "service-ULMVA6XW-ns1/svc1/tcp/p80");
    }

    #[test]
    fn long_names_are_cut_to_what_the_kernel_takes() {
        let cut = ServiceNames::of(&name(&"n".repeat(300))).external();
        assert!(cut.ends_with("...") && cut.len() == "external-".len() + NAME_BASE_LENGTH_MAX, "{cut}");
    }
}
