//! What a kube-proxy is told: [`Config`], and how it comes from a KubeProxyConfiguration v1alpha1.
//!
//! Defaults are upstream's (pkg/proxy/apis/config/v1alpha1/defaults.go@v1.37.2 and
//! cmd/kube-proxy/app/server_linux.go@v1.37.2). Non-goal: modes other than nftables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use jiff::SignedDuration;
use serde::Deserialize;

use crate::Error;
use crate::family::{parse_cidr, parse_ip};
use crate::names::DEFAULT_TABLE;

const HEALTHZ_PORT: u16 = 10256;
const METRICS_PORT: u16 = 10249;
const SYNC_PERIOD: Duration = Duration::from_secs(30);
const MIN_SYNC_PERIOD: Duration = Duration::from_secs(1);
/// Bit of the packet mark that asks for masquerading.
const MASQUERADE_BIT: u8 = 14;
const MASQUERADE_BIT_MAX: i32 = 31;
const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";

/// One kube-proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of the Node object whose endpoints are local.
    pub node_name: String,
    /// The network namespace to work in, as a path (`/run/netns/NAME`); `None` for our own.
    pub netns: Option<PathBuf>,
    /// The name of the nftables table, in families ip and ip6.
    pub table: String,
    /// Overrides the node's primary address unless it is unspecified.
    pub bind_address: IpAddr,
    pub healthz_bind_address: Option<SocketAddr>,
    pub metrics_bind_address: Option<SocketAddr>,
    /// A port that cannot be bound is an error of [`crate::run`], not a reason to try again.
    pub bind_address_hard_fail: bool,
    pub masquerade_all: bool,
    pub masquerade_bit: u8,
    /// How long after a failed sync the next one comes.
    pub sync_period: Duration,
    /// The least time between two syncs.
    pub min_sync_period: Duration,
    pub detect_local: DetectLocal,
    pub node_port_addresses: Vec<NodePortAddress>,
}

/// How traffic of local pods is told from the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// By the cluster's pod ranges, at most one a family counts.
    ClusterCidr(Vec<IpNet>),
    /// By the pod ranges of the Node object.
    NodeCidr,
    BridgeInterface(String),
    InterfaceNamePrefix(String),
}

/// Which of the node's addresses accept node ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortAddress {
    Primary,
    All,
    Localhost,
    Cidr(IpNet),
}

impl Config {
    /// The defaults for one node.
    pub fn new(node_name: impl Into<String>) -> Self {
        Config {
            node_name: node_name.into(),
            netns: None,
            table: DEFAULT_TABLE.into(),
            bind_address: Ipv4Addr::UNSPECIFIED.into(),
            healthz_bind_address: Some((Ipv4Addr::UNSPECIFIED, HEALTHZ_PORT).into()),
            metrics_bind_address: Some((Ipv4Addr::LOCALHOST, METRICS_PORT).into()),
            bind_address_hard_fail: false,
            masquerade_all: false,
            masquerade_bit: MASQUERADE_BIT,
            sync_period: SYNC_PERIOD,
            min_sync_period: MIN_SYNC_PERIOD,
            detect_local: DetectLocal::ClusterCidr(Vec::new()),
            node_port_addresses: vec![NodePortAddress::Primary],
        }
    }

    /// A configuration from the text (YAML or JSON) of a KubeProxyConfiguration. `host_name` is the
    /// node's name unless the file overrides it.
    pub fn from_yaml(text: &str, host_name: &str) -> Result<Self, Error> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| invalid(error.to_string()))?;
        if file.api_version != API_VERSION || file.kind != KIND {
            return Err(invalid(format!("no kind {:?} is registered for version {:?}", file.kind, file.api_version)));
        }
        file.into_config(host_name)
    }

    /// The mark as nft text.
    pub(crate) fn masquerade_mark(&self) -> String {
        format!("{:#08x}", 1u32 << self.masquerade_bit)
    }
}

