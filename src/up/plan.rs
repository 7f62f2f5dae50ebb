//! What an `up` is going to do, decided before anything is touched.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;

use anyhow::Result;
use ipnet::Ipv4Net;

use super::place::{Place, is_root};
use super::{lock, routes};
use crate::cli::{Options, Part};
use crate::failure::Failure;

/// kubeadm's and upstream's usual ranges.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
pub(crate) const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";
const API_PORT: u16 = 6443;
const PARTS: [Part; 6] =
    [Part::KubeApiserver, Part::KubeScheduler, Part::KubeControllerManager, Part::Kubelet, Part::KubeProxy, Part::Dns];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nodes {
    None,
    Fake(u32),
    /// One with this name, in our own network namespace.
    Real(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    Embedded,
    Memory,
    Etcd(Vec<String>),
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) place: Place,
    pub(crate) options: Options,
    pub(crate) bind: IpAddr,
    pub(crate) port: u16,
    /// Where others reach this host; without a network nowhere.
    pub(crate) advertise: Option<IpAddr>,
    pub(crate) nodes: Nodes,
    /// Where pods' addresses come from.
    pub(crate) pods: Ipv4Net,
    pub(crate) storage: Storage,
    parts: Vec<Part>,
    /// What the user should know about how it was decided.
    pub(crate) notes: Vec<String>,
}

impl Plan {
    pub(crate) fn of(place: &Place, options: &Options) -> Result<Self> {
        let root = is_root();
        let default_bind = if root { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        let parts = options.components.clone().unwrap_or_else(|| PARTS.to_vec());
        let mut notes = Vec::new();
        let nodes = match parts.contains(&Part::Kubelet) {
            true => nodes(options, root, containerd_installed(), &mut notes)?,
            false => Nodes::None,
        };
        let mut options = options.clone();
        let pods = match (options.cluster_cidr, &nodes) {
            (Some(chosen), _) => chosen,
            (None, Nodes::Real(_)) if lock::is_new(place) => routes::free_pods(&routes::read()),
            (None, _) => routes::pods(0),
        };
        if let Nodes::Real(_) = nodes {
            options.cluster_cidr = Some(pods);
        }
        Ok(Plan {
            place: place.clone(),
            bind: options.bind_address.unwrap_or(default_bind.into()),
            port: options.api_port.unwrap_or(API_PORT),
            advertise: host_address(),
            storage: storage(options.store.as_deref())?,
            options,
            nodes,
            pods,
            parts,
            notes,
        })
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    pub(crate) fn is_real(&self) -> bool {
        matches!(self.nodes, Nodes::Real(_))
    }

    /// Where clients on this host reach the API server.
    pub(crate) fn server(&self) -> String {
        let host = match self.bind {
            ip if ip.is_unspecified() && ip.is_ipv4() => IpAddr::from(Ipv4Addr::LOCALHOST),
            ip if ip.is_unspecified() => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        format!("https://{}", std::net::SocketAddr::new(host, self.port))
    }

    /// Names of the API server, as kubeadm's certificate has them.
    pub(crate) fn server_hosts(&self) -> Vec<String> {
        let names = ["", ".default", ".default.svc", ".default.svc.cluster.local"];
        let mut hosts: Vec<String> = names.iter().map(|suffix| format!("kubernetes{suffix}")).collect();
        hosts.extend(["localhost".into(), host_name()]);
        let mut addresses =
            vec![IpAddr::from(Ipv4Addr::LOCALHOST), "::1".parse().expect("an address"), SERVICE_ADDRESS.into()];
        addresses.extend(self.advertise);
        addresses.extend(Some(self.bind).filter(|ip| !ip.is_unspecified()));
        addresses.dedup();
        hosts.extend(addresses.iter().map(IpAddr::to_string));
        hosts
    }

    /// Where the API server finds the kubelet of a real node.
    pub(crate) fn node_hosts(&self, node: &str) -> Vec<String> {
        let mut hosts = vec![node.to_string(), host_name(), "localhost".into()];
        let mut addresses = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
        addresses.extend(self.advertise);
        hosts.extend(addresses.iter().map(IpAddr::to_string));
        hosts
    }

    pub(crate) fn node_names(&self) -> Vec<String> {
        match &self.nodes {
            Nodes::None => vec![],
            Nodes::Fake(count) => (1..=*count).map(|number| format!("fake-{number}")).collect(),
            Nodes::Real(name) => vec![name.clone()],
        }
    }

    pub(crate) fn nodes_text(&self) -> String {
        match &self.nodes {
            Nodes::None => "no node".into(),
            Nodes::Fake(1) => "1 fake node".into(),
            Nodes::Fake(count) => format!("{count} fake nodes"),
            Nodes::Real(name) => format!("node {name}"),
        }
    }
}

fn nodes(options: &Options, root: bool, containerd: bool, notes: &mut Vec<String>) -> Result<Nodes> {
    if options.no_node {
        return Ok(Nodes::None);
    }
    if let Some(count) = options.fake_nodes {
        return Ok(Nodes::Fake(count));
    }
    match (root, containerd) {
        (true, true) => Ok(Nodes::Real(host_name())),
        (false, _) if options.nodes.is_some() => Err(Failure::new(102, "--nodes as an ordinary user").into()),
        (_, false) if options.nodes.is_some() => Err(Failure::new(103, "containerd is not installed").into()),
        (root, _) => {
            let why = if root { "containerd is not installed" } else { "you are not root" };
            notes.push(format!("{why}, so the node is a fake one: pods become Running, but nothing runs in them"));
            Ok(Nodes::Fake(1))
        }
    }
}

fn storage(text: Option<&str>) -> Result<Storage> {
    match text {
        None | Some("embedded") => Ok(Storage::Embedded),
        Some("memory") => Ok(Storage::Memory),
        Some(text) => match text.strip_prefix("etcd=").filter(|list| !list.is_empty()) {
            Some(list) => Ok(Storage::Etcd(list.split(',').map(|url| url.trim().to_string()).collect())),
            None => Err(Failure::new(109, format!("--store {text}: one of embedded, memory, etcd=URL,..."))
                .fix("keelson up --store embedded")
                .into()),
        },
    }
}

/// Finds a program as a shell would, and where administrators' programs are.
pub(crate) fn program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(Into::into));
    dirs.map(|dir| dir.join(name)).find(|file| is_program(file))
}

pub(crate) fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn containerd_installed() -> bool {
    program("containerd").is_some()
}

/// The host's name as a node's name.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().to_lowercase();
    if name.is_empty() { "localhost".into() } else { name }
}

