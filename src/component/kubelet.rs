//! `keelson kubelet` (cmd/kubelet/app/options@v1.37.2). Flags go over the configuration file, as upstream.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use client::task::Tasks;
use k8s_openapi::api::core::v1::Taint;
use kubelet::config::Config;

use super::{connector, file_text};
use crate::flags::Values;

pub(super) const HONOURED: &[&str] = &[
    "cgroup-root",
    "cluster-dns",
    "cluster-domain",
    "config",
    "container-runtime-endpoint",
    "hostname-override",
    "kubeconfig",
    "logging-format",
    "max-pods",
    "node-ip",
    "node-labels",
    "pod-cidr",
    "pod-manifest-path",
    "provider-id",
    "register-node",
    "register-with-taints",
    "resolv-conf",
    "root-dir",
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
    if let Some(text) = file_text(values, "config")? {
        config.apply_file(&text)?;
    }
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
