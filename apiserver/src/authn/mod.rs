//! Authentication: who is asking.
//!
//! One chain, in upstream's order: front-proxy headers, client certificate, bearer token (static file, service account,
//! bootstrap, JWT of configured issuers, webhook), anonymous. A credential that is presented and wrong is an error and never falls back to anonymous; a
//! credential that is absent is no error.
//!
//! Invariant: nothing here reads ambient state. Time comes in as an argument, live objects through [`Lookup`]. What is
//! cached (a verified signature, a verified certificate chain) does not depend on any object in the store, so a deleted
//! pod, secret or service account refuses its token on the very next request. What other servers say of a token is
//! kept as long as upstream keeps it.
//!
//! Upstream: `pkg/kubeapiserver/authenticator/config.go@v1.37.2`,
//! `k8s.io/apiserver/pkg/endpoints/filters/authentication.go@v0.37.2`.

mod bootstrap;
mod cache;
mod front_proxy;
pub(crate) mod issue;
pub(crate) mod jws;
pub(crate) mod jwt;
pub(crate) mod openid;
pub(crate) mod reload;
pub(crate) mod review;
pub(crate) mod service_account;
pub(crate) mod setup;
pub(crate) mod text;
mod token_file;
pub(crate) mod token_webhook;
mod x509;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use rustls_pki_types::CertificateDer;

use bootstrap::BootstrapTokens;
use front_proxy::FrontProxy;
pub(crate) use front_proxy::{RequestHeaderConfig, unescape_extra_key};
use jwt::JwtAuthenticators;
pub(crate) use service_account::ServiceAccountConfig;
use service_account::ServiceAccounts;
use token_file::TokenFile;
use token_webhook::TokenWebhook;
use x509::ClientCertificates;

/// The user of a request without credentials.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// The group of every authenticated user.
pub(crate) const ALL_AUTHENTICATED: &str = "system:authenticated";
/// The group of every anonymous user.
pub(crate) const ALL_UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group that may do everything.
pub(crate) const SYSTEM_PRIVILEGED_GROUP: &str = "system:masters";
/// The group of every kubelet.
pub(crate) const NODES_GROUP: &str = "system:nodes";
/// The extra key that names the credential used.
pub(crate) const CREDENTIAL_ID_KEY: &str = "authentication.kubernetes.io/credential-id";

/// The paths on which `keelson up` admits anonymous requests.
pub(crate) const HEALTH_PATHS: [&str; 3] = ["/livez", "/readyz", "/healthz"];

/// The text of a bearer token that no authenticator recognises.
const INVALID_TOKEN: &str = "invalid bearer token";
/// The subprotocol by which a browser hands over its token on a WebSocket.
const BEARER_PROTOCOL_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";
/// Said when `Authorization: Bearer  token` has one space too many.
const EXTRA_SPACE_WARNING: &str =
    "the provided Authorization header contains extra space before the bearer token, and is ignored";

/// An authenticated user with all groups, `system:authenticated` included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Whether the user is in the group.
    pub(crate) fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The user of a request without credentials.
    pub(crate) fn anonymous() -> Self {
        User { name: ANONYMOUS.into(), groups: vec![ALL_UNAUTHENTICATED.into()], ..User::default() }
    }
}

/// What the TLS layer, or the in-process transport, saw of the other side. The chain is *not* verified there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// Where the connection comes from.
    pub(crate) address: Option<IpAddr>,
}

/// An object read live from the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) uid: String,
    /// When the object was asked to go away; it may linger on finalizers or a grace period.
    pub(crate) deletion_timestamp: Option<jiff::Timestamp>,
    /// The whole object as JSON (secret data, pod spec).
    pub(crate) raw: serde_json::Value,
}

/// Live reads of the objects that tokens are bound to.
pub(crate) trait Lookup: Send + Sync {
    /// Reads one of "serviceaccounts", "pods", "nodes", "secrets"; `namespace` is empty for nodes.
    fn object<'a>(&'a self, resource: &'static str, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Option<Found>>;
}

/// Who may come without credentials (`--anonymous-auth`, or the conditions of an AuthenticationConfiguration).
#[derive(Clone, Debug, Default)]
pub(crate) enum Anonymous {
    /// `--anonymous-auth=false`
    Never,
    /// `--anonymous-auth=true`, upstream's default.
    #[default]
    Everywhere,
    /// Only on these exact paths; what `keelson up` uses, with [`HEALTH_PATHS`].
    Only(Vec<String>),
}

impl Anonymous {
    fn admits(&self, path: &str) -> bool {
        match self {
            Anonymous::Never => false,
            Anonymous::Everywhere => true,
            Anonymous::Only(paths) => paths.iter().any(|p| p == path),
        }
    }
}

