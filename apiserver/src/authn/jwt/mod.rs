//! JWT authenticators: tokens of issuers that the configuration names
//! (k8s.io/apiserver/plugin/pkg/authenticator/token/oidc/oidc.go@v0.37.2).
//!
//! [`config`] is what is configured, [`validate`] whether it makes sense, [`provider`] finds an issuer's keys
//! ([`keyset`]), [`verify`] judges a token by them, and [`claims`] makes a user of what it says.
//!
//! Invariant: a token is asked about only at the issuer that it names. A set of authenticators is replaced as a whole.
//! Non-goal: egress selectors; a configuration that names one is refused, for none can be configured.

mod claims;
pub(crate) mod config;
mod distributed;
pub(crate) mod expression;
mod fetch;
mod keys;
mod keyset;
pub(crate) mod metrics;
mod provider;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod validate;
mod verify;

use std::collections::HashSet;
use std::sync::Arc;

use api::field::Path;
use jiff::Timestamp;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::claims::Mapper;
use self::config::{AuthenticationConfiguration, JwtAuthenticator};
use self::distributed::Resolver;
use self::fetch::Fetcher;
use self::metrics::{Issuer as Counted, Metrics};
use self::provider::{Elsewhere, Found, Sought, well_known};
use super::cache::{Verified, digest};
use super::text::quote;
use super::{User, aggregate};

/// All algorithms that tokens may be signed with (oidc.go: AllValidSigningAlgorithms).
pub(crate) const ALGORITHMS: [&str; 9] =
    ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// What a set of authenticators is made with beside its configuration; it stays when the configuration changes.
#[derive(Clone)]
pub(crate) struct Making {
    pub(crate) algorithms: Vec<String>,
    /// Issuers of service account tokens, which no authenticator may have.
    pub(crate) disallowed: Vec<String>,
    pub(crate) metrics: Metrics,
}

/// The authenticators of one configuration.
pub(crate) struct JwtAuthenticators {
    all: Vec<Jwt>,
    verified: Verified<User>,
    _stop: DropGuard,
}

struct Jwt {
    issuer: String,
    mapper: Mapper,
    found: Found,
    resolver: Option<Resolver>,
    counted: Counted,
}

impl JwtAuthenticators {
    /// Makes the authenticators and begins to look for their issuers; must run within a runtime.
    ///
    /// # Errors
    /// A configuration that does not make sense, certificates that cannot be used: upstream's texts.
    pub(crate) fn new(config: &AuthenticationConfiguration, making: &Making) -> Result<Self, String> {
        let stop = CancellationToken::new();
        let made: Result<Vec<Jwt>, String> = config.jwt.iter().map(|jwt| Jwt::new(jwt, making, &stop)).collect();
        Ok(JwtAuthenticators { all: made?, verified: Verified::new(), _stop: stop.drop_guard() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The user of a token; nothing for a token of nobody here. What was verified counts for some seconds.
    ///
    /// # Errors
    /// A token of an issuer here that does not hold.
    pub(crate) async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Option<User>, String> {
        let Ok(issuer) = verify::untrusted_issuer(token) else { return Ok(None) };
        let Some(jwt) = self.all.iter().find(|jwt| jwt.issuer == issuer) else { return Ok(None) };
        let key = digest([token.as_bytes()]);
        if let Some(known) = self.verified.get(&key, now) {
            return Ok(Some(User::clone(&known)));
        }
        let started = std::time::Instant::now();
        let outcome = jwt.authenticate(token, now).await;
        jwt.counted.authenticated(outcome.is_ok(), started.elapsed());
        let user = outcome?;
        self.verified.put(key, Arc::new(user.clone()), now, None);
        Ok(Some(user))
    }

    /// Returns once every issuer was found.
    pub(crate) async fn healthy(&self) {
        for jwt in &self.all {
            // The other end is gone when the set is, and then nobody waits.
            let _ = jwt.found.clone().wait_for(Result::is_ok).await;
        }
    }

    /// What keeps the issuers from being found.
    pub(crate) fn unhealthy(&self) -> String {
        let why = |jwt: &Jwt| {
            let why = jwt.found.borrow().as_ref().err()?.clone();
            Some(format!("oidc: authenticator for issuer {} is not healthy: {why}", quote(&jwt.issuer)))
        };
        aggregate(&self.all.iter().filter_map(why).collect::<Vec<_>>())
    }

    /// Forgets what was counted of issuers that the next set has not.
    pub(crate) fn replaced_by(&self, next: &Self) {
        let kept: HashSet<&str> = next.all.iter().map(|jwt| jwt.issuer.as_str()).collect();
        self.all.iter().filter(|jwt| !kept.contains(jwt.issuer.as_str())).for_each(|jwt| jwt.counted.forget());
    }
}

impl Jwt {
    fn new(config: &JwtAuthenticator, making: &Making, stop: &CancellationToken) -> Result<Self, String> {
        let (compiled, errors) = validate::authenticator(config, &Path::default(), &making.disallowed);
        if !errors.is_empty() {
            return Err(aggregate(&errors.iter().map(ToString::to_string).collect::<Vec<_>>()));
        }
        if let Some(unknown) = making.algorithms.iter().find(|known| !ALGORITHMS.contains(&known.as_str())) {
            return Err(format!("oidc: unsupported signing alg: {}", quote(unknown)));
        }
        let issuer = &config.issuer;
        if !issuer.egress_selector_type.is_empty() {
            let egress = quote(&issuer.egress_selector_type);
            return Err(format!("oidc: egress lookup required with egress selector type {egress}"));
        }
        let elsewhere = (!issuer.discovery_url.is_empty())
            .then(|| Elsewhere { instead_of: well_known(&issuer.url), url: issuer.discovery_url.clone() });
        let counted = making.metrics.issuer(&issuer.url);
        let sought = Sought {
            issuer: issuer.url.clone(),
            fetcher: Fetcher::new(issuer.certificate_authority.as_bytes())?,
            elsewhere,
            audiences: issuer.audiences.as_slice().into(),
            algorithms: making.algorithms.as_slice().into(),
            counted: Some(counted.clone()),
            tasks: TaskTracker::new(),
        };
        let mapper = Mapper::new(config.clone(), compiled);
        let claim = mapper.groups_claim().to_owned();
        let resolver = (!claim.is_empty()).then(|| Resolver::new(claim, sought.clone(), stop.clone()));
        Ok(Jwt { issuer: issuer.url.clone(), mapper, found: sought.look(stop.clone()), resolver, counted })
    }

    async fn authenticate(&self, token: &str, now: Timestamp) -> Result<User, String> {
        let verifier = self.found.borrow().clone().map_err(|_| "oidc: authenticator not initialized")?;
        let verified = verifier.verify(token, now).await;
        let mut claims = verified.map_err(|why| format!("oidc: verify token: {why}"))?;
        if let Some(resolver) = &self.resolver {
            let expanded = resolver.expand(&mut claims, now).await;
            expanded.map_err(|why| format!("oidc: could not expand distributed claims: {why}"))?;
        }
        self.mapper.user(&claims)
    }
}
