//! The flags of a component's own server, and the server
//! (k8s.io/apiserver/pkg/server/options/{serving,authentication,authorization}.go@v0.37.2).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use client::connector::Connector;
use client::health::Health;
use client::task::Tasks;
use kube::Client;
use serving::{Access, Authenticator, Headers, Reviews, ServerConfig, Trust};

use crate::flags::Values;

pub(super) const HONOURED: &[&str] = &[
    "authentication-kubeconfig",
    "authentication-skip-lookup",
    "authentication-token-webhook-cache-ttl",
    "authorization-always-allow-paths",
    "authorization-kubeconfig",
    "authorization-webhook-cache-authorized-ttl",
    "authorization-webhook-cache-unauthorized-ttl",
    "bind-address",
    "cert-dir",
    "client-ca-file",
    "requestheader-allowed-names",
    "requestheader-client-ca-file",
    "requestheader-extra-headers-prefix",
    "requestheader-group-headers",
    "requestheader-uid-headers",
    "requestheader-username-headers",
    "secure-port",
    "tls-cert-file",
    "tls-cipher-suites",
    "tls-min-version",
    "tls-private-key-file",
    "version",
];

/// How long an answer about a token or a request is believed.
const CACHE_SECONDS: u64 = 10;
/// Paths that all may ask.
const HEALTH: [&str; 3] = ["/healthz", "/readyz", "/livez"];

/// What a component's server is called, and the port that it has unless told otherwise.
pub(super) struct Server {
    pub(super) component: &'static str,
    pub(super) port: u16,
}

/// Takes the port and answers on it for as long as the tasks go on; `--secure-port=0` is no server.
pub(super) async fn serve(values: &Values, server: &Server, health: Health, tasks: &Tasks) -> Result<()> {
    let port = match values.get("secure-port") {
        Some(port) => port.parse().with_context(|| format!("--secure-port {port} must be between 0 and 65535"))?,
        None => server.port,
    };
    if port == 0 {
        return Ok(());
    }
    let address: IpAddr = match values.get("bind-address") {
        Some(address) => address.parse().with_context(|| format!("--bind-address {address}"))?,
        None => Ipv4Addr::UNSPECIFIED.into(),
    };
    let component =
        serving::Component { access: access(values, tasks).await?, health, version: values.version().into() };
    let bound = serving::bind(SocketAddr::new(address, port), certificate(values, server)?, component, tasks.clone());
    tasks.run("secure server", bound.await.context("failed to start secure server")?);
    Ok(())
}

/// The pair of the flags, the one that is kept in --cert-dir, or one in memory.
fn certificate(values: &Values, server: &Server) -> Result<ServerConfig> {
    let choice = tls::Choice {
        min_version: values.text("tls-min-version", ""),
        cipher_suites: values.list("tls-cipher-suites"),
    };
    let names = || vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let pair = match (values.path("tls-cert-file"), values.path("tls-private-key-file"), values.path("cert-dir")) {
        (Some(cert), Some(key), _) => (cert, key),
        (None, None, None) => return Ok(serving::made(names(), &choice)?),
        (None, None, Some(folder)) => serving::own_files(&folder, server.component, names())?,
        _ => anyhow::bail!("--tls-cert-file and --tls-private-key-file must be specified together"),
    };
    tls::chosen_server_config(pair.0, pair.1, &choice).map_err(anyhow::Error::msg)
}

async fn access(values: &Values, tasks: &Tasks) -> Result<Access> {
    let front_proxy = values.path("requestheader-client-ca-file");
    let front_proxy = front_proxy.as_deref().map(|path| (path, headers(values)));
    let trust = Trust::of_files(values.path("client-ca-file").as_deref(), front_proxy)?;
    let judge = client(values.path("authentication-kubeconfig").as_deref()).await?;
    match &judge {
        Some(judge) if !values.flag("authentication-skip-lookup", false) => trust.follow(judge.clone(), tasks),
        Some(_) => {}
        None => tracing::warn!(
            "No authentication-kubeconfig provided in order to lookup client-ca-file in configmap/extension-apiserver-authentication in kube-system, so client certificate authentication won't work."
        ),
    }
    let ttl = values.duration("authentication-token-webhook-cache-ttl", CACHE_SECONDS)?;
    let allowed = values.duration("authorization-webhook-cache-authorized-ttl", CACHE_SECONDS)?;
    let refused = values.duration("authorization-webhook-cache-unauthorized-ttl", CACHE_SECONDS)?;
    let reviewer = client(values.path("authorization-kubeconfig").as_deref()).await?;
    if reviewer.is_none() {
        tracing::warn!(
            "No authorization-kubeconfig provided, so SubjectAccessReview of authorization tokens won't work."
        );
    }
    Ok(Access {
        authenticator: Authenticator::new(trust, judge.map(|judge| (judge, ttl)), true),
        always_allowed: match values.get("authorization-always-allow-paths") {
            Some(_) => values.list("authorization-always-allow-paths"),
            None => HEALTH.map(String::from).to_vec(),
        },
        reviews: reviewer.map(|reviewer| Reviews::new(reviewer, allowed, refused)),
    })
}

fn headers(values: &Values) -> Headers {
    let list = |flag: &str, default| if values.get(flag).is_some() { values.list(flag) } else { default };
    let default = Headers::default();
    Headers {
        allowed_names: values.list("requestheader-allowed-names"),
        username: list("requestheader-username-headers", default.username),
        uid: list("requestheader-uid-headers", default.uid),
        group: list("requestheader-group-headers", default.group),
        extra_prefix: list("requestheader-extra-headers-prefix", default.extra_prefix),
    }
}

async fn client(kubeconfig: Option<&Path>) -> Result<Option<Client>> {
    let Some(path) = kubeconfig else { return Ok(None) };
    Ok(Some(Connector::from_kubeconfig(&path.display().to_string()).await?.client()))
}
