//! `keelson kube-apiserver`: upstream's flags to the API server's configuration.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use apiserver::{
    AggregatorConfig, AnonymousAuth, AuditOptions, Config, EncryptionConfig, RequestHeader, Server, Times,
};
use store::{EmbeddedConfig, EtcdConfig, Store};

use super::access;
use crate::flags::Values;

/// Upstream's flags, and `data-dir`: where the embedded store lives when no etcd is given.
pub(super) const FLAGS: &str = concat!(include_str!("../flags/kube-apiserver.txt"), "data-dir string\n");

/// Flags that change what this server does; the others are accepted and named in a warning.
pub(super) const HONOURED: &[&str] = &[
    "advertise-address",
    "aggregator-reject-forwarding-redirect",
    "allow-privileged",
    "anonymous-auth",
    "api-audiences",
    "authentication-config",
    "authentication-token-webhook-cache-ttl",
    "authentication-token-webhook-config-file",
    "authentication-token-webhook-version",
    "authorization-config",
    "audit-log-batch-buffer-size",
    "audit-log-batch-max-size",
    "audit-log-batch-max-wait",
    "audit-log-batch-throttle-burst",
    "audit-log-batch-throttle-enable",
    "audit-log-batch-throttle-qps",
    "audit-log-compress",
    "audit-log-format",
    "audit-log-maxage",
    "audit-log-maxbackup",
    "audit-log-maxsize",
    "audit-log-mode",
    "audit-log-path",
    "audit-log-truncate-enabled",
    "audit-log-truncate-max-batch-size",
    "audit-log-truncate-max-event-size",
    "audit-log-version",
    "audit-policy-file",
    "audit-webhook-batch-buffer-size",
    "audit-webhook-batch-max-size",
    "audit-webhook-batch-max-wait",
    "audit-webhook-batch-throttle-burst",
    "audit-webhook-batch-throttle-enable",
    "audit-webhook-batch-throttle-qps",
    "audit-webhook-config-file",
    "audit-webhook-initial-backoff",
    "audit-webhook-mode",
    "audit-webhook-truncate-enabled",
    "audit-webhook-truncate-max-batch-size",
    "audit-webhook-truncate-max-event-size",
    "audit-webhook-version",
    "authorization-policy-file",
    "bind-address",
    "cert-dir",
    "client-ca-file",
    "data-dir",
    "default-not-ready-toleration-seconds",
    "default-unreachable-toleration-seconds",
    "disable-admission-plugins",
    "enable-admission-plugins",
    "enable-aggregator-routing",
    "enable-bootstrap-token-auth",
    "enable-priority-and-fairness",
    "encryption-provider-config",
    "encryption-provider-config-automatic-reload",
    "etcd-cafile",
    "etcd-certfile",
    "etcd-keyfile",
    "etcd-prefix",
    "etcd-servers",
    "etcd-servers-overrides",
    "event-ttl",
    "kubelet-certificate-authority",
    "kubelet-client-certificate",
    "kubelet-client-key",
    "kubelet-preferred-address-types",
    "max-mutating-requests-inflight",
    "max-requests-inflight",
    "min-request-timeout",
    "proxy-client-cert-file",
    "proxy-client-key-file",
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
    "service-account-lookup",
    "service-account-max-token-expiration",
    "service-account-signing-key-file",
    "service-cluster-ip-range",
    "service-node-port-range",
    "shutdown-delay-duration",
    "tls-cert-file",
    "tls-cipher-suites",
    "tls-min-version",
    "tls-private-key-file",
    "token-auth-file",
    "v",
    "version",
    "logging-format",
];

/// Least and most of --service-account-max-token-expiration, and what is too little to extend tokens (an hour and seven
/// seconds: serviceaccount.WarnOnlyBoundTokenExpirationSeconds).
const MAX_TOKEN_SECONDS: (u64, u64) = (3600, 1 << 32);
const WARN_TOKEN_SECONDS: u64 = 3607;

/// Runs until SIGTERM or SIGINT, and then until what is under way has ended; a second signal ends it at once.
pub(super) async fn run(values: &Values) -> Result<()> {
    let config = config(values)?;
    let server = Server::start(config, store(values).await?).await?;
    crate::signals::terminated().await;
    tokio::select! {
        () = server.shut_down() => Ok(()),
        // k8s.io/apiserver/pkg/server/signal.go@v0.37.2
        () = crate::signals::terminated() => std::process::exit(1),
    }
}

