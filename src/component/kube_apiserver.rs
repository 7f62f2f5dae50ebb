//! `keelson kube-apiserver`: upstream's flags to the API server's configuration.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use apiserver::{AnonymousAuth, Config, RequestHeader, Server};
use store::{EmbeddedConfig, EtcdConfig, Store};

use crate::flags::Values;

/// Upstream's flags, and `data-dir`: where the embedded store lives when no etcd is given.
pub(super) const FLAGS: &str = concat!(include_str!("../flags/kube-apiserver.txt"), "data-dir string\n");

/// Flags that change what this server does; the others are accepted and named in a warning.
pub(super) const HONOURED: &[&str] = &[
    "advertise-address",
    "allow-privileged",
    "anonymous-auth",
    "api-audiences",
    "authorization-mode",
    "bind-address",
    "client-ca-file",
    "data-dir",
    "disable-admission-plugins",
    "enable-admission-plugins",
    "enable-bootstrap-token-auth",
    "enable-priority-and-fairness",
    "etcd-cafile",
    "etcd-certfile",
    "etcd-keyfile",
    "etcd-servers",
    "kubelet-certificate-authority",
    "kubelet-client-certificate",
    "kubelet-client-key",
    "kubelet-preferred-address-types",
    "max-mutating-requests-inflight",
    "max-requests-inflight",
    "requestheader-allowed-names",
    "requestheader-client-ca-file",
    "requestheader-extra-headers-prefix",
    "requestheader-group-headers",
    "requestheader-uid-headers",
    "requestheader-username-headers",
    "runtime-config",
    "secure-port",
    "service-account-extend-token-expiration",
    "service-account-issuer",
    "service-account-jwks-uri",
    "service-account-key-file",
    "service-account-signing-key-file",
    "service-cluster-ip-range",
    "service-node-port-range",
    "shutdown-delay-duration",
    "tls-cert-file",
    "tls-private-key-file",
    "token-auth-file",
    "v",
    "logging-format",
];

/// Runs until SIGTERM or SIGINT, and then until what is under way has ended; a second signal ends it at once.
pub(super) async fn run(values: &Values) -> Result<()> {
    let (config, delay) = (config(values)?, shutdown_delay(values)?);
    let server = Server::start(config, store(values).await?).await?;
    crate::signals::terminated().await;
    tokio::select! {
        () = server.shut_down(delay) => Ok(()),
        // k8s.io/apiserver/pkg/server/signal.go@v0.37.2
        () = crate::signals::terminated() => std::process::exit(1),
    }
}

fn shutdown_delay(values: &Values) -> Result<Duration> {
    let Some(text) = values.get("shutdown-delay-duration") else { return Ok(Duration::ZERO) };
    if text.starts_with('-') {
        bail!("--shutdown-delay-duration can not be negative value");
    }
    kubelet::config::duration(text).with_context(|| format!("--shutdown-delay-duration {text}"))
}

async fn store(values: &Values) -> Result<Store> {
    let endpoints = values.list("etcd-servers");
    if endpoints.is_empty() {
        let Some(dir) = values.get("data-dir") else { bail!("--etcd-servers must be specified") };
        return Ok(Store::embedded(EmbeddedConfig { dir: PathBuf::from(dir) }).await?);
    }
    let config = EtcdConfig {
        endpoints,
        ca: file(values, "etcd-cafile")?,
        cert: file(values, "etcd-certfile")?,
        key: file(values, "etcd-keyfile")?,
    };
    let store = Store::etcd(config).await?;
    store.wait().await?;
    Ok(store)
}

fn file(values: &Values, flag: &str) -> Result<Option<Vec<u8>>> {
    let Some(path) = values.get(flag).filter(|path| !path.is_empty()) else { return Ok(None) };
    std::fs::read(path).with_context(|| format!("--{flag}: open {path}")).map(Some)
}

fn files(values: &Values, flag: &str) -> Result<Vec<Vec<u8>>> {
    values.list(flag).iter().map(|path| std::fs::read(path).with_context(|| format!("--{flag}: open {path}"))).collect()
}

