//! The real node: containerd, the pod network, kubelet, proxy and DNS on this host.
//!
//! Invariant: whatever it makes on the host is in the journal first. The pod network follows the range
//! that the node was given. Non-goal: several nodes on one host.

use std::path::Path;

use anyhow::{Context, Result};
use client::task::OnError;
use ipnet::Ipv4Net;

use super::cluster::Cluster;
use super::containerd::{self, Containerd};
use super::journal::{Entry, Journal};
use super::plan::{CLUSTER_DOMAIN, DNS_ADDRESS, Plan};
use super::{cni, files, identities, names, net, wait};
use crate::cli::Part;

/// What containerd, its shims, CNI and iptables make outside of any directory that they are told.
const OUTSIDE: [&str; 7] = [
    "/run/containerd",
    "/run/containerd/s",
    "/run/containerd/fifo",
    "/var/lib/cni",
    "/var/lib/cni/results",
    "/run/xtables.lock",
    "/opt/containerd",
];

/// Below this much free disk the node takes no more pods.
const DISK_KEPT_FREE: &str = "1Gi";

/// The node before there is an API server: what it needs from the host.
pub(crate) struct Host {
    containerd: Containerd,
    images: usize,
}

impl Host {
    /// Journals, prepares the host, starts containerd and imports images.
    pub(crate) async fn prepare(plan: &Plan, journal: &Journal) -> Result<Self> {
        let place = &plan.place;
        write_down(plan, journal).await?;
        for (name, value) in [("net.ipv4.ip_forward", "1"), ("net.bridge.bridge-nf-call-iptables", "1")] {
            net::sysctl(journal, name, value)?;
        }
        for dir in ["kubelet", "cni/net.d", "containerd"] {
            std::fs::create_dir_all(place.at(dir))?;
        }
        share(&place.at("kubelet"))?;
        let containerd = Containerd::start(place).await?;
        let images = containerd.import(plan.options.images.as_deref()).await?;
        Ok(Host { containerd, images })
    }

    pub(crate) fn images(&self) -> usize {
        self.images
    }

    /// Starts the kubelet.
    pub(crate) async fn start(&self, cluster: &Cluster, name: &str) -> Result<()> {
        let plan = &cluster.plan;
        self.containerd.keep(&cluster.tasks);
        let identity = cluster.identities.nodes.get(name).context("the node has an identity")?;
        let connector = cluster.connector(identity, &format!("kubelet-{name}.conf")).await?;
        let run =
            kubelet::run(kubelet_config(plan, name), connector, self.containerd.runtime()?, cluster.tasks.child());
        cluster.tasks.spawn("kubelet", OnError::Shutdown, run);
        Ok(())
    }

    /// Starts the proxy. Last, when there are Services: after its first rules the next come a period later.
    async fn proxy(&self, cluster: &Cluster, name: &str) -> Result<()> {
        if !cluster.plan.has(Part::KubeProxy) {
            return Ok(());
        }
        let connector = cluster.connector(&cluster.identities.proxy, "kube-proxy.conf").await?;
        Ok(proxy::run(proxy_config(&cluster.plan, name), connector, cluster.tasks.child()).await?)
    }

    /// Lays down the pod network once the node has its range; returns the range.
    pub(crate) async fn network(&self, plan: &Plan, admin: &kube::Client, name: &str) -> Result<Ipv4Net> {
        let range: Ipv4Net = wait::pod_range(admin, name).await?.parse().context("the node's pod range")?;
        let bridge = cni::bridge_name(&plan.place.name);
        net::bridge(&bridge, range).await?;
        net::nft(&cni::masquerade(&plan.place.label(), plan.pods)).await?;
        let list = cni::conflist(&plan.place.label(), &bridge, range, &plan.place.at("cni/ipam"));
        let path = plan.place.at("cni/net.d/10-keelson.conflist");
        if files::read(&path)?.as_deref() != Some(&list) {
            files::write(&path, list.as_bytes(), 0o600, false)?;
        }
        Ok(range)
    }

