//! `keelson etcd` (`server/etcdmain@v3.7.3`): the store served as etcd's API.
//!
//! Flags are Go's, so one dash is as good as two, and each may come from the environment (`ETCD_DATA_DIR`). What a single member
//! without etcd's files cannot do is refused, so that nobody takes it for done.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use etcd_server::{Compaction, Config, Etcd, Place, TlsFiles};

use crate::flags::Values;

pub(super) const FLAGS: &str = include_str!("../flags/etcd.txt");

pub(super) const HONOURED: &[&str] = &[
    "advertise-client-urls",
    "auto-compaction-mode",
    "auto-compaction-retention",
    "cert-file",
    "client-cert-auth",
    "data-dir",
    "grpc-keepalive-interval",
    "grpc-keepalive-timeout",
    "initial-advertise-peer-urls",
    "initial-cluster",
    "initial-cluster-state",
    "initial-cluster-token",
    "key-file",
    "listen-client-http-urls",
    "listen-client-urls",
    "listen-metrics-urls",
    "listen-peer-urls",
    "log-format",
    "log-level",
    "log-outputs",
    "logger",
    "max-request-bytes",
    "max-txn-ops",
    "name",
    "quota-backend-bytes",
    "trusted-ca-file",
    "watch-progress-notify-interval",
];

/// Flags that ask for what is not here, and would be missed if they did nothing.
const REFUSED: &[&str] = &[
    "auto-tls",
    "client-cert-allowed-hostname",
    "client-crl-file",
    "config-file",
    "discovery-endpoints",
    "discovery-srv",
    "discovery-token",
    "wal-dir",
];

/// Arguments as pflag would have them: two dashes, and flags of the environment that are not given.
pub(super) fn arguments(given: &[String]) -> Vec<String> {
    with_environment(given, |name| std::env::var(name).ok())
}

fn with_environment(given: &[String], environment: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let dashes = |argument: &String| match argument.strip_prefix('-') {
        Some(rest) if !rest.is_empty() && !rest.starts_with('-') && rest != "h" => format!("-{argument}"),
        _ => argument.clone(),
    };
    let all: Vec<String> = given.iter().map(dashes).collect();
    let named = |name: &str| {
        let flag = format!("--{name}");
        all.iter().any(|argument| argument.split('=').next() == Some(flag.as_str()))
    };
    let names = FLAGS.lines().filter_map(|line| line.split(' ').next());
    let unset = names.filter(|name| !matches!(*name, "version" | "help") && !named(name));
    let found: Vec<_> = unset
        .filter_map(|name| {
            let value = environment(&format!("ETCD_{}", name.replace('-', "_").to_uppercase()))?;
            (!value.is_empty()).then(|| format!("--{name}={value}"))
        })
        .collect();
    found.into_iter().chain(all).collect()
}

/// What Go's flag package says of a wrong flag, from what pflag says.
pub(super) fn refusal(error: &str) -> String {
    error
        .replace("unknown flag: --", "flag provided but not defined: -")
        .replace("flag needs an argument: --", "flag needs an argument: -")
}

/// The answer to `--version`. There is no Go in here.
pub(super) fn version() -> String {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let arch = match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let sha = format!("keelson {}", crate::VERSION);
    format!("etcd Version: {}\nGit SHA: {sha}\nGo Version: none\nGo OS/Arch: {os}/{arch}", etcd_server::VERSION)
}

/// Runs until told to end.
pub(super) async fn run(values: &Values) -> Result<()> {
    let mut config = config(values)?;
    if config.quota_backend_bytes != 0 {
        tracing::warn!("--quota-backend-bytes is told to clients and not enforced: the disk is the limit");
    }
    let data_dir = data_dir(values, &config.name);
    let (store, dir) = etcd_server::open(&data_dir).await?;
    config.store_dir = Some(dir);
    let etcd = Etcd::start(config, store).await?;
    crate::signals::terminated().await;
    tracing::info!("received signal; shutting down");
    Ok(etcd.stop().await?)
}

fn data_dir(values: &Values, name: &str) -> PathBuf {
    match values.get("data-dir").filter(|dir| !dir.is_empty()) {
        Some(dir) => dir.into(),
        None => {
            let dir = format!("{name}.etcd");
            tracing::warn!(data_dir = dir, "'data-dir' was empty; using default");
            dir.into()
        }
    }
}

