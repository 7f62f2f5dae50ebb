//! What a DNS server is told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::Error;
use hickory_proto::rr::Name;

const PORT: u16 = 53;
/// Seconds, CoreDNS's default for the kubernetes plugin.
const TTL: u32 = 5;
const CLUSTER_DOMAIN: &str = "cluster.local";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// One DNS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub cluster_domain: String,
    pub bind_addresses: Vec<IpAddr>,
    /// 0 takes any free port, the same for UDP and TCP (with one bind address).
    pub port: u16,
    /// The network namespace to listen in, as a path; `None` for our own. Queries to the
    /// forwarders always leave from our own.
    pub netns: Option<PathBuf>,
    /// TTL of answers about the cluster, in seconds.
    pub ttl: u32,
    /// Whom to ask about other names.
    pub forward: Forward,
}

/// Where forwarders come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The nameservers of a resolv.conf, read again when the file changes.
    ResolvConf(PathBuf),
    To(Vec<SocketAddr>),
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cluster_domain: CLUSTER_DOMAIN.into(),
            bind_addresses: vec![Ipv4Addr::UNSPECIFIED.into()],
            port: PORT,
            netns: None,
            ttl: TTL,
            forward: Forward::ResolvConf(RESOLV_CONF.into()),
        }
    }
}

impl Config {
    /// The cluster domain as an absolute name.
    pub(crate) fn zone(&self) -> Result<Name, Error> {
        let mut name = Name::from_ascii(&self.cluster_domain)
            .map_err(|error| Error::ClusterDomain { domain: self.cluster_domain.clone(), reason: error.to_string() })?;
        name.set_fqdn(true);
        Ok(name.to_lowercase())
    }
}
