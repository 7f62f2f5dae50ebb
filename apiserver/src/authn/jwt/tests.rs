//! An issuer on loopback, and tokens of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use super::config::AuthenticationConfiguration;
use super::*;
use crate::authn::jws::SigningKey;
use crate::authn::tests::{ec_key_pem, rsa_key_pem};
use crate::webhook::testing::{Certificate, Webhook};

type Pages = Arc<Mutex<HashMap<String, (u16, String)>>>;

/// What all tests take for now, plus seconds.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("a time")
}

/// A CA of nobody.
pub(super) fn some_ca() -> String {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate").cert.pem()
}

/// An issuer that publishes one key.
pub(crate) struct Issuer {
    pub(crate) url: String,
    server: Webhook,
    /// By path.
    pages: Pages,
    key: SigningKey,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let pages = Pages::default();
        let served = pages.clone();
        let answer = move |parts: &http::request::Parts, _: &api::value::Map| {
            let authorized = parts.headers.get("authorization").map_or("", |value| value.to_str().unwrap_or_default());
            let page = served.lock().get(&format!("{}{authorized}", parts.uri.path())).cloned();
            page.unwrap_or((404, "no such page".into()))
        };
        let server = Webhook::serve(&["localhost"], Certificate::Issued, Arc::new(answer)).await;
        let url = format!("https://localhost:{}", server.address.port());
        let key = SigningKey::from_pem(ec_key_pem(&rcgen::PKCS_ECDSA_P256_SHA256).as_bytes()).expect("a key");
        let mut issuer = Issuer { url, server, pages, key };
        let document = json!({"issuer": issuer.url, "jwks_uri": format!("{}/keys", issuer.url)});
        issuer.publish("/.well-known/openid-configuration", document.to_string());
        issuer.rotate(&ec_key_pem(&rcgen::PKCS_ECDSA_P256_SHA256));
        issuer
    }

    fn publish(&self, path: &str, text: impl Into<String>) {
        self.pages.lock().insert(path.into(), (200, text.into()));
    }

    /// Signs with another key, and publishes that one alone.
    fn rotate(&mut self, pem: &str) {
        self.key = SigningKey::from_pem(pem.as_bytes()).expect("a key");
        self.publish("/keys", json!({"keys": [self.key.public().jwk()]}).to_string());
    }

    /// A token for `api` that holds for an hour, unless the claims say otherwise.
    pub(crate) fn token(&self, claims: serde_json::Value) -> String {
        let mut all = json!({"iss": self.url, "aud": "api", "exp": at(3600).as_second()});
        let fields = all.as_object_mut().expect("an object");
        fields.extend(claims.as_object().expect("an object").clone());
        self.key.sign(&all).expect("signed")
    }

    fn asked(&self, path: &str) -> usize {
        self.server.asked.lock().iter().filter(|(asked, _)| asked == path).count()
    }
}

/// A file with one authenticator for the issuer.
pub(crate) fn config_text(issuer: &Issuer, mappings: &str) -> String {
    let ca = serde_json::to_string(&issuer.server.ca).expect("text");
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {{url: '{}', audiences: [api], certificateAuthority: {ca}}}\n  claimMappings: {mappings}\n",
        issuer.url
    )
}

fn set(text: &str, algorithms: &[&str]) -> JwtAuthenticators {
    let config = AuthenticationConfiguration::decode(text.as_bytes()).expect("read");
    let algorithms = algorithms.iter().map(|one| (*one).to_owned()).collect();
    let making = Making { algorithms, disallowed: Vec::new(), metrics: Metrics::new("test") };
    JwtAuthenticators::new(&config, &making).expect("made")
}

async fn ready(text: &str) -> JwtAuthenticators {
    let set = set(text, &ALGORITHMS);
    tokio::time::timeout(Duration::from_secs(5), set.healthy()).await.expect("the issuer is found");
    set
}

async fn check(set: &JwtAuthenticators, token: &str, expect: Result<Option<&str>, &str>) {
    let got = set.authenticate(token, at(1)).await;
    let got = got.map(|user| user.map(|user| format!("{} {:?}", user.name, user.groups)));
    assert_eq!(got.as_ref().map(Option::as_deref).map_err(String::as_str), expect, "{token}");
}

const MAPPINGS: &str = "{username: {claim: sub, prefix: 'p:'}, groups: {claim: groups, prefix: ''}}";

#[tokio::test]
async fn tokens_are_verified_and_mapped() {
    let mut issuer = Issuer::start().await;
    let set = ready(&config_text(&issuer, MAPPINGS)).await;
    let good = issuer.token(json!({"sub": "jane", "groups": ["g"]}));
    check(&set, &good, Ok(Some("p:jane [\"g\"]"))).await;
    check(&set, "opaque", Ok(None)).await;
    check(&set, &issuer.token(json!({"iss": "https://elsewhere", "sub": "jane"})), Ok(None)).await;
    let late = "oidc: verify token: oidc: token is expired (Token Expiry: 2023-11-14 22:13:20 +0000 UTC)";
    check(&set, &issuer.token(json!({"sub": "jane", "exp": at(0).as_second()})), Err(late)).await;
    let audience = "oidc: verify token: oidc: expected audience \"api\" got [\"other\"]";
    check(&set, &issuer.token(json!({"sub": "jane", "aud": "other"})), Err(audience)).await;
    let before = issuer.asked("/keys");
    issuer.rotate(&rsa_key_pem());
    let rotated = issuer.token(json!({"sub": "joe"}));
    check(&set, &rotated, Ok(Some("p:joe []"))).await;
    assert_eq!(issuer.asked("/keys"), before + 1, "another key is fetched when a token needs it");
    let (head, payload) = (rotated.split('.').next().expect("a head"), good.split('.').nth(1).expect("a payload"));
    let forged = format!("{head}.{payload}.{}", rotated.rsplit('.').next().expect("a signature"));
    let unverified = "oidc: verify token: failed to verify signature: failed to verify id token signature";
    check(&set, &forged, Err(unverified)).await;
    issuer.pages.lock().insert("/keys".into(), (500, "down".into()));
    check(&set, &good, Ok(Some("p:jane [\"g\"]"))).await;
    let down = "oidc: verify token: failed to verify signature: fetching keys oidc: get keys failed: 500 Internal Server Error down";
    check(&set, &forged, Err(down)).await;
}