/// What the chain is built from.
#[derive(Default)]
pub(crate) struct Config {
    /// `--client-ca-file`, as PEM.
    pub(crate) client_ca: Option<Vec<u8>>,
    pub(crate) request_header: Option<RequestHeaderConfig>,
    pub(crate) service_account: Option<ServiceAccountConfig>,
    /// `--api-audiences`; upstream's default is the list of service account issuers.
    pub(crate) audiences: Vec<String>,
    /// `--enable-bootstrap-token-auth`
    pub(crate) bootstrap_tokens: bool,
    /// The content of `--token-auth-file`.
    pub(crate) static_tokens: Option<String>,
    /// The JWT authenticators of --authentication-config, which are replaced when it changes, or of --oidc-*.
    pub(crate) jwt: Option<Arc<ArcSwap<JwtAuthenticators>>>,
    pub(crate) token_webhook: Option<Arc<TokenWebhook>>,
    pub(crate) anonymous: Anonymous,
}

/// Why an authenticator could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("no valid certificate in the CA bundle: {0}")]
    Ca(String),
    #[error("{0}")]
    Key(String),
    #[error("{0}")]
    TokenFile(String),
    #[error("empty header {0:?}")]
    EmptyHeader(String),
    #[error("{0}")]
    Issuer(String),
}

/// Who asks, and what the audit log and the response should say about how we know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: User,
    /// The audiences of the credential; empty when it has none (a client certificate).
    pub(crate) audiences: Vec<String>,
    /// Audit annotations.
    pub(crate) annotations: Vec<(&'static str, String)>,
    /// For the `Warning` response header.
    pub(crate) warnings: Vec<String>,
    /// The secret of a legacy service account token: (namespace, name) to label `kubernetes.io/legacy-token-last-used`.
    pub(crate) legacy_secret_used: Option<(String, String)>,
}

impl Identity {
    fn of(user: User) -> Self {
        Identity { user, ..Identity::default() }
    }
}

/// No user. The client is told only `Unauthorized`; the text is for the log and for TokenReview.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) errors: Vec<String>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&aggregate(&self.errors))
    }
}