fn config(values: &Values) -> Result<Config> {
    for name in REFUSED {
        if values.get(name).is_some_and(|value| !matches!(value, "" | "false")) {
            bail!("--{name} is not supported");
        }
    }
    let client = places(values, "listen-client-urls", "http://localhost:2379")?;
    let mut advertise = values.list("advertise-client-urls");
    if advertise.is_empty() && values.get("listen-client-urls").is_some() {
        bail!("--advertise-client-urls is required when --listen-client-urls is set explicitly");
    }
    if advertise.is_empty() {
        advertise.push("http://localhost:2379".into());
    }
    // Nobody is listened to there, but a wrong URL is as wrong as in etcd.
    places(values, "listen-peer-urls", "http://localhost:2380")?;
    let defaults = Config::default();
    let mut peers = values.list("initial-advertise-peer-urls");
    if peers.is_empty() {
        peers = defaults.initial_advertise_peer.clone();
    }
    one_member(values, &peers)?;
    let mode = values.text("auto-compaction-mode", "periodic");
    let retention = values.text("auto-compaction-retention", "0");
    Ok(Config {
        name: values.text("name", &defaults.name),
        listen_client: client,
        listen_client_http: places(values, "listen-client-http-urls", "")?,
        listen_metrics: places(values, "listen-metrics-urls", "")?,
        advertise_client: advertise,
        initial_advertise_peer: peers,
        initial_cluster_token: values.text("initial-cluster-token", &defaults.initial_cluster_token),
        tls: tls(values)?,
        auto_compaction: Compaction::parse(&mode, &retention).map_err(anyhow::Error::msg)?,
        quota_backend_bytes: number(values, "quota-backend-bytes", 0)?,
        max_request_bytes: number(values, "max-request-bytes", defaults.max_request_bytes)?,
        max_txn_ops: number(values, "max-txn-ops", defaults.max_txn_ops)?,
        watch_progress_notify_interval: duration(
            values,
            "watch-progress-notify-interval",
            defaults.watch_progress_notify_interval,
        )?,
        grpc_keepalive_interval: duration(values, "grpc-keepalive-interval", defaults.grpc_keepalive_interval)?,
        grpc_keepalive_timeout: duration(values, "grpc-keepalive-timeout", defaults.grpc_keepalive_timeout)?,
        store_dir: None,
    })
}

/// Refuses a cluster of several; the state of the cluster is of no consequence for one.
fn one_member(values: &Values, peers: &[String]) -> Result<()> {
    match values.text("initial-cluster-state", "new").as_str() {
        "new" | "existing" => {}
        other => bail!("unexpected clusterState {other:?}"),
    }
    let members = values.list("initial-cluster");
    let others = members.iter().filter_map(|member| member.split_once('=')).filter(|(_, url)| {
        let url = url.trim_end_matches('/');
        !peers.iter().any(|peer| peer.trim_end_matches('/') == url)
    });
    let others: Vec<_> = others.map(|(name, url)| format!("{name}={url}")).collect();
    // As etcd's own default: a member that is named and nothing else.
    if members.len() > peers.len() || (!others.is_empty() && members.len() > 1) {
        bail!("--initial-cluster names other members ({}); only a cluster of one is supported", others.join(","));
    }
    Ok(())
}

fn places(values: &Values, flag: &str, default: &str) -> Result<Vec<Place>> {
    let given = values.list(flag);
    let urls = if given.is_empty() { default.split(',').map(str::to_owned).collect() } else { given };
    let urls = urls.iter().filter(|url| !url.is_empty());
    let places = urls.map(|url| Place::parse(url).map_err(|error| anyhow::anyhow!("--{flag}: {error}")));
    places.collect()
}

fn tls(values: &Values) -> Result<Option<TlsFiles>> {
    let file = |flag: &str| values.get(flag).filter(|path| !path.is_empty()).map(PathBuf::from);
    let client_ca = file("trusted-ca-file");
    if values.flag("client-cert-auth", false) && client_ca.is_none() {
        bail!("--client-cert-auth needs --trusted-ca-file");
    }
    match (file("cert-file"), file("key-file")) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key, client_ca })),
        (None, None) => Ok(None),
        (cert, key) => bail!(
            "KeyFile and CertFile must both be present[key: {}, cert: {}]",
            key.unwrap_or_default().display(),
            cert.unwrap_or_default().display()
        ),
    }
}

