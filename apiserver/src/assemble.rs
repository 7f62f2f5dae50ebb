//! Puts a server together from its configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use store::Store;

use crate::admission::pod_security::Metrics as PodSecurityMetrics;
use crate::admission::policy::guard::ParamGuard;
use crate::admission::policy::source::{self as policy, Policies};
use crate::admission::webhook::{Configurations, Webhooks};
use crate::admission::{self, Chain, Parts};
use crate::aggregation::{self, Aggregation};
use crate::audit::{self, Audit};
use crate::authn::{self, Anonymous, Authenticators, jws};
use crate::authz;
use crate::authz::guard::Guard;
use crate::chain::Core;
use crate::config::{AnonymousAuth, Config};
use crate::configuration::metrics::Reloads;
use crate::custom::controller::{self, Queue};
use crate::encryptionconfig::Encryption;
use crate::flow::{self, Flow};
use crate::health::Health;
use crate::hub::{Hub, Network, Observer};
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::rest::Api;
use crate::subresource::connect::Backends;
use crate::views::AuthorizerViews;
use crate::webhook::client::Clients;
use crate::webhook::resolve::Resolver;
use crate::{Error, server_id};

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::Config(error.to_string())
}

/// What keeps parts of a server as their files say.
#[derive(Default)]
pub(crate) struct Reloaders {
    pub(crate) authentication: Option<authn::reload::Reloader>,
    pub(crate) authorization: Option<authz::webhook::reload::Reloader>,
}

/// Who may ask, and what: with the counters of both.
struct Access {
    authn: Authenticators,
    authz: Arc<authz::Authorizers>,
    reloaders: Reloaders,
    collectors: Vec<Box<dyn prometheus::core::Collector>>,
}

pub(crate) fn core(config: &Config, store: Store) -> Result<(Core, Queue, Reloaders), Error> {
    let Access { authn, authz, reloaders, collectors } = access(config)?;
    let registry = Registry::below(&config.etcd_prefix, |resource| config.serves(resource));
    let network = Network { service_cidrs: config.service_cidrs.clone(), node_ports: config.service_node_ports };
    let (changes, queue) = controller::changes();
    let gate = Arc::new(Flow::new(config));
    let resolver = Arc::new(resolver(config));
    let clients = Arc::new(Clients::new(resolver.clone()));
    let policies: Arc<Policies> = Arc::default();
    let webhooks = Arc::new(Webhooks::new(clients.clone()));
    let aggregation = Arc::new(Aggregation::new(&config.aggregator, resolver).map_err(wrong)?);
    let observers: Vec<Box<dyn Observer>> = vec![
        Box::new(AuthorizerViews(authz.clone())),
        Box::new(changes),
        Box::new(policy::Views(policies.clone())),
        Box::new(Configurations(webhooks.clone())),
        Box::new(flow::Views(gate.clone())),
        Box::new(aggregation::Views(aggregation.clone())),
    ];
    let clock: encryption::Clock = Arc::new(jiff::Timestamp::now);
    let encrypting = Arc::new(encryption::metrics::Metrics::new(&server_id::here(), clock.clone()));
    let mut hub = Hub::new(store, registry, network, observers);
    hub.encryption =
        Encryption::new(&config.encryption, encrypting.clone(), clock).map_err(Error::Config)?.map(Arc::new);
    let hub = Arc::new(hub);
    let (enable, disable) = (&config.enable_admission_plugins, &config.disable_admission_plugins);
    let audited = Arc::new(audit::Metrics::new().map_err(wrong)?);
    let pod_security = PodSecurityMetrics::default();
    let counted = collectors.into_iter().chain(webhooks.metrics.collectors()).chain(audited.collectors());
    let counted = counted.chain(encrypting.collectors()).chain(aggregation.metrics.collectors());
    let metrics = Metrics::new(counted.chain(pod_security.collectors())).map_err(wrong)?;
    let audit = Audit::open(&config.audit, &audited).map_err(Error::Config)?;
    let parts = Parts { authorizers: authz.clone(), policies, webhooks, times: config.times, pod_security };
    let mut plugins = admission::plugins(enable, disable, &parts).map_err(Error::Config)?;
    plugins.push(Box::new(Guard(authz.clone())));
    plugins.push(Box::new(ParamGuard(authz.clone())));
    let issuer = issuer(config)?;
    let openid = openid(config)?;
    let core = Core {
        api: Api {
            hub,
            admission: Chain::new(plugins),
            authz: authz.clone(),
            allow_privileged: config.allow_privileged,
            times: config.times,
        },
        authn,
        authz,
        issuer,
        openid,
        flow: gate,
        health: Health::new(config.aggregator.proxy_client.is_some()),
        metrics,
        git_version: config.git_version.clone(),
        openapi: crate::openapi::Cache::default(),
        backends: Backends::new(config).map_err(wrong)?,
        clients,
        aggregation,
        audit,
    };
    Ok((core, queue, reloaders))
}