/// The address of the interface that leads out; nothing is sent.
fn host_address() -> Option<IpAddr> {
    let of = |local: &str, remote: &str| {
        let socket = UdpSocket::bind(local).ok()?;
        socket.connect(remote).ok()?;
        socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
    };
    // Addresses of documentation (RFC 5737, RFC 3849): any address behind the default route does.
    of("0.0.0.0:0", "198.51.100.1:9").or_else(|| of("[::]:0", "[2001:db8::1]:9"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &Options, root: bool, containerd: bool, expect: Result<Nodes, u16>) {
        let mut notes = Vec::new();
        let got = nodes(options, root, containerd, &mut notes).map_err(|error| Failure::of(error).entry.number);
        assert_eq!(got, expect, "{options:?} root {root} containerd {containerd}");
    }

    #[test]
    fn nodes_are_real_where_they_can_be() {
        let none = Options::default();
        let real = Options { nodes: Some(1), ..Options::default() };
        let fake = Options { fake_nodes: Some(3), ..Options::default() };
        let no = Options { no_node: true, ..Options::default() };
        check(&none, true, true, Ok(Nodes::Real(host_name())));
        check(&none, true, false, Ok(Nodes::Fake(1)));
        check(&none, false, true, Ok(Nodes::Fake(1)));
        check(&real, false, true, Err(102));
        check(&real, true, false, Err(103));
        check(&fake, true, true, Ok(Nodes::Fake(3)));
        check(&no, true, true, Ok(Nodes::None));
    }

    #[test]
    fn stores_by_name() {
        assert_eq!(storage(None).ok(), Some(Storage::Embedded));
        assert_eq!(
            storage(Some("etcd=http://a:1,http://b:1")).ok(),
            Some(Storage::Etcd(vec!["http://a:1".into(), "http://b:1".into()]))
        );
        for wrong in ["etcd=", "etcd", "sqlite", ""] {
            assert!(storage(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