fn config(values: &Values) -> Result<Config> {
    let default = Config::default();
    let port = values.text("secure-port", "6443");
    let cert = values.get("tls-cert-file").context("--tls-cert-file must be specified")?;
    let key = values.get("tls-private-key-file").context("--tls-private-key-file must be specified")?;
    let kubelet = (file(values, "kubelet-client-certificate")?, file(values, "kubelet-client-key")?);
    let modes = values.list("authorization-mode");
    let addresses = values.list("kubelet-preferred-address-types");
    Ok(Config {
        bind_address: values.text("bind-address", "0.0.0.0").parse().context("--bind-address")?,
        secure_port: port
            .parse()
            .with_context(|| format!("--secure-port {port} must be between 1 and 65535, inclusive"))?,
        advertise_address: values
            .get("advertise-address")
            .map(str::parse::<IpAddr>)
            .transpose()
            .context("--advertise-address")?,
        tls_cert_file: cert.into(),
        tls_private_key_file: key.into(),
        client_ca: file(values, "client-ca-file")?,
        request_header: request_header(values)?,
        service_account_keys: files(values, "service-account-key-file")?,
        service_account_signing_key: file(values, "service-account-signing-key-file")?,
        service_account_issuers: values.list("service-account-issuer"),
        service_account_jwks_uri: values.text("service-account-jwks-uri", ""),
        service_account_extend_token_expiration: values.flag("service-account-extend-token-expiration", true),
        api_audiences: values.list("api-audiences"),
        static_tokens: file(values, "token-auth-file")?.map(|text| String::from_utf8_lossy(&text).into_owned()),
        enable_bootstrap_token_auth: values.flag("enable-bootstrap-token-auth", false),
        anonymous_auth: if values.flag("anonymous-auth", true) {
            AnonymousAuth::Everywhere
        } else {
            AnonymousAuth::Never
        },
        authorization_modes: if modes.is_empty() { default.authorization_modes } else { modes },
        service_cidrs: cidrs(values)?,
        service_node_ports: ports(&values.text("service-node-port-range", "30000-32767"))?,
        enable_admission_plugins: values.list("enable-admission-plugins"),
        disable_admission_plugins: values.list("disable-admission-plugins"),
        runtime_config: values
            .pairs("runtime-config")
            .into_iter()
            .map(|(key, value)| (key, value != "false"))
            .collect(),
        kubelet_client: kubelet.0.zip(kubelet.1),
        kubelet_ca: file(values, "kubelet-certificate-authority")?,
        kubelet_address_types: if addresses.is_empty() { default.kubelet_address_types } else { addresses },
        allow_privileged: values.flag("allow-privileged", false),
        enable_priority_and_fairness: values.flag("enable-priority-and-fairness", true),
        max_requests_inflight: inflight(values, "max-requests-inflight", default.max_requests_inflight)?,
        max_mutating_requests_inflight: inflight(
            values,
            "max-mutating-requests-inflight",
            default.max_mutating_requests_inflight,
        )?,
    })
}

fn inflight(values: &Values, flag: &str, default: usize) -> Result<usize> {
    let Some(text) = values.get(flag) else { return Ok(default) };
    let limit: i64 = text.parse().with_context(|| format!("--{flag}"))?;
    usize::try_from(limit).map_err(|_| anyhow::anyhow!("--{flag} can not be negative value"))
}

fn cidrs(values: &Values) -> Result<Vec<ipnet::IpNet>> {
    let ranges = values.list("service-cluster-ip-range");
    let ranges = if ranges.is_empty() { vec!["10.0.0.0/24".to_string()] } else { ranges };
    ranges.iter().map(|range| range.parse().with_context(|| format!("--service-cluster-ip-range: {range}"))).collect()
}

fn ports(text: &str) -> Result<(u16, u16)> {
    let split = text.split_once('-').map(|(low, high)| (low.to_string(), high.to_string()));
    let (low, high) = match (split, text.split_once('+')) {
        (Some((low, high)), _) => (low.parse::<u16>(), high.parse::<u16>()),
        (None, Some((base, size))) => (
            base.parse(),
            size.parse::<u16>().and_then(|size| base.parse::<u16>().map(|base| base.saturating_add(size))),
        ),
        (None, None) => (text.parse(), text.parse()),
    };
    match (low, high) {
        (Ok(low), Ok(high)) if low <= high => Ok((low, high)),
        _ => bail!("--service-node-port-range: invalid port range: {text}"),
    }
}

fn request_header(values: &Values) -> Result<Option<RequestHeader>> {
    let Some(client_ca) = file(values, "requestheader-client-ca-file")? else { return Ok(None) };
    Ok(Some(RequestHeader {
        client_ca,
        allowed_names: values.list("requestheader-allowed-names"),
        username_headers: values.list("requestheader-username-headers"),
        uid_headers: values.list("requestheader-uid-headers"),
        group_headers: values.list("requestheader-group-headers"),
        extra_header_prefixes: values.list("requestheader-extra-headers-prefix"),
    }))
}