fn number<N: std::str::FromStr>(values: &Values, flag: &str, default: N) -> Result<N>
where
    N::Err: std::error::Error + Send + Sync + 'static,
{
    values.get(flag).map_or(Ok(default), |text| text.parse().with_context(|| format!("--{flag} {text:?}")))
}

fn duration(values: &Values, flag: &str, default: Duration) -> Result<Duration> {
    let Some(text) = values.get(flag) else { return Ok(default) };
    etcd_server::duration(text).with_context(|| format!("--{flag}: time: invalid duration {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags;

    fn read(words: &[&str]) -> Result<Config> {
        let given: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let values = flags::parse("etcd", FLAGS, &with_environment(&given, |_| None));
        config(&values.map_err(|error| anyhow::anyhow!(refusal(&error)))?)
    }

    #[test]
    fn flags_are_gos() {
        let given = ["-name=a".to_owned(), "--max-txn-ops".into(), "7".into(), "-h".into()];
        let environment = |name: &str| match name {
            "ETCD_NAME" => Some("b".to_owned()),
            "ETCD_MAX_REQUEST_BYTES" => Some("99".to_owned()),
            _ => None,
        };
        let all = with_environment(&given, environment);
        assert_eq!(all, ["--max-request-bytes=99", "--name=a", "--max-txn-ops", "7", "-h"]);
    }

    #[test]
    fn what_envtest_and_kubeadm_ask_for_is_understood() {
        let config = read(&[
            "--advertise-client-urls=http://127.0.0.1:1",
            "--listen-client-urls=http://127.0.0.1:1",
            "--listen-peer-urls=http://localhost:0",
            "--data-dir=/tmp/x",
            "--unsafe-no-fsync=true",
        ]);
        assert_eq!(config.expect("understood").listen_client.len(), 1);
        let config = read(&[
            "--advertise-client-urls=https://10.0.0.1:2379",
            "--cert-file=/c",
            "--client-cert-auth=true",
            "--feature-gates=InitialCorruptCheck=true",
            "--initial-advertise-peer-urls=https://10.0.0.1:2380",
            "--initial-cluster=node=https://10.0.0.1:2380",
            "--key-file=/k",
            "--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379",
            "--listen-metrics-urls=http://127.0.0.1:2381",
            "--listen-peer-urls=https://10.0.0.1:2380",
            "--name=node",
            "--peer-client-cert-auth=true",
            "--snapshot-count=10000",
            "--trusted-ca-file=/ca",
            "--watch-progress-notify-interval=5s",
        ])
        .expect("understood");
        assert_eq!(config.listen_client.len() + config.listen_metrics.len(), 3);
        assert_eq!(config.watch_progress_notify_interval, Duration::from_secs(5));
        assert_eq!(config.tls.expect("files").client_ca, Some("/ca".into()));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let check = |words: &[&str], expect: &str| {
            assert_eq!(read(words).expect_err("refused").to_string(), expect, "{words:?}");
        };
        check(&["-nosuch"], "flag provided but not defined: -nosuch");
        check(&["--name"], "flag needs an argument: -name");
        check(&["--config-file=x"], "--config-file is not supported");
        check(
            &["--listen-client-urls=http://127.0.0.1:1"],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        );
        check(&["--client-cert-auth=true"], "--client-cert-auth needs --trusted-ca-file");
        check(&["--cert-file=/c"], "KeyFile and CertFile must both be present[key: , cert: /c]");
        check(&["--auto-compaction-mode=x"], "unknown auto-compaction-mode \"x\"");
        check(&["--initial-cluster-state=x"], "unexpected clusterState \"x\"");
        let two = "--initial-cluster=a=http://localhost:2380,b=http://10.0.0.2:2380";
        check(
            &[two],
            "--initial-cluster names other members (b=http://10.0.0.2:2380); only a cluster of one is supported",
        );
    }
}