    /// Starts proxy and DNS, which listens on the bridge and has a Service. True when names can be asked for.
    pub(crate) async fn services(
        &self,
        cluster: &Cluster,
        admin: &kube::Client,
        name: &str,
        range: Ipv4Net,
    ) -> Result<bool> {
        if !cluster.plan.has(Part::Dns) {
            return self.proxy(cluster, name).await.map(|()| false);
        }
        let gateway = cni::gateway(range);
        let config = dns::config::Config {
            cluster_domain: CLUSTER_DOMAIN.into(),
            bind_addresses: vec![gateway.into()],
            ..dns::config::Config::default()
        };
        names::publish(admin, gateway).await?;
        self.proxy(cluster, name).await?;
        let connector = cluster.connector(&cluster.identities.dns, "dns.conf").await?;
        dns::run(config, connector, cluster.tasks.child()).await?;
        Ok(cluster.plan.has(Part::KubeProxy))
    }
}

/// Writes down all that a node will make, in the order in which it may be taken away backwards.
async fn write_down(plan: &Plan, journal: &Journal) -> Result<()> {
    let place = &plan.place;
    for path in OUTSIDE {
        journal.will_make_path(Path::new(path))?;
    }
    let rules = net::run("nft", &["list", "ruleset"], "").await?;
    let tables = rules.lines().filter_map(|line| line.strip_prefix("table ")?.strip_suffix(" {")).map(Into::into);
    let table = |family: &str, name: String| Entry::NftTable { family: family.into(), name };
    let entries = [
        Entry::Tree { path: place.at("cni") },
        Entry::CniChains { tables_before: tables.collect(), chains_before: rules.contains("CNI-HOSTPORT") },
        Entry::Cgroup { path: format!("/{}", place.label()) },
        Entry::Link { name: cni::bridge_name(&place.name) },
        table("ip", place.label()),
        table("ip", proxy_table(plan)),
        table("ip6", proxy_table(plan)),
        Entry::MountsBelow { path: place.dir.clone() },
        Entry::Process {
            pid_file: containerd::pid_file(place),
            marker: containerd::config_path(place).display().to_string(),
        },
        Entry::Pods { socket: place.containerd_socket() },
    ];
    let known = super::journal::read(&place.at("state/journal"))?;
    let chains = |entry: &Entry| matches!(entry, Entry::CniChains { .. });
    // What was there before the first start counts.
    let keep = |entry: &Entry| !(chains(entry) && known.iter().any(chains));
    entries.into_iter().filter(keep).try_for_each(|entry| journal.will_make(entry))
}

/// A mount of its own, shared, so that mounts pass between pods and the host where they are asked to.
fn share(dir: &Path) -> Result<()> {
    use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    if !mounts.lines().any(|line| line.split(' ').nth(4) == dir.to_str()) {
        mount_bind(dir, dir).context("kubelet directory")?;
    }
    let flags = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    mount_change(dir, flags).context("kubelet directory")
}

fn proxy_table(plan: &Plan) -> String {
    format!("{}-proxy", plan.place.label())
}

fn kubelet_config(plan: &Plan, name: &str) -> kubelet::config::Config {
    let mut config = kubelet::config::Config::new(name);
    let place = &plan.place;
    config.node_ips = plan.advertise.into_iter().collect();
    config.root_dir = place.at("kubelet");
    config.pod_logs_dir = place.logs().join("pods");
    config.container_logs_dir = Some(place.logs().join("containers"));
    config.cgroup_root = format!("/{}", place.label());
    config.cluster_dns = vec![DNS_ADDRESS.to_string()];
    config.cluster_domain = CLUSTER_DOMAIN.into();
    let served = identities::kubelet_server(name);
    config.server.tls_cert_file = Some(place.pki().join(format!("{served}.crt")));
    config.server.tls_private_key_file = Some(place.pki().join(format!("{served}.key")));
    config.server.client_ca_file = Some(place.pki().join("ca.crt"));
    // Tenths of a disk, upstream's thresholds, are a lot on a machine that has other uses.
    for signal in ["nodefs.available", "imagefs.available"] {
        config.eviction_hard.insert(signal.into(), DISK_KEPT_FREE.into());
    }
    config.static_pod_path = Some(place.at("manifests")).filter(|path| path.is_dir());
    config
}

fn proxy_config(plan: &Plan, name: &str) -> proxy::config::Config {
    let mut config = proxy::config::Config::new(name);
    config.table = proxy_table(plan);
    config.detect_local = proxy::config::DetectLocal::ClusterCidr(vec![plan.pods.into()]);
    config
}
