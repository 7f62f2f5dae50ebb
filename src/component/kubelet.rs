//! `keelson kubelet` (cmd/kubelet/app/options@v1.37.2). Flags go over the configuration file, as upstream.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use client::task::Tasks;
use k8s_openapi::api::core::v1::Taint;
use kubelet::config::Config;
use kubelet::server::Authorization;

use super::{connector, file_text};
use crate::flags::Values;

pub(super) const HONOURED: &[&str] = &[
    "address",
    "anonymous-auth",
    "authentication-token-webhook",
    "authentication-token-webhook-cache-ttl",
    "authorization-mode",
    "authorization-webhook-cache-authorized-ttl",
    "authorization-webhook-cache-unauthorized-ttl",
    "cgroup-root",
    "client-ca-file",
    "cluster-dns",
    "cluster-domain",
    "config",
    "container-runtime-endpoint",
    "enable-debugging-handlers",
    "enable-server",
    "hostname-override",
    "kubeconfig",
    "logging-format",
    "max-pods",
    "node-ip",
    "node-labels",
    "pod-cidr",
    "pod-manifest-path",
    "port",
    "provider-id",
    "register-node",
    "register-with-taints",
    "resolv-conf",
    "root-dir",
    "tls-cert-file",
    "tls-private-key-file",
    "v",
];

const ENDPOINT: &str = "unix:///run/containerd/containerd.sock";
/// --runtime-request-timeout
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs until told to end.
pub(super) async fn run(values: &Values) -> Result<()> {
    let config = config(values)?;
    let endpoint = values.text("container-runtime-endpoint", ENDPOINT);
    let runtime = Arc::new(cri::grpc::Grpc::new(&endpoint, REQUEST_TIMEOUT)?);
    let connector = connector(values, "").await?;
    let tasks = Tasks::new();
    let run = kubelet::run(config, connector, runtime, tasks.clone());
    tokio::select! {
        ended = run => return Ok(ended?),
        () = crate::signals::terminated() => {}
    }
    tasks.cancel();
    tasks.join().await;
    Ok(())
}

fn config(values: &Values) -> Result<Config> {
    let host = crate::up::plan::host_name();
    let mut config = Config::new(&values.text("hostname-override", &host).trim().to_lowercase());
    config.hostname = host;
    match file_text(values, "config")? {
        Some(text) => config.apply_file(&text)?,
        None => without_file(&mut config),
    }
    server(values, &mut config)?;
    let given = |name: &str| values.get(name).map(str::to_string);
    config.root_dir = values.text("root-dir", "/var/lib/kubelet").into();
    config.register_node = values.flag("register-node", config.register_node);
    config.provider_id = given("provider-id").unwrap_or(config.provider_id);
    config.pod_cidr = given("pod-cidr").unwrap_or(config.pod_cidr);
    config.cgroup_root = given("cgroup-root").filter(|root| !root.is_empty()).unwrap_or(config.cgroup_root);
    config.cluster_domain = given("cluster-domain").unwrap_or(config.cluster_domain);
    config.resolv_conf = given("resolv-conf").unwrap_or(config.resolv_conf);
    config.static_pod_path = given("pod-manifest-path").map(Into::into).or(config.static_pod_path);
    if given("cluster-dns").is_some() {
        config.cluster_dns = values.list("cluster-dns");
    }
    if let Some(count) = given("max-pods") {
        config.max_pods = count.parse().with_context(|| format!("--max-pods {count}"))?;
    }
    let addresses = values.list("node-ip");
    config.node_ips =
        addresses.iter().map(|ip| ip.parse().with_context(|| format!("--node-ip {ip}"))).collect::<Result<_>>()?;
    config.node_labels = values.pairs("node-labels");
    if given("register-with-taints").is_some() {
        config.register_with_taints =
            values.list("register-with-taints").iter().map(|text| taint(text)).collect::<Result<_>>()?;
    }
    Ok(config)
}

/// Upstream's defaults of the command line alone (applyLegacyDefaults of
/// cmd/kubelet/app/options/options.go@v1.37.2).
fn without_file(config: &mut Config) {
    config.server.anonymous = true;
    config.server.token_review = false;
    config.server.authorization = Authorization::AlwaysAllow;
}

/// The flags of the node's own server.
fn server(values: &Values, config: &mut Config) -> Result<()> {
    let given = |name: &str| values.get(name).filter(|value| !value.is_empty());
    let server = &mut config.server;
    let path = |name: &str, old: Option<PathBuf>| given(name).map(PathBuf::from).or(old);
    server.tls_cert_file = path("tls-cert-file", server.tls_cert_file.take());
    server.tls_private_key_file = path("tls-private-key-file", server.tls_private_key_file.take());
    server.client_ca_file = path("client-ca-file", server.client_ca_file.take());
    server.anonymous = values.flag("anonymous-auth", server.anonymous);
    server.token_review = values.flag("authentication-token-webhook", server.token_review);
    server.debugging_handlers = values.flag("enable-debugging-handlers", server.debugging_handlers);
    if let Some(address) = given("address") {
        server.address = address.parse().with_context(|| format!("--address {address}"))?;
    }
    match given("authorization-mode") {
        Some("Webhook") => server.authorization = Authorization::Webhook,
        Some("AlwaysAllow") => server.authorization = Authorization::AlwaysAllow,
        Some(other) => bail!("unknown authorization mode {other}"),
        None => {}
    }
    for (name, to) in [
        ("authentication-token-webhook-cache-ttl", &mut server.token_review_ttl),
        ("authorization-webhook-cache-authorized-ttl", &mut server.authorized_ttl),
        ("authorization-webhook-cache-unauthorized-ttl", &mut server.unauthorized_ttl),
    ] {
        if let Some(text) = given(name) {
            *to = kubelet::config::duration(text).with_context(|| format!("--{name} {text}"))?;
        }
    }
    if let Some(port) = given("port") {
        config.port = port.parse().with_context(|| format!("--port {port} must be between 1 and 65535, inclusive"))?;
    }
    if !values.flag("enable-server", true) {
        config.port = 0;
    }
    Ok(())
}

/// `key=value:effect` or `key:effect` (pkg/util/taints/taints.go@v1.37.2).
fn taint(text: &str) -> Result<Taint> {
    let wrong = || format!("invalid taint spec: {text}");
    let (key, effect) = text.rsplit_once(':').with_context(wrong)?;
    let (key, value) = key.split_once('=').map_or((key, None), |(key, value)| (key, Some(value.to_string())));
    let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) && !key.is_empty();
    known.then(|| Taint { key: key.into(), value, effect: effect.into(), time_added: None }).with_context(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_read() {
        let read = |text| taint(text).ok().map(|taint| (taint.key, taint.value, taint.effect));
        assert_eq!(read("a=b:NoSchedule"), Some(("a".into(), Some("b".into()), "NoSchedule".into())));
        assert_eq!(read("a:NoExecute"), Some(("a".into(), None, "NoExecute".into())));
        for wrong in ["a", "a=b", ":NoExecute", "a:Never"] {
            assert!(taint(wrong).is_err(), "{wrong}");
        }
    }
}