#[tokio::test]
async fn only_named_algorithms_count() {
    let mut issuer = Issuer::start().await;
    let set = set(&config_text(&issuer, MAPPINGS), &["RS256"]);
    set.healthy().await;
    let expected =
        "oidc: verify token: oidc: id token signed with unsupported algorithm, expected [\"RS256\"] got \"ES256\"";
    check(&set, &issuer.token(json!({"sub": "jane"})), Err(expected)).await;
    issuer.rotate(&rsa_key_pem());
    check(&set, &issuer.token(json!({"sub": "jane"})), Ok(Some("p:jane []"))).await;
}

#[tokio::test]
async fn issuers_are_discovered_where_the_configuration_says() {
    let issuer = Issuer::start().await;
    let inside = config_text(&issuer, MAPPINGS).replace(&format!("url: '{}'", issuer.url), "url: 'https://outside'");
    let text = inside.replace("audiences:", &format!("discoveryURL: '{}/inside', audiences:", issuer.url));
    let wrong = set(&text, &ALGORITHMS);
    let token = issuer.token(json!({"iss": "https://outside", "sub": "jane"}));
    check(&wrong, &token, Err("oidc: authenticator not initialized")).await;
    let document = json!({"issuer": "https://outside", "jwks_uri": format!("{}/keys", issuer.url)});
    issuer.publish("/inside", document.to_string());
    let set = ready(&text).await;
    check(&set, &token, Ok(Some("p:jane []"))).await;
    assert_eq!(issuer.asked("/.well-known/openid-configuration"), 0);
    issuer.publish("/inside", json!({"issuer": "https://other", "jwks_uri": "x"}).to_string());
    let set = self::set(&text, &ALGORITHMS);
    let why = "oidc: issuer did not match the issuer returned by provider, expected \"https://outside\" got \"https://other\"";
    tokio::time::timeout(Duration::from_secs(5), async {
        while !set.unhealthy().contains(why) {
            set.all[0].found.clone().changed().await.expect("told");
        }
    })
    .await
    .expect("the reason is told");
}

#[tokio::test]
async fn groups_that_are_elsewhere() {
    let issuer = Issuer::start().await;
    let set = ready(&config_text(&issuer, MAPPINGS)).await;
    issuer.publish("/groupsBearer secret", issuer.token(json!({"groups": ["far"]})));
    issuer.publish("/nothing", issuer.token(json!({})));
    let elsewhere = |path: &str, token: &str| {
        let source = json!({"endpoint": format!("{}{path}", issuer.url), "access_token": token});
        issuer.token(json!({"sub": "jane", "_claim_names": {"groups": "s"}, "_claim_sources": {"s": source}}))
    };
    let there = elsewhere("/groups", "secret");
    let found = async {
        // The issuer of what is there is looked for when it is first met.
        while set.authenticate(&there, at(1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), found).await.expect("resolved");
    check(&set, &there, Ok(Some("p:jane [\"far\"]"))).await;
    let failed = "oidc: could not expand distributed claims:";
    let status = "while getting distributed claim \"groups\": error while getting distributed claim JWT: 404 Not Found";
    check(&set, &elsewhere("/groups", ""), Err(&format!("{failed} {status}"))).await;
    let empty =
        format!("jwt returned by distributed claim endpoint \"{}/nothing\" did not contain claim: groups", issuer.url);
    check(&set, &elsewhere("/nothing", ""), Err(&format!("{failed} {empty}"))).await;
    let here = json!({"sub": "jane", "groups": ["near"], "_claim_names": {"groups": "s"}, "_claim_sources": {"s": {}}});
    check(&set, &issuer.token(here), Ok(Some("p:jane [\"near\"]"))).await;
}

#[tokio::test]
async fn what_was_verified_counts_for_seconds() {
    let mut issuer = Issuer::start().await;
    let set = ready(&config_text(&issuer, MAPPINGS)).await;
    let token = issuer.token(json!({"sub": "jane"}));
    check(&set, &token, Ok(Some("p:jane []"))).await;
    issuer.rotate(&ec_key_pem(&rcgen::PKCS_ECDSA_P256_SHA256));
    // Takes the new key in the old one's place.
    check(&set, &issuer.token(json!({"sub": "joe"})), Ok(Some("p:joe []"))).await;
    check(&set, &token, Ok(Some("p:jane []"))).await;
    assert!(set.authenticate(&token, at(12)).await.is_err());
}
