//! Groups that a token does not hold but says where to get (OpenID Connect Core 1.0, section 5.6.2; oidc.go@v0.37.2:
//! claimResolver).
//!
//! Invariant: what is got is itself a token, and believed only as its own issuer's. Non-goal: aggregated claims.

use std::collections::HashMap;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use super::claims::{Claims, kind};
use super::provider::{Found, Sought};
use super::verify::untrusted_issuer;
use crate::authn::text::quote;

/// Resolves one claim.
pub(super) struct Resolver {
    claim: String,
    /// The authenticator's own issuer; others are looked for in the same way.
    like: Sought,
    known: Mutex<HashMap<String, Found>>,
    stop: CancellationToken,
}

/// Where a claim is.
struct Endpoint {
    url: String,
    token: String,
}

impl Resolver {
    pub(super) fn new(claim: String, like: Sought, stop: CancellationToken) -> Self {
        Resolver { claim, like: Sought { counted: None, ..like }, known: Mutex::default(), stop }
    }

    /// Puts the claim in its place, if the token says that it is elsewhere.
    ///
    /// # Errors
    /// Upstream's texts.
    pub(super) async fn expand(&self, claims: &mut Claims, now: Timestamp) -> Result<(), String> {
        let Some(endpoint) = self.endpoint(claims)? else { return Ok(()) };
        let value = self.resolve(&endpoint, now).await?;
        claims.insert(self.claim.clone(), value);
        Ok(())
    }

    fn endpoint(&self, claims: &Claims) -> Result<Option<Endpoint>, String> {
        let Some(names) = claims.get("_claim_names").filter(|_| !claims.contains_key(&self.claim)) else {
            return Ok(None);
        };
        let object =
            |value: &Json, ty: &str| format!("json: cannot unmarshal {} into Go value of type {ty}", kind(value));
        let Json::Object(named) = names else {
            let why = object(names, "map[string]string");
            return Err(format!("oidc: error parsing distributed claim names: {why}"));
        };
        let sources = claims.get("_claim_sources").ok_or("oidc: no claim sources")?;
        let Json::Object(sources) = sources else {
            let why = object(sources, "map[string]oidc.endpoint");
            return Err(format!("oidc: could not parse claim sources: {why}"));
        };
        let Some(source) = named.get(&self.claim).and_then(Json::as_str) else { return Ok(None) };
        let missing = || format!("id token _claim_names contained a source {source} missing in _claims_sources");
        let found = sources.get(source).ok_or_else(missing)?;
        let text = |name: &str| found.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let endpoint = Endpoint { url: text("endpoint"), token: text("access_token") };
        // Without a URL the claim may be aggregated.
        Ok(Some(endpoint).filter(|endpoint| !endpoint.url.is_empty()))
    }

    async fn resolve(&self, endpoint: &Endpoint, now: Timestamp) -> Result<Json, String> {
        let (claim, url) = (&self.claim, &endpoint.url);
        let fetched = self.like.fetcher.get(url, &endpoint.token).await.and_then(|fetched| {
            let status = fetched.status.as_u16();
            let why = || format!("error while getting distributed claim JWT: {}", fetched.status_text());
            if !(200..=226).contains(&status) {
                return Err(why());
            }
            String::from_utf8(fetched.body.to_vec()).map_err(|_| "could not decode distributed claim response".into())
        });
        let token = fetched.map_err(|why| format!("while getting distributed claim {}: {why}", quote(claim)))?;
        let issuer = untrusted_issuer(&token).map_err(|why| {
            format!("getting untrusted issuer from endpoint {url} failed for claim {}: {why}", quote(claim))
        })?;
        let verifier = self.verifier(&issuer).borrow().clone();
        let verifier = verifier.map_err(|_| {
            format!(
                "verifying untrusted issuer {issuer} failed: verifier not initialized for issuer: {}",
                quote(&issuer)
            )
        })?;
        let verified = verifier.verify(&token, now).await;
        let mut distributed = verified.map_err(|why| format!("verify distributed claim token: {why}"))?;
        distributed.remove(claim).ok_or_else(|| {
            format!("jwt returned by distributed claim endpoint {} did not contain claim: {claim}", quote(url))
        })
    }

    fn verifier(&self, issuer: &str) -> Found {
        let look = || Sought { issuer: issuer.to_owned(), ..self.like.clone() }.look(self.stop.clone());
        self.known.lock().entry(issuer.to_owned()).or_insert_with(look).clone()
    }
}