fn invalid(message: String) -> Error {
    Error::Config(message)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    hostname_override: String,
    #[serde(default)]
    bind_address: String,
    #[serde(default)]
    healthz_bind_address: String,
    #[serde(default)]
    metrics_bind_address: String,
    #[serde(default)]
    bind_address_hard_fail: bool,
    #[serde(default)]
    mode: String,
    #[serde(default)]
    nftables: Nftables,
    #[serde(default)]
    detect_local_mode: String,
    #[serde(default)]
    detect_local: DetectLocalFile,
    #[serde(default, rename = "clusterCIDR")]
    cluster_cidr: String,
    #[serde(default)]
    node_port_addresses: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Nftables {
    masquerade_bit: Option<i32>,
    masquerade_all: bool,
    sync_period: String,
    min_sync_period: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DetectLocalFile {
    bridge_interface: String,
    interface_name_prefix: String,
}

impl File {
    fn into_config(self, host_name: &str) -> Result<Config, Error> {
        if !matches!(self.mode.as_str(), "" | "nftables") {
            return Err(invalid(format!("mode: Invalid value: {:?}: only nftables is supported", self.mode)));
        }
        let name = if self.hostname_override.is_empty() { host_name } else { &self.hostname_override };
        let mut config = Config::new(name.trim().to_lowercase());
        config.bind_address = self.bind_address()?;
        let v4 = config.bind_address.is_ipv4();
        let any: IpAddr = if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let loopback: IpAddr = if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        config.healthz_bind_address =
            Some(listen_address("healthzBindAddress", &self.healthz_bind_address, (any, HEALTHZ_PORT))?);
        config.metrics_bind_address =
            Some(listen_address("metricsBindAddress", &self.metrics_bind_address, (loopback, METRICS_PORT))?);
        config.bind_address_hard_fail = self.bind_address_hard_fail;
        config.masquerade_all = self.nftables.masquerade_all;
        config.masquerade_bit = self.masquerade_bit()?;
        config.sync_period = duration("nftables.syncPeriod", &self.nftables.sync_period, SYNC_PERIOD)?;
        config.min_sync_period = duration("nftables.minSyncPeriod", &self.nftables.min_sync_period, MIN_SYNC_PERIOD)?;
        if config.min_sync_period > config.sync_period {
            let seconds = config.sync_period.as_secs();
            return Err(invalid(format!(
                "nftables.syncPeriod: Invalid value: {seconds}s: must be greater than or equal to KubeProxyConfiguration.NFTables.MinSyncPeriod"
            )));
        }
        config.detect_local = self.detect_local()?;
        if let Some(addresses) = self.node_port_addresses.filter(|list| !list.is_empty()) {
            config.node_port_addresses = addresses.iter().map(|a| node_port_address(a)).collect::<Result<_, _>>()?;
        }
        Ok(config)
    }

    fn bind_address(&self) -> Result<IpAddr, Error> {
        let text = &self.bind_address;
        if text.is_empty() {
            return Ok(Ipv4Addr::UNSPECIFIED.into());
        }
        let why = "not a valid textual representation of an IP address";
        parse_ip(text).ok_or_else(|| invalid(format!("bindAddress: Invalid value: {text:?}: {why}")))
    }

    fn masquerade_bit(&self) -> Result<u8, Error> {
        let bit = self.nftables.masquerade_bit.unwrap_or(MASQUERADE_BIT.into());
        let why = format!("must be within the range [0, {MASQUERADE_BIT_MAX}]");
        let refused = || invalid(format!("nftables.masqueradeBit: Invalid value: {bit}: {why}"));
        u8::try_from(bit).ok().filter(|_| bit <= MASQUERADE_BIT_MAX).ok_or_else(refused)
    }

    fn detect_local(&self) -> Result<DetectLocal, Error> {
        match self.detect_local_mode.as_str() {
            "" | "ClusterCIDR" => {
                let texts = self.cluster_cidr.split(',').filter(|text| !text.is_empty());
                let parsed = texts.map(|text| {
                    let why = "must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)";
                    parse_cidr(text).ok_or_else(|| invalid(format!("clusterCIDR: Invalid value: {text:?}: {why}")))
                });
                Ok(DetectLocal::ClusterCidr(parsed.collect::<Result<_, _>>()?))
            }
            "NodeCIDR" => Ok(DetectLocal::NodeCidr),
            "BridgeInterface" => Ok(DetectLocal::BridgeInterface(self.detect_local.bridge_interface.clone())),
            "InterfaceNamePrefix" => {
                Ok(DetectLocal::InterfaceNamePrefix(self.detect_local.interface_name_prefix.clone()))
            }
            other => Err(invalid(format!("detectLocalMode: Unsupported value: {other:?}"))),
        }
    }
}

fn listen_address(field: &str, text: &str, default: (IpAddr, u16)) -> Result<SocketAddr, Error> {
    if text.is_empty() {
        return Ok(default.into());
    }
    let with_port = text.parse().ok();
    let without = || parse_ip(text).map(|ip| SocketAddr::new(ip, default.1));
    with_port.or_else(without).ok_or_else(|| invalid(format!("{field}: Invalid value: {text:?}: must be IP:port")))
}

/// A metav1.Duration: Go's spelling (`1m30s`); zero or absent means the default.
fn duration(field: &str, text: &str, default: Duration) -> Result<Duration, Error> {
    if matches!(text, "" | "0" | "0s") {
        return Ok(default);
    }
    let parsed = text.parse::<SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    parsed.ok_or_else(|| invalid(format!("{field}: Invalid value: {text:?}: must be a duration")))
}

fn node_port_address(text: &str) -> Result<NodePortAddress, Error> {
    match text {
        "primary" => Ok(NodePortAddress::Primary),
        "all" => Ok(NodePortAddress::All),
        "localhost" => Ok(NodePortAddress::Localhost),
        _ => {
            let why = "must be a valid CIDR block";
            let cidr = parse_cidr(text);
            cidr.map(NodePortAddress::Cidr)
                .ok_or_else(|| invalid(format!("nodePortAddresses: Invalid value: {text:?}: {why}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = Config::from_yaml(HEAD, "Node-A").expect("valid");
        assert_eq!(config, Config::new("node-a"));
        assert_eq!(config.masquerade_mark(), "0x004000");
    }

    #[test]
    fn a_file_is_read() {
        let text = "mode: nftables\nbindAddress: \"::\"\nmetricsBindAddress: 127.0.0.1\nclusterCIDR: 10.244.0.0/16,fd00::/64\n\
                    nodePortAddresses: [all, 10.0.0.0/8]\nnftables: {minSyncPeriod: 250ms, syncPeriod: 1m30s, masqueradeBit: 3}\n";
        let config = Config::from_yaml(&format!("{HEAD}{text}"), "n").expect("valid");
        assert_eq!(config.healthz_bind_address, Some("[::]:10256".parse().expect("address")));
        assert_eq!(config.metrics_bind_address, Some("127.0.0.1:10249".parse().expect("address")));
        assert_eq!((config.min_sync_period, config.sync_period), (Duration::from_millis(250), Duration::from_secs(90)));
        assert_eq!(config.masquerade_mark(), "0x000008");
        let cidr = NodePortAddress::Cidr("10.0.0.0/8".parse().expect("cidr"));
        assert_eq!(config.node_port_addresses, [NodePortAddress::All, cidr]);
        assert!(matches!(config.detect_local, DetectLocal::ClusterCidr(cidrs) if cidrs.len() == 2));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let cases = [
            ("mode: ipvs", "mode: Invalid value: \"ipvs\""),
            ("bindAddress: nowhere", "bindAddress: Invalid value"),
            ("nftables: {masqueradeBit: 32}", "nftables.masqueradeBit: Invalid value: 32"),
            ("nftables: {syncPeriod: soon}", "nftables.syncPeriod: Invalid value"),
            ("nftables: {minSyncPeriod: 1h}", "nftables.syncPeriod: Invalid value"),
            ("detectLocalMode: Guess", "detectLocalMode: Unsupported value"),
            ("clusterCIDR: 10.0.0.0", "clusterCIDR: Invalid value"),
            ("nodePortAddresses: [some]", "nodePortAddresses: Invalid value"),
        ];
        for (text, expect) in cases {
            let error = Config::from_yaml(&format!("{HEAD}{text}\n"), "n").expect_err(text).to_string();
            assert!(error.contains(expect), "{text}: {error}");
        }
        assert!(Config::from_yaml("apiVersion: v1\nkind: Pod\n", "n").is_err());
    }
}