/// Joins error texts as `k8s.io/apimachinery/pkg/util/errors/errors.go@v0.37.2` does: one as it is, more in brackets.
pub(crate) fn aggregate(errors: &[String]) -> String {
    let mut unique: Vec<&str> = Vec::with_capacity(errors.len());
    for error in errors {
        if !unique.contains(&error.as_str()) {
            unique.push(error);
        }
    }
    match unique.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// What one authenticator makes of a request: nothing for it, an identity, or wrong credentials.
type Outcome = Result<Option<Identity>, String>;

/// The authentication chain.
pub(crate) struct Authenticators {
    front_proxy: Option<FrontProxy>,
    client_certificates: Option<ClientCertificates>,
    tokens: Tokens,
    audiences: Vec<String>,
    anonymous: Anonymous,
}

impl Authenticators {
    /// Builds the chain; fails on certificates, keys and token files that upstream refuses to start with.
    pub(crate) fn new(config: Config) -> Result<Self, ConfigError> {
        let audiences = config.audiences;
        Ok(Authenticators {
            front_proxy: config.request_header.map(FrontProxy::new).transpose()?,
            client_certificates: config.client_ca.as_deref().map(ClientCertificates::new).transpose()?,
            tokens: Tokens {
                file: config.static_tokens.as_deref().map(TokenFile::parse).transpose()?,
                service_accounts: config.service_account.map(|c| ServiceAccounts::new(c, audiences.clone())),
                bootstrap: config.bootstrap_tokens.then_some(BootstrapTokens),
                jwt: config.jwt,
                webhook: config.token_webhook,
                audiences: audiences.clone(),
            },
            audiences,
            anonymous: config.anonymous,
        })
    }

    /// [`Self::identify`], of which only the user counts.
    #[cfg(test)]
    pub(crate) async fn authenticate(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        path: &str,
        lookup: &dyn Lookup,
        now: jiff::Timestamp,
    ) -> Result<User, Rejected> {
        self.identify(peer, headers, path, lookup, now).await.map(|identity| identity.user)
    }

    /// Authenticates a request: the user with audit annotations, warnings and audiences. `Err` is a 401; no answer
    /// tells the client why.
    pub(crate) async fn identify(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        path: &str,
        lookup: &dyn Lookup,
        now: jiff::Timestamp,
    ) -> Result<Identity, Rejected> {
        let target = (!self.audiences.is_empty()).then_some(self.audiences.as_slice());
        let mut identity = self.chain(peer, headers, path, target, lookup, now).await?;
        identity.warnings.extend(header_warning(headers).map(str::to_string));
        let acceptable = identity.audiences.is_empty() || target.is_none_or(|t| overlap(t, &identity.audiences));
        if acceptable {
            return Ok(identity);
        }
        let error = format!("unable to match the audience: {:?} , accepted: {:?}", identity.audiences, self.audiences);
        Err(Rejected { errors: vec![error] })
    }

    /// Authenticates a bare token, as TokenReview does. `audiences` empty means the API server's own.
    pub(crate) async fn token(
        &self,
        token: &str,
        audiences: &[String],
        lookup: &dyn Lookup,
        now: jiff::Timestamp,
    ) -> Result<Identity, Rejected> {
        let target = if audiences.is_empty() { self.audiences.as_slice() } else { audiences };
        let target = (!target.is_empty()).then_some(target);
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        // A token that cannot stand in a header is a token that nobody issued.
        let Ok(value) = value else { return Err(Rejected { errors: vec![INVALID_TOKEN.into()] }) };
        headers.insert(header::AUTHORIZATION, value);
        self.chain(&Peer::default(), &headers, "", target, lookup, now).await
    }

    /// Every authenticator in turn; the first identity wins, errors only count when there is none.
    async fn chain(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        path: &str,
        target: Option<&[String]>,
        lookup: &dyn Lookup,
        now: jiff::Timestamp,
    ) -> Result<Identity, Rejected> {
        let mut errors = Vec::new();
        let mut found = None;
        if let Some(front_proxy) = &self.front_proxy {
            let outcome = agnostic(&self.audiences, target, || front_proxy.authenticate(peer, headers, now));
            found = keep(outcome, &mut errors);
        }
        if let (None, Some(certificates)) = (&found, &self.client_certificates) {
            found = keep(certificates.authenticate(peer, now).map(|user| user.map(Identity::of)), &mut errors);
        }
        if found.is_none() {
            found = self.bearer(headers, target, lookup, now, &mut errors).await;
        }
        match found {
            Some(mut identity) => {
                add_authenticated_group(&mut identity.user);
                Ok(identity)
            }
            None if errors.is_empty() && self.anonymous.admits(path) => Ok(Identity {
                user: User::anonymous(),
                audiences: target.map(<[String]>::to_vec).unwrap_or_default(),
                ..Identity::default()
            }),
            None => {
                // Upstream asks its loopback token authenticator first, and that one says so of every other token.
                if bearer_token(headers).is_some() {
                    errors.insert(0, INVALID_TOKEN.into());
                }
                Err(Rejected { errors })
            }
        }
    }

    async fn bearer(
        &self,
        headers: &HeaderMap,
        target: Option<&[String]>,
        lookup: &dyn Lookup,
        now: jiff::Timestamp,
        errors: &mut Vec<String>,
    ) -> Option<Identity> {
        for token in [Ok(bearer_token(headers)), websocket_token(headers)] {
            match token {
                Ok(Some(token)) => match self.tokens.authenticate(&token, target, lookup, now).await {
                    Ok(identity) => return Some(identity),
                    Err(more) => errors.extend(more),
                },
                Ok(None) => {}
                Err(error) => errors.push(error.into()),
            }
        }
        None
    }

    /// Removes every credential from the headers once a request is authenticated, so that no layer below and no
    /// aggregated server ever sees one.
    pub(crate) fn strip_credentials(&self, headers: &mut HeaderMap) {
        headers.remove(header::AUTHORIZATION);
        front_proxy::strip(&RequestHeaderConfig::standard(), headers);
        if let Some(front_proxy) = &self.front_proxy {
            front_proxy::strip(front_proxy.config(), headers);
        }
        strip_websocket_token(headers);
    }
}

/// The warning for a bearer token that is ignored because two spaces precede it.
pub(crate) fn header_warning(headers: &HeaderMap) -> Option<&'static str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    let parts: Vec<&str> = value.splitn(3, ' ').collect();
    let spaced = parts.len() == 3 && parts[0].eq_ignore_ascii_case("bearer") && parts[1].is_empty();
    spaced.then_some(EXTRA_SPACE_WARNING)
}

/// The bearer token authenticators, local before remote.
struct Tokens {
    file: Option<TokenFile>,
    service_accounts: Option<ServiceAccounts>,
    bootstrap: Option<BootstrapTokens>,
    jwt: Option<Arc<ArcSwap<JwtAuthenticators>>>,
    webhook: Option<Arc<TokenWebhook>>,
    audiences: Vec<String>,
}

