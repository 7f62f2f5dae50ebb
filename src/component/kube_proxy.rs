//! `keelson kube-proxy` (cmd/kube-proxy/app/options.go@v1.37.2). With `--config` the file alone counts, as upstream.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use client::task::Tasks;
use proxy::config::{Config, DetectLocal};

use super::{connector, file_text};
use crate::flags::Values;

pub(super) const HONOURED: &[&str] = &[
    "bind-address",
    "cleanup",
    "cluster-cidr",
    "config",
    "healthz-bind-address",
    "hostname-override",
    "kubeconfig",
    "logging-format",
    "masquerade-all",
    "metrics-bind-address",
    "proxy-mode",
    "v",
];

/// Runs until told to end.
pub(super) async fn run(values: &Values) -> Result<()> {
    let config = config(values)?;
    if values.flag("cleanup", false) {
        return Ok(proxy::cleanup(&config).await?);
    }
    let connector = connector(values, "").await?;
    let tasks = Tasks::new();
    proxy::run(config, connector, tasks.clone()).await?;
    let token = tasks.token();
    tokio::select! {
        () = token.cancelled() => bail!("a server of kube-proxy ended"),
        () = crate::signals::terminated() => {}
    }
    tasks.cancel();
    tasks.join().await;
    Ok(())
}

fn config(values: &Values) -> Result<Config> {
    let host = values.text("hostname-override", &crate::up::plan::host_name()).trim().to_lowercase();
    if let Some(text) = file_text(values, "config")? {
        return Ok(Config::from_yaml(&text, &host)?);
    }
    let mode = values.text("proxy-mode", "nftables");
    if mode != "nftables" {
        bail!("--proxy-mode {mode}: only nftables is supported");
    }
    let mut config = Config::new(host);
    config.masquerade_all = values.flag("masquerade-all", false);
    if let Some(address) = values.get("bind-address") {
        config.bind_address = address.parse().with_context(|| format!("--bind-address {address}"))?;
    }
    let cidrs = values.list("cluster-cidr");
    let cidrs = cidrs.iter().map(|cidr| cidr.parse().with_context(|| format!("--cluster-cidr {cidr}")));
    config.detect_local = DetectLocal::ClusterCidr(cidrs.collect::<Result<_>>()?);
    config.healthz_bind_address = listen(values, "healthz-bind-address", config.healthz_bind_address)?;
    config.metrics_bind_address = listen(values, "metrics-bind-address", config.metrics_bind_address)?;
    Ok(config)
}

/// `IP:port` or `IP`; empty switches the server off.
fn listen(values: &Values, flag: &str, default: Option<SocketAddr>) -> Result<Option<SocketAddr>> {
    match (values.get(flag), default) {
        (None, default) => Ok(default),
        (Some(""), _) => Ok(None),
        (Some(text), default) => {
            let port = default.map_or(0, |address| address.port());
            let address = text.parse().or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, port)));
            address.map(Some).with_context(|| format!("--{flag} {text}"))
        }
    }
}
