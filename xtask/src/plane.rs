//! Control planes for runs of this tool: certificates, kubeconfigs and the flags that upstream's components and
//! ours both take. A component is named by its program; which of the two builds runs is the caller's choice.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::paths;
use crate::pki::Authority;
use crate::process::{self, Server};

const READY_LIMIT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(100);

const SERVICE_CIDR: &str = "10.0.0.0/16";
const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const CLUSTER_CIDR: &str = "10.244.0.0/16";
/// The endpoint of the kubernetes Service; upstream refuses loopback. An address for documentation: nobody connects.
const ADVERTISED: &str = "192.0.2.1";

/// Whose build of a component runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Side {
    Upstream,
    Keelson,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Upstream => "upstream",
            Side::Keelson => "keelson",
        }
    }

    pub fn other(self) -> Self {
        match self {
            Side::Upstream => Side::Keelson,
            Side::Keelson => Side::Upstream,
        }
    }

    /// The command that starts this side's `component`.
    pub fn program(self, component: &str) -> Command {
        match self {
            Side::Upstream => Command::new(paths::upstream(component)),
            Side::Keelson => {
                let mut command = Command::new(paths::keelson());
                command.arg(component);
                command
            }
        }
    }
}

/// Makes the certificates of a control plane in `dir`: that of the server, of the administrator, of the front proxy
/// and of each component, and the keys of service accounts.
pub fn certificates(dir: &Path) -> Result<()> {
    let authority = Authority::new(dir)?;
    authority.server("server", SERVICE_ADDRESS)?;
    authority.client("admin", "admin", "system:masters")?;
    authority.client("front-proxy", "front-proxy-client", "front-proxy")?;
    for component in ["kube-controller-manager", "kube-scheduler"] {
        authority.client(component, &format!("system:{component}"), "system:authenticated")?;
    }
    authority.key_pair("sa")
}

/// One of the etcds of a cluster: its name and ports of 127.0.0.1.
#[derive(Clone, Debug)]
pub struct Member {
    pub name: String,
    pub client: u16,
    pub peer: u16,
}

/// Starts upstream's etcd with its files in `dir`.
pub fn etcd(dir: &Path, client: u16, peer: u16) -> Result<Server> {
    let only = [Member { name: "etcd".into(), client, peer }];
    Server::start("etcd", &mut member(dir, &only, &only[0]), dir)
}

/// The command that starts one of upstream's etcds, with its files in `DIR/NAME`; the second time it goes on with them.
pub fn member(dir: &Path, all: &[Member], one: &Member) -> Command {
    let cluster: Vec<_> = all.iter().map(|member| format!("{}={}", member.name, url(member.peer))).collect();
    let (client, peer) = (url(one.client), url(one.peer));
    let mut etcd = Command::new(paths::upstream("etcd"));
    etcd.args(["--name", &one.name]).arg("--data-dir").arg(dir.join(&one.name));
    etcd.args(["--initial-cluster", &cluster.join(",")]);
    etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    etcd
}

/// The address of a program that speaks without TLS.
pub fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// The flags of both API servers.
pub fn apiserver_flags(dir: &Path, port: u16) -> Vec<String> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", dir.join(name).display());
    vec![
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".into(),
        format!("--advertise-address={ADVERTISED}"),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        file("tls-cert-file", "server.crt"),
        file("tls-private-key-file", "server.key"),
        file("client-ca-file", "ca.crt"),
        file("service-account-key-file", "sa.pub"),
        file("service-account-signing-key-file", "sa.key"),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        file("requestheader-client-ca-file", "ca.crt"),
        "--requestheader-allowed-names=front-proxy-client".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        file("proxy-client-cert-file", "front-proxy.crt"),
        file("proxy-client-key-file", "front-proxy.key"),
        "--allow-privileged=true".into(),
    ]
}

/// Starts Keelson's API server with its embedded store in `dir`.
pub fn keelson(dir: &Path, port: u16) -> Result<Server> {
    let mut apiserver = Side::Keelson.program("kube-apiserver");
    apiserver.arg("--data-dir").arg(dir.join("store")).args(apiserver_flags(dir, port));
    Server::start("keelson", &mut apiserver, dir)
}

/// Starts one side's API server on the first port with its store in `dir`; upstream's has an etcd on the others, which
/// ends after it.
pub fn apiserver(side: Side, dir: &Path, [port, client, peer]: [u16; 3]) -> Result<Vec<Server>> {
    if side == Side::Keelson {
        return Ok(vec![keelson(dir, port)?]);
    }
    let etcd = etcd(dir, client, peer)?;
    let mut apiserver = side.program("kube-apiserver");
    apiserver.arg(format!("--etcd-servers={}", url(client))).args(apiserver_flags(dir, port));
    Ok(vec![Server::start("kube-apiserver", &mut apiserver, dir)?, etcd])
}

/// Waits until an API server answers that it is ready.
pub fn ready(server: &mut Server, dir: &Path, kubeconfig: &Path) -> Result<()> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        server.check()?;
        if kubectl(dir, kubeconfig).args(["get", "--raw", "/readyz"]).output()?.status.success() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the API server is not ready in time\n{}", server.log_end());
        process::sleep(READY_POLL);
    }
}

/// kubectl with its home in `dir`.
pub fn kubectl(dir: &Path, kubeconfig: &Path) -> Command {
    let mut command = Command::new(paths::upstream("kubectl"));
    command.arg("--kubeconfig").arg(kubeconfig).env("HOME", dir);
    command
}

/// Writes the kubeconfig of who has the certificate `name`, and returns its path.
pub fn kubeconfig(dir: &Path, name: &str, port: u16) -> Result<PathBuf> {
    let file = |name: String| dir.join(name).display().to_string();
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority": file("ca.crt".into()),
        }}],
        "users": [{"name": "it", "user": {
            "client-certificate": file(format!("{name}.crt")), "client-key": file(format!("{name}.key")),
        }}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    let path = dir.join(format!("{name}.kubeconfig"));
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}

/// The flags of both controller managers and both schedulers; `port` is for their own server.
pub fn component_flags(component: &str, dir: &Path, kubeconfig: &Path, port: u16) -> Vec<String> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", dir.join(name).display());
    let kubeconfig = kubeconfig.display();
    let mut flags = vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        // The one that was there a moment ago has not always given its lease back.
        "--leader-elect=false".into(),
    ];
    if component == "kube-controller-manager" {
        flags.extend([
            file("root-ca-file", "ca.crt"),
            file("service-account-private-key-file", "sa.key"),
            file("cluster-signing-cert-file", "ca.crt"),
            file("cluster-signing-key-file", "ca.key"),
            "--use-service-account-credentials".into(),
            format!("--cluster-cidr={CLUSTER_CIDR}"),
            "--allocate-node-cidrs".into(),
        ]);
    }
    flags
}