async fn store(values: &Values) -> Result<Store> {
    // What is there would be missing here.
    if values.get("etcd-servers-overrides").is_some_and(|overrides| !overrides.is_empty()) {
        bail!("--etcd-servers-overrides is not supported: every resource is stored on --etcd-servers");
    }
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
    let bind_address: IpAddr = values.text("bind-address", "0.0.0.0").parse().context("--bind-address")?;
    let service_cidrs = cidrs(values)?;
    let (cert, key) = certificate(values, bind_address, &service_cidrs)?;
    let kubelet = (file(values, "kubelet-client-certificate")?, file(values, "kubelet-client-key")?);
    let addresses = values.list("kubelet-preferred-address-types");
    Ok(Config {
        git_version: values.version().into(),
        bind_address,
        secure_port: secure_port(values)?,
        advertise_address: values
            .get("advertise-address")
            .map(str::parse::<IpAddr>)
            .transpose()
            .context("--advertise-address")?,
        tls_cert_file: cert,
        tls_private_key_file: key,
        tls_min_version: values.text("tls-min-version", ""),
        tls_cipher_suites: values.list("tls-cipher-suites"),
        client_ca: file(values, "client-ca-file")?,
        request_header: request_header(values)?,
        service_account_keys: files(values, "service-account-key-file")?,
        service_account_signing_key: file(values, "service-account-signing-key-file")?,
        service_account_issuers: values.list("service-account-issuer"),
        service_account_jwks_uri: values.text("service-account-jwks-uri", ""),
        service_account_extend_token_expiration: values.flag("service-account-extend-token-expiration", true),
        service_account_lookup: values.flag("service-account-lookup", true),
        api_audiences: values.list("api-audiences"),
        etcd_prefix: values.text("etcd-prefix", &default.etcd_prefix),
        static_tokens: file(values, "token-auth-file")?.map(|text| String::from_utf8_lossy(&text).into_owned()),
        enable_bootstrap_token_auth: values.flag("enable-bootstrap-token-auth", false),
        anonymous_auth: if values.flag("anonymous-auth", true) {
            AnonymousAuth::Everywhere
        } else {
            AnonymousAuth::Never
        },
        authentication: access::authentication(values)?,
        authorization_modes: access::modes(values),
        authorization: access::authorization(values)?,
        service_cidrs,
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
        encryption: EncryptionConfig {
            file: values.path("encryption-provider-config"),
            automatic_reload: values.flag("encryption-provider-config-automatic-reload", false),
        },
        aggregator: aggregator(values),
        times: times(values)?,
        audit: AuditOptions::of_flags(|flag| values.get(flag)).map_err(anyhow::Error::msg)?,
    })
}

/// The pair of the flags, or the one in --cert-dir, which is made when it is not there
/// (pkg/controlplane/apiserver/options/options.go@v1.37.2: Complete).
fn certificate(values: &Values, bind: IpAddr, services: &[ipnet::IpNet]) -> Result<(PathBuf, PathBuf)> {
    match (values.get("tls-cert-file"), values.get("tls-private-key-file")) {
        (Some(cert), Some(key)) => return Ok((cert.into(), key.into())),
        (None, None) => {}
        _ => bail!("--tls-cert-file and --tls-private-key-file must be specified together"),
    }
    let mut names: Vec<String> = values.get("advertise-address").into_iter().map(Into::into).collect();
    names.extend(["kubernetes.default.svc", "kubernetes.default", "kubernetes"].map(String::from));
    names.extend(services.iter().filter_map(|range| range.hosts().next()).map(|address| address.to_string()));
    names.push(if bind.is_unspecified() { "localhost".into() } else { bind.to_string() });
    let folder = PathBuf::from(values.text("cert-dir", "/var/run/kubernetes"));
    Ok(serving::own_files(&folder, "apiserver", names)?)
}

fn secure_port(values: &Values) -> Result<u16> {
    let port = values.text("secure-port", "6443");
    port.parse().with_context(|| format!("--secure-port {port} must be between 1 and 65535, inclusive"))
}

fn aggregator(values: &Values) -> AggregatorConfig {
    AggregatorConfig {
        proxy_client: values.path("proxy-client-cert-file").zip(values.path("proxy-client-key-file")),
        routes_to_endpoints: values.flag("enable-aggregator-routing", false),
        rejects_redirects: values.flag("aggregator-reject-forwarding-redirect", true),
    }
}

fn times(values: &Values) -> Result<Times> {
    let default = Times::default();
    let extends = values.flag("service-account-extend-token-expiration", true);
    Ok(Times {
        min_request: seconds(values, "min-request-timeout", default.min_request)?,
        event: values.duration("event-ttl", default.event.as_secs())?,
        not_ready_toleration_seconds: number(
            values,
            "default-not-ready-toleration-seconds",
            default.not_ready_toleration_seconds,
        )?,
        unreachable_toleration_seconds: number(
            values,
            "default-unreachable-toleration-seconds",
            default.unreachable_toleration_seconds,
        )?,
        max_token: max_token(values.duration("service-account-max-token-expiration", 0)?, extends)?,
        shutdown_delay: values.duration("shutdown-delay-duration", 0)?,
    })
}

/// pkg/controlplane/apiserver/options/options.go@v1.37.2: Complete.
fn max_token(max: Duration, extends: bool) -> Result<Duration> {
    if !max.is_zero() && !(MAX_TOKEN_SECONDS.0..=MAX_TOKEN_SECONDS.1).contains(&max.as_secs()) {
        bail!("the service-account-max-token-expiration must be between 1 hour and 2^32 seconds");
    }
    if extends && !max.is_zero() && max.as_secs() < WARN_TOKEN_SECONDS {
        tracing::warn!(
            "service-account-extend-token-expiration is true, in order to correctly trigger safe transition logic, service-account-max-token-expiration must be set longer than {WARN_TOKEN_SECONDS} seconds (currently {}s)",
            max.as_secs()
        );
    }
    Ok(max)
}

fn number(values: &Values, flag: &str, default: i64) -> Result<i64> {
    values.get(flag).map_or(Ok(default), |text| text.parse().with_context(|| format!("--{flag}")))
}

fn seconds(values: &Values, flag: &str, default: Duration) -> Result<Duration> {
    let given = number(values, flag, default.as_secs().try_into().unwrap_or(i64::MAX))?;
    let given = u64::try_from(given).map_err(|_| anyhow::anyhow!("--{flag} can not be negative value"))?;
    Ok(Duration::from_secs(given))
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
