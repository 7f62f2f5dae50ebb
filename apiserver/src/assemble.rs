//! Puts a server together from its configuration.

use std::sync::Arc;

use store::Store;

use crate::admission::pod_security::Metrics as PodSecurityMetrics;
use crate::admission::policy::guard::ParamGuard;
use crate::admission::policy::source::{self as policy, Policies};
use crate::admission::webhook::{Configurations, Webhooks};
use crate::admission::{self, Chain, Parts};
use crate::authn::{self, Anonymous, Authenticators, jws};
use crate::authz::guard::Guard;
use crate::authz::{Authorizers, Mode};
use crate::chain::Core;
use crate::config::{AnonymousAuth, Config};
use crate::custom::controller::{self, Queue};
use crate::flow::{self, Flow};
use crate::health::Health;
use crate::hub::{Hub, Network, Observer};
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::rest::Api;
use crate::subresource::connect::Backends;
use crate::views::AuthorizerViews;
use crate::{Error, nonresource};

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::Config(error.to_string())
}

pub(crate) fn core(config: &Config, store: Store) -> Result<(Core, Queue), Error> {
    let modes = config.authorization_modes.iter().map(|mode| match mode.as_str() {
        "Node" => Ok(Mode::Node),
        "RBAC" => Ok(Mode::Rbac),
        other => Err(Error::Config(format!("authorization-mode \"{other}\" is not a valid mode"))),
    });
    let authz = Arc::new(Authorizers::new(modes.collect::<Result<_, _>>()?));
    let registry = Registry::new(|resource| config.serves(resource));
    let network = Network { service_cidrs: config.service_cidrs.clone(), node_ports: config.service_node_ports };
    let (changes, queue) = controller::changes();
    let gate = Arc::new(Flow::new(config));
    let (policies, webhooks): (Arc<Policies>, Arc<Webhooks>) = (Arc::default(), Arc::default());
    let observers: Vec<Box<dyn Observer>> = vec![
        Box::new(AuthorizerViews(authz.clone())),
        Box::new(changes),
        Box::new(policy::Views(policies.clone())),
        Box::new(Configurations(webhooks.clone())),
        Box::new(flow::Views(gate.clone())),
    ];
    let hub = Arc::new(Hub::new(store, registry, network, observers));
    let (enable, disable) = (&config.enable_admission_plugins, &config.disable_admission_plugins);
    let pod_security = PodSecurityMetrics::default();
    let counted = webhooks.metrics.collectors().into_iter().chain(pod_security.collectors());
    let metrics = Metrics::new(counted).map_err(wrong)?;
    let clients = webhooks.clients.clone();
    let parts = Parts { authorizers: authz.clone(), policies, webhooks, pod_security };
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
        },
        authn: authenticators(config)?,
        authz,
        issuer,
        openid,
        flow: gate,
        health: Health::default(),
        metrics,
        version: nonresource::Version::default(),
        openapi: crate::openapi::Cache::default(),
        backends: Backends::new(config).map_err(wrong)?,
        clients,
    };
    Ok((core, queue))
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

fn authenticators(config: &Config) -> Result<Authenticators, Error> {
    let keys = public_keys(config)?;
    let service_account = (!keys.is_empty()).then(|| authn::ServiceAccountConfig {
        keys,
        issuers: config.service_account_issuers.clone(),
        lookup: true,
    });
    let request_header = config.request_header.clone().map(|headers| authn::RequestHeaderConfig {
        client_ca: headers.client_ca,
        allowed_names: headers.allowed_names,
        username_headers: headers.username_headers,
        uid_headers: headers.uid_headers,
        group_headers: headers.group_headers,
        extra_header_prefixes: headers.extra_header_prefixes,
    });
    let anonymous = match config.anonymous_auth {
        AnonymousAuth::Never => Anonymous::Never,
        AnonymousAuth::Everywhere => Anonymous::Everywhere,
        AnonymousAuth::HealthPaths => Anonymous::Only(authn::HEALTH_PATHS.map(Into::into).into()),
    };
    Authenticators::new(authn::Config {
        client_ca: config.client_ca.clone(),
        request_header,
        service_account,
        audiences: audiences(config),
        bootstrap_tokens: config.enable_bootstrap_token_auth,
        static_tokens: config.static_tokens.clone(),
        anonymous,
    })
    .map_err(wrong)
}

fn issuer(config: &Config) -> Result<Option<authn::issue::Issuer>, Error> {
    let Some(pem) = &config.service_account_signing_key else { return Ok(None) };
    Ok(Some(authn::issue::Issuer {
        key: jws::SigningKey::from_pem(pem).map_err(wrong)?,
        issuer: config.service_account_issuers.first().cloned().unwrap_or_default(),
        audiences: audiences(config),
        max_expiration_seconds: None,
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