impl Tokens {
    async fn authenticate(
        &self,
        token: &str,
        target: Option<&[String]>,
        lookup: &dyn Lookup,
        now: jiff::Timestamp,
    ) -> Result<Identity, Vec<String>> {
        let mut errors = Vec::new();
        if let Some(file) = &self.file {
            let outcome = agnostic(&self.audiences, target, || Ok(file.find(token).map(Identity::of)));
            if let Some(identity) = keep(outcome, &mut errors) {
                return Ok(identity);
            }
        }
        if let Some(service_accounts) = &self.service_accounts {
            let outcome = service_accounts.authenticate(token, target, lookup, now).await;
            if let Some(identity) = keep(outcome, &mut errors) {
                return Ok(identity);
            }
        }
        if let Some(bootstrap) = &self.bootstrap {
            let user = bootstrap.authenticate(token, lookup, now).await;
            let outcome = agnostic(&self.audiences, target, || Ok(user.map(Identity::of)));
            if let Some(identity) = keep(outcome, &mut errors) {
                return Ok(identity);
            }
        }
        if let Some(identity) = self.elsewhere(token, target, now, &mut errors).await {
            return Ok(identity);
        }
        if errors.is_empty() {
            errors.push(INVALID_TOKEN.into());
        }
        Err(errors)
    }

    /// The authenticators that ask other servers.
    async fn elsewhere(
        &self,
        token: &str,
        target: Option<&[String]>,
        now: jiff::Timestamp,
        errors: &mut Vec<String>,
    ) -> Option<Identity> {
        // Only the API server's own audiences stand for a token of another issuer.
        let meant = target.is_none_or(|target| overlap(&self.audiences, target));
        if let Some(jwt) = self.jwt.as_ref().filter(|_| meant) {
            let jwt = jwt.load_full();
            let user = if jwt.is_empty() { Ok(None) } else { jwt.authenticate(token, now).await };
            let outcome = user.and_then(|user| agnostic(&self.audiences, target, || Ok(user.map(Identity::of))));
            if let Some(identity) = keep(outcome, errors) {
                return Some(identity);
            }
        }
        let webhook = self.webhook.as_ref()?;
        keep(webhook.authenticate(token, target, now).await, errors)
    }
}

fn keep(outcome: Outcome, errors: &mut Vec<String>) -> Option<Identity> {
    outcome.unwrap_or_else(|error| {
        errors.push(error);
        None
    })
}

fn overlap(a: &[String], b: &[String]) -> bool {
    a.iter().any(|x| b.contains(x))
}

/// Runs an authenticator whose credentials carry no audience: it stands for the API server's own audiences only.
fn agnostic(own: &[String], target: Option<&[String]>, authenticate: impl FnOnce() -> Outcome) -> Outcome {
    let Some(target) = target else { return authenticate() };
    let audiences: Vec<String> = own.iter().filter(|a| target.contains(a)).cloned().collect();
    if audiences.is_empty() {
        return Ok(None);
    }
    Ok(authenticate()?.map(|identity| Identity { audiences, ..identity }))
}

fn add_authenticated_group(user: &mut User) {
    if user.name != ANONYMOUS && !user.in_group(ALL_AUTHENTICATED) && !user.in_group(ALL_UNAUTHENTICATED) {
        user.groups.push(ALL_AUTHENTICATED.into());
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<String> {
    // Bytes that are no text make a token that nobody issued; they must not make the request anonymous.
    let value = String::from_utf8_lossy(headers.get(header::AUTHORIZATION)?.as_bytes());
    let mut parts = value.trim().splitn(3, ' ');
    let (scheme, token) = (parts.next()?, parts.next()?);
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

/// The token in the `Sec-WebSocket-Protocol` header of an upgrade request.
fn websocket_token(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    if !is_websocket(headers) {
        return Ok(None);
    }
    let mut tokens = websocket_protocols(headers).filter_map(|p| p.strip_prefix(BEARER_PROTOCOL_PREFIX));
    let Some(encoded) = tokens.next() else { return Ok(None) };
    if tokens.next().is_some() {
        return Err("multiple base64.bearer.authorization tokens specified");
    }
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(encoded);
    let decoded = decoded.map_err(|_| "invalid base64.bearer.authorization token encoding")?;
    let token = String::from_utf8(decoded).map_err(|_| "invalid base64.bearer.authorization token")?;
    if token.is_empty() {
        return Ok(None);
    }
    // There must be a protocol left to echo back once the token is removed.
    if websocket_protocols(headers).all(|p| p.starts_with(BEARER_PROTOCOL_PREFIX)) {
        return Err("missing additional subprotocol");
    }
    Ok(Some(token))
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let has = |name: HeaderName, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
        values.flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(token))
    };
    has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade")
}

fn websocket_protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(str::trim)
}

fn strip_websocket_token(headers: &mut HeaderMap) {
    if !websocket_protocols(headers).any(|p| p.starts_with(BEARER_PROTOCOL_PREFIX)) {
        return;
    }
    let rest: Vec<&str> = websocket_protocols(headers).filter(|p| !p.starts_with(BEARER_PROTOCOL_PREFIX)).collect();
    let rest = HeaderValue::from_str(&rest.join(",")).expect("a part of a header value is a header value");
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, rest);
}
