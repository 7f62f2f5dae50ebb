//! The command line of `keelson` itself.
//!
//! Non-goal: components under their upstream names; their flags are upstream's (`flags`).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

/// Kubernetes v1.37 as one small binary.
#[derive(Parser)]
#[command(name = "keelson", version = crate::VERSION, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start a cluster, or continue one; returns when the first pod can run
    Up(Up),
    /// Say how a cluster is
    Status(Status),
    /// Stop a cluster and its pods; the data stays
    Down(Place),
    /// Stop a cluster and remove everything that `up` made
    Reset(Reset),
    /// Check this machine, with the same checks as `up`
    Doctor(Doctor),
    /// Print the administrator's kubeconfig
    Kubeconfig(Place),
    /// Print the version
    Version(Version),
    /// Say what a KEEL-nnn means
    Explain { code: String },
}

/// Which cluster.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// Name of the cluster
    #[arg(long, default_value = "default")]
    pub(crate) name: String,
    /// Where everything of the cluster lives [default: /var/lib/keelson/NAME for root, else $XDG_STATE_HOME/keelson/NAME]
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    #[default]
    Text,
    Json,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) options: Options,
    /// Stay in the foreground, for systemd and containers
    #[arg(long)]
    pub(crate) foreground: bool,
    /// `json` prints one event a line
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    /// The background process itself; its standard output is a pipe of events
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

/// What a cluster is made with; remembered for the next `up`, which may change it.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Options {
    /// Port of the API server [default: 6443]
    #[arg(long)]
    pub(crate) api_port: Option<u16>,
    /// Address the API server listens on [default: 0.0.0.0 for root, else 127.0.0.1]
    #[arg(long)]
    pub(crate) bind_address: Option<std::net::IpAddr>,
    /// Number of real nodes on this machine
    #[arg(long, conflicts_with_all = ["fake_nodes", "no_node"], value_parser = clap::value_parser!(u32).range(1..=1))]
    pub(crate) nodes: Option<u32>,
    /// Number of fake nodes: the same kubelet on a runtime that only pretends
    #[arg(long, conflicts_with = "no_node", value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub(crate) fake_nodes: Option<u32>,
    /// The control plane alone
    #[arg(long)]
    pub(crate) no_node: bool,
    /// Range of the pods' addresses, for good [default: the first free one of 10.244.0.0/16, 10.245.0.0/16 and so on]
    #[arg(long)]
    pub(crate) cluster_cidr: Option<ipnet::Ipv4Net>,
    /// Which components run, of kube-apiserver, kube-scheduler, kube-controller-manager, kubelet, kube-proxy, dns [default: all]
    #[arg(long, value_delimiter = ',')]
    pub(crate) components: Option<Vec<Part>>,
    /// embedded, memory, or etcd=URL,... [default: embedded]
    #[arg(long)]
    pub(crate) store: Option<String>,
    /// PEM file of the authority of etcd's certificates
    #[arg(long)]
    pub(crate) etcd_cafile: Option<PathBuf>,
    /// PEM file of the client certificate for etcd
    #[arg(long)]
    pub(crate) etcd_certfile: Option<PathBuf>,
    /// PEM file of the client key for etcd
    #[arg(long)]
    pub(crate) etcd_keyfile: Option<PathBuf>,
    /// Import every image archive (*.tar) of this directory
    #[arg(long)]
    pub(crate) images: Option<PathBuf>,
    /// Images that fake nodes cannot pull, as name:tag,...
    #[arg(long)]
    pub(crate) fake_absent_images: Option<String>,
}

/// A component that `--components` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    KubeApiserver,
    KubeScheduler,
    KubeControllerManager,
    Kubelet,
    KubeProxy,
    Dns,
}

#[derive(Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) place: Place,
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Reset {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) options: Options,
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Version {
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

impl Options {
    /// The same with paths that mean the same from everywhere.
    pub(crate) fn absolute(mut self) -> std::io::Result<Self> {
        let paths = [&mut self.images, &mut self.etcd_cafile, &mut self.etcd_certfile, &mut self.etcd_keyfile];
        for path in paths.into_iter().flatten() {
            *path = std::path::absolute(&*path)?;
        }
        Ok(self)
    }

    /// These options on top of remembered ones. A choice of nodes replaces the whole choice.
    pub(crate) fn over(self, old: Options) -> Options {
        let chosen = self.nodes.is_some() || self.fake_nodes.is_some() || self.no_node;
        let (nodes, fake_nodes, no_node) =
            if chosen { (self.nodes, self.fake_nodes, self.no_node) } else { (old.nodes, old.fake_nodes, old.no_node) };
        Options {
            api_port: self.api_port.or(old.api_port),
            bind_address: self.bind_address.or(old.bind_address),
            nodes,
            fake_nodes,
            no_node,
            cluster_cidr: self.cluster_cidr.or(old.cluster_cidr),
            components: self.components.or(old.components),
            store: self.store.or(old.store),
            etcd_cafile: self.etcd_cafile.or(old.etcd_cafile),
            etcd_certfile: self.etcd_certfile.or(old.etcd_certfile),
            etcd_keyfile: self.etcd_keyfile.or(old.etcd_keyfile),
            images: self.images.or(old.images),
            fake_absent_images: self.fake_absent_images.or(old.fake_absent_images),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &str) -> Result<Options, String> {
        let words = ["keelson", "up"].into_iter().chain(arguments.split_whitespace());
        match Cli::try_parse_from(words).map_err(|error| error.kind().to_string())?.command {
            Command::Up(up) => Ok(up.options),
            _ => Err("another command".into()),
        }
    }

    #[test]
    fn contradictions_are_usage_errors() {
        for wrong in [
            "--nodes 1 --fake-nodes 1",
            "--fake-nodes 1 --no-node",
            "--fake-nodes 0",
            "--components x",
            "--api-port x",
            "--nosuch",
        ] {
            assert!(options(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_given_goes_over_what_is_remembered() {
        let old = options("--api-port 7000 --fake-nodes 3 --store memory").expect("valid");
        let new = options("--no-node").expect("valid").over(old.clone());
        assert_eq!((new.api_port, new.fake_nodes, new.no_node), (Some(7000), None, true));
        assert_eq!(options("").expect("valid").over(old.clone()), old);
    }

    #[test]
    fn remembered_options_survive_json() {
        let old = options("--components kube-apiserver,dns --images d --bind-address ::1").expect("valid");
        let text = serde_json::to_string(&old).expect("json");
        assert_eq!(serde_json::from_str::<Options>(&text).expect("the same"), old);
    }
}