/// Services are found as flags say; the server finds itself where it listens.
fn resolver(config: &Config) -> Resolver {
    let loopback = match config.bind_address {
        IpAddr::V4(address) if address.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
        address => address,
    };
    let own = (config.secure_port > 0).then(|| SocketAddr::new(loopback, config.secure_port).to_string());
    Resolver { to_endpoints: config.aggregator.routes_to_endpoints, own }
}

fn audiences(config: &Config) -> Vec<String> {
    if config.api_audiences.is_empty() { config.service_account_issuers.clone() } else { config.api_audiences.clone() }
}

fn public_keys(config: &Config) -> Result<Vec<jws::PublicKey>, Error> {
    let mut keys = Vec::new();
    for pem in &config.service_account_keys {
        keys.extend(jws::public_keys_from_pem(pem).map_err(wrong)?);
    }
    Ok(keys)
}

fn access(config: &Config) -> Result<Access, Error> {
    let server = crate::identity::of_host();
    let reloads = Reloads::new("authorization", &server);
    let metrics = authz::webhook::metrics::Metrics::default();
    let mut collectors: Vec<_> = metrics.collectors().into_iter().chain(reloads.collectors()).collect();
    let made = authz::setup::make(&config.authorization_modes, &config.authorization, metrics, reloads);
    let made = made.map_err(Error::Config)?;
    let reloads = Reloads::new("authentication", &server);
    let metrics = authn::jwt::metrics::Metrics::new(&server);
    collectors.extend(metrics.collectors().into_iter().chain(reloads.collectors()));
    let around = authn::setup::Around {
        issuers: &config.service_account_issuers,
        audiences: audiences(config),
        metrics,
        reloads,
    };
    let mut access = authn::setup::make(&config.authentication, around).map_err(Error::Config)?;
    let reloaders = Reloaders { authentication: access.reloader.take(), authorization: made.reloader };
    let authn = authenticators(config, access, made.all_allowed)?;
    Ok(Access { authn, authz: Arc::new(made.authorizers), reloaders, collectors })
}

/// Who comes without credentials by the flags; nobody when everybody may do everything (ApplyAuthorization).
fn anonymous(config: &Config, all_allowed: bool) -> Anonymous {
    match config.anonymous_auth {
        AnonymousAuth::Never => Anonymous::Never,
        AnonymousAuth::Everywhere if all_allowed => {
            tracing::warn!(
                "AnonymousAuth is not allowed with the AlwaysAllow authorizer. Resetting AnonymousAuth to false. You should use a different authorizer"
            );
            Anonymous::Never
        }
        AnonymousAuth::Everywhere => Anonymous::Everywhere,
        AnonymousAuth::HealthPaths => Anonymous::Only(authn::HEALTH_PATHS.map(Into::into).into()),
    }
}

fn authenticators(config: &Config, made: authn::setup::Made, all_allowed: bool) -> Result<Authenticators, Error> {
    let keys = public_keys(config)?;
    let service_account = (!keys.is_empty()).then(|| authn::ServiceAccountConfig {
        keys,
        issuers: config.service_account_issuers.clone(),
        lookup: config.service_account_lookup,
    });
    let request_header = config.request_header.clone().map(|headers| authn::RequestHeaderConfig {
        client_ca: headers.client_ca,
        allowed_names: headers.allowed_names,
        username_headers: headers.username_headers,
        uid_headers: headers.uid_headers,
        group_headers: headers.group_headers,
        extra_header_prefixes: headers.extra_header_prefixes,
    });
    Authenticators::new(authn::Config {
        client_ca: config.client_ca.clone(),
        request_header,
        service_account,
        audiences: audiences(config),
        bootstrap_tokens: config.enable_bootstrap_token_auth,
        static_tokens: config.static_tokens.clone(),
        jwt: made.jwt,
        token_webhook: made.token_webhook,
        anonymous: made.anonymous.unwrap_or_else(|| anonymous(config, all_allowed)),
    })
    .map_err(wrong)
}

fn issuer(config: &Config) -> Result<Option<authn::issue::Issuer>, Error> {
    let Some(pem) = &config.service_account_signing_key else { return Ok(None) };
    Ok(Some(authn::issue::Issuer {
        key: jws::SigningKey::from_pem(pem).map_err(wrong)?,
        issuer: config.service_account_issuers.first().cloned().unwrap_or_default(),
        audiences: audiences(config),
        max_expiration_seconds: i64::try_from(config.times.max_token.as_secs()).ok().filter(|max| *max > 0),
        extend_expiration: config.service_account_extend_token_expiration,
    }))
}

fn openid(config: &Config) -> Result<Option<authn::openid::Documents>, Error> {
    let Some(issuer) = config.service_account_issuers.first() else { return Ok(None) };
    let external =
        config.advertise_address.map(|address| std::net::SocketAddr::new(address, config.secure_port).to_string());
    let documents = authn::openid::documents(
        issuer,
        &config.service_account_jwks_uri,
        &external.unwrap_or_default(),
        &public_keys(config)?,
    );
    // Upstream starts without the documents when they cannot be made, and says so.
    Ok(documents.inspect_err(|error| tracing::warn!(%error, "OpenID documents are not served")).ok())
}
