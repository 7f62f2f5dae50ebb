//! Who calls: by the word of a front proxy, by client certificate, by token, or nobody
//! (k8s.io/apiserver/pkg/authentication/authenticatorfactory/delegating.go@v0.37.2).
//!
//! Invariant: a certificate names somebody only after its chain was verified at this moment; an answer
//! about a token is believed for the configured time at most.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use http::HeaderMap;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::listen::Peer;
use crate::trust::Trust;

/// Tokens remembered at most.
const TOKENS_MAX: usize = 4096;

/// Somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Tells who calls.
pub struct Authenticator {
    trust: Trust,
    tokens: Option<Tokens>,
    anonymous: bool,
}

impl Authenticator {
    /// `tokens`: who is asked about them, and how long an answer is believed. `anonymous`: who proves nothing is somebody, too.
    pub fn new(trust: Trust, tokens: Option<(Client, Duration)>, anonymous: bool) -> Self {
        let tokens = tokens.map(|(client, ttl)| Tokens { client, ttl, known: Mutex::default() });
        Authenticator { trust, tokens, anonymous }
    }

    /// The caller; `None` for one who proves nothing where that is not enough.
    ///
    /// # Errors
    /// What was to prove it does not.
    pub async fn identify(&self, peer: &Peer, headers: &HeaderMap) -> Result<Option<User>, String> {
        let known = self.trust.now();
        let mut wrong = None;
        if let Some(front_proxy) = &known.front_proxy {
            match front_proxy.identify(peer, headers) {
                Ok(Some(user)) => return Ok(Some(authenticated(user))),
                Ok(None) => {}
                Err(error) => wrong = Some(error),
            }
        }
        if let Some(authority) = &known.clients
            && let Some((first, rest)) = peer.split_first()
        {
            match authority.verify(first, rest) {
                Ok(()) => match subject(first) {
                    Some(user) => return Ok(Some(authenticated(user))),
                    None => wrong = Some("the certificate names nobody".to_owned()),
                },
                Err(error) => wrong = Some(error),
            }
        }
        if let Some(tokens) = &self.tokens
            && let Some(token) = bearer(headers)
        {
            match tokens.review(token).await? {
                Some(user) => return Ok(Some(authenticated(user))),
                None => return Err("invalid bearer token".into()),
            }
        }
        match wrong {
            Some(error) => Err(error),
            None => Ok(self.anonymous.then(|| User {
                name: "system:anonymous".into(),
                groups: vec!["system:unauthenticated".into()],
                ..User::default()
            })),
        }
    }
}

fn authenticated(mut user: User) -> User {
    let group = "system:authenticated";
    if !user.groups.iter().any(|has| has == group) {
        user.groups.push(group.into());
    }
    user
}

/// The common name is the user, every organization is a group.
pub(crate) fn subject(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().last()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|one| one.as_str().ok().map(str::to_owned)).collect();
    Some(User { name, groups, ..User::default() }).filter(|user| !user.name.is_empty())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

type Known = HashMap<[u8; 32], (Instant, Option<User>)>;

struct Tokens {
    client: Client,
    ttl: Duration,
    /// By the hash of the token: a heap dump has no token of anybody.
    known: Mutex<Known>,
}

impl Tokens {
    async fn review(&self, token: &str) -> Result<Option<User>, String> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some((until, user)) = self.known.lock().get(&key)
            && Instant::now() < *until
        {
            return Ok(user.clone());
        }
        let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviewed = Api::all(self.client.clone()).create(&PostParams::default(), &review).await;
        let status = reviewed.map_err(|error| error.to_string())?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).map(|user| User {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        });
        let mut known = self.known.lock();
        let now = Instant::now();
        if known.len() >= TOKENS_MAX {
            known.retain(|_, (until, _)| now < *until);
        }
        if known.len() < TOKENS_MAX {
            known.insert(key, (now + self.ttl, user.clone()));
        }
        Ok(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_headers() {
        for (value, expect) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("Bearer", None),
            ("Bearer  ", None),
        ] {
            let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, value.parse().expect("a value"))]);
            assert_eq!(bearer(&headers), expect, "{value}");
        }
    }

    #[test]
    fn a_certificate_names_its_subject() {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "system:node:a");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let user = subject(certificate.der()).expect("somebody");
        assert_eq!((user.name.as_str(), user.groups), ("system:node:a", vec!["system:nodes".to_owned()]));
    }
}
