//! The whole chain: which credential wins, what a wrong one costs, and helpers that the other tests share.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec, TokenReviewSpec};
use serde_json::json;

use super::issue::Issuer;
use super::jws::SigningKey;
use super::*;

/// A fixed moment plus seconds.
pub(super) fn at(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_514_764_800 + seconds).unwrap()
}

/// Objects by resource, namespace and name.
pub(super) struct Objects(pub(super) Vec<(&'static str, String, String, Found)>);

impl Lookup for Objects {
    fn object<'a>(&'a self, resource: &'static str, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Option<Found>> {
        let found = self.0.iter().find(|(r, ns, n, _)| *r == resource && ns == namespace && n == name);
        async move { found.map(|(.., found)| found.clone()) }.boxed()
    }
}

/// An object without content.
pub(super) fn object(
    resource: &'static str,
    namespace: &str,
    name: &str,
    uid: &str,
    deletion_timestamp: Option<jiff::Timestamp>,
) -> (&'static str, String, String, Found) {
    let found = Found { uid: uid.into(), deletion_timestamp, ..Found::default() };
    (resource, namespace.into(), name.into(), found)
}

/// A fresh RSA key.
pub(super) fn rsa_key_pem() -> String {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der.as_ref()))
}

/// A fresh elliptic curve key.
pub(super) fn ec_key_pem(algorithm: &'static rcgen::SignatureAlgorithm) -> String {
    rcgen::KeyPair::generate_for(algorithm).unwrap().serialize_pem()
}

/// The claims of a token as text.
pub(super) fn claims_of(token: &str) -> String {
    let payload = token.split('.').nth(1).unwrap();
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn authorization(token: &str) -> HeaderMap {
    headers(&[("authorization", &format!("Bearer {token}"))])
}

struct Cluster {
    issuer: Issuer,
    authenticators: Authenticators,
    objects: Objects,
}

fn cluster(anonymous: Anonymous) -> Cluster {
    let key = SigningKey::from_pem(ec_key_pem(&rcgen::PKCS_ECDSA_P256_SHA256).as_bytes()).unwrap();
    let service_account =
        ServiceAccountConfig { keys: vec![key.public().clone()], issuers: vec!["https://issuer".into()], lookup: true };
    let authenticators = Authenticators::new(Config {
        service_account: Some(service_account),
        audiences: vec!["api".into()],
        bootstrap_tokens: true,
        static_tokens: Some("static,bob,7,\"dev,ops\"".into()),
        anonymous,
        ..Config::default()
    });
    let encode = |s: &str| BASE64_STANDARD.encode(s);
    let mut secret = object("secrets", "kube-system", "bootstrap-token-foobar", "b", None);
    secret.3.raw = json!({"type": "bootstrap.kubernetes.io/token", "data": {
        "token-id": encode("foobar"),
        "token-secret": encode("circumnavigation"),
        "usage-bootstrap-authentication": encode("true"),
    }});
    Cluster {
        issuer: Issuer {
            key,
            issuer: "https://issuer".into(),
            audiences: vec!["api".into()],
            max_expiration_seconds: None,
            extend_expiration: true,
        },
        authenticators: authenticators.unwrap(),
        objects: Objects(vec![object("serviceaccounts", "ns", "sa", "sa-uid", None), secret]),
    }
}

impl Cluster {
    async fn token(&self, audiences: &[&str]) -> String {
        let audiences = audiences.iter().map(|a| (*a).to_owned()).collect();
        let spec = TokenRequestSpec { audiences: Some(audiences), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let issued = self.issuer.token_request(("ns", "sa"), request, &self.objects, at(0), "id").await.unwrap();
        issued.response.status.unwrap().token.unwrap()
    }

    async fn get(&self, headers: &HeaderMap, path: &str) -> Result<User, String> {
        let user = self.authenticators.authenticate(&Peer::default(), headers, path, &self.objects, at(1)).await;
        user.map_err(|rejected| rejected.to_string())
    }
}

#[tokio::test]
async fn each_credential_names_its_user() {
    let cluster = cluster(Anonymous::Everywhere);
    let account = cluster.token(&[]).await;
    for (token, name, groups) in [
        ("static", "bob", "dev ops system:authenticated"),
        ("foobar.circumnavigation", "system:bootstrap:foobar", "system:bootstrappers system:authenticated"),
        (
            account.as_str(),
            "system:serviceaccount:ns:sa",
            "system:serviceaccounts system:serviceaccounts:ns system:authenticated",
        ),
    ] {
        let user = cluster.get(&authorization(token), "/api").await.unwrap();
        assert_eq!((user.name.as_str(), user.groups.join(" ").as_str()), (name, groups));
    }
}

#[tokio::test]
async fn wrong_credentials_never_become_anonymous() {
    let cluster = cluster(Anonymous::Everywhere);
    let elsewhere = cluster.token(&["vault"]).await;
    let audiences = r#"token audiences ["vault"] is invalid for the target audiences ["api"]"#;
    for (headers, want) in [
        (authorization("nonsense"), INVALID_TOKEN.to_owned()),
        (authorization(&elsewhere), format!("[{INVALID_TOKEN}, {audiences}]")),
        (authorization("foobar.wrongwrongwrongw"), INVALID_TOKEN.to_owned()),
        (authorization("not\u{e9}ascii"), INVALID_TOKEN.to_owned()),
    ] {
        assert_eq!(cluster.get(&headers, "/healthz").await.unwrap_err(), want);
    }
    for headers in
        [HeaderMap::new(), headers(&[("authorization", "Basic abc")]), headers(&[("authorization", "Bearer  x")])]
    {
        assert_eq!(cluster.get(&headers, "/api").await, Ok(User::anonymous()));
    }
    assert_eq!(header_warning(&headers(&[("authorization", "Bearer  x")])), Some(EXTRA_SPACE_WARNING));
    assert_eq!(header_warning(&authorization("x")), None);
}

#[tokio::test]
async fn anonymous_is_limited_to_paths() {
    let paths = Anonymous::Only(HEALTH_PATHS.map(String::from).to_vec());
    for (policy, path, good) in [
        (Anonymous::Never, "/healthz", false),
        (Anonymous::Everywhere, "/api", true),
        (paths.clone(), "/healthz", true),
        (paths.clone(), "/livez", true),
        (paths.clone(), "/livez/ping", false),
        (paths, "/api", false),
    ] {
        let got = cluster(policy.clone()).get(&HeaderMap::new(), path).await;
        assert_eq!(got.is_ok(), good, "{policy:?} {path}");
    }
}

#[tokio::test]
async fn a_deleted_account_ends_its_token_at_once() {
    let mut cluster = cluster(Anonymous::Never);
    let headers = authorization(&cluster.token(&[]).await);
    assert!(cluster.get(&headers, "/api").await.is_ok());
    cluster.objects.0.remove(0);
    assert_eq!(
        cluster.get(&headers, "/api").await.unwrap_err(),
        "[invalid bearer token, serviceaccounts \"sa\" not found]"
    );
}

#[tokio::test]
async fn websockets_carry_tokens_in_a_protocol() {
    let cluster = cluster(Anonymous::Never);
    let protocol = format!("{BEARER_PROTOCOL_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode("static"));
    let upgrade = |protocols: &str| {
        headers(&[("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-protocol", protocols)])
    };
    let mut good = upgrade(&format!("{protocol}, v5.channel.k8s.io"));
    assert_eq!(cluster.get(&good, "/").await.unwrap().name, "bob");
    cluster.authenticators.strip_credentials(&mut good);
    assert_eq!(good["sec-websocket-protocol"], "v5.channel.k8s.io");
    for (headers, want) in [
        (upgrade(&protocol), "missing additional subprotocol"),
        (upgrade(&format!("{protocol},{protocol},x")), "multiple base64.bearer.authorization tokens specified"),
        (upgrade(&format!("{BEARER_PROTOCOL_PREFIX}!,x")), "invalid base64.bearer.authorization token encoding"),
        (headers(&[("sec-websocket-protocol", &format!("{protocol},x"))]), ""),
    ] {
        assert_eq!(cluster.get(&headers, "/").await.unwrap_err(), want);
    }
}

#[tokio::test]
async fn token_reviews_answer_for_audiences() {
    let cluster = cluster(Anonymous::Everywhere);
    let account = cluster.token(&["api", "vault"]).await;
    let review = async |token: &str, audiences: &[&str]| {
        let audiences = (!audiences.is_empty()).then(|| audiences.iter().map(|a| (*a).to_owned()).collect());
        let spec = TokenReviewSpec { token: token.into(), audiences };
        review::token_review(&cluster.authenticators, &spec, &cluster.objects, at(1)).await
    };
    let name = |status: &k8s_openapi::api::authentication::v1::TokenReviewStatus| {
        status.user.as_ref().and_then(|u| u.username.clone())
    };
    for (token, audiences, want) in [
        (account.as_str(), &[][..], Ok(&["api"][..])),
        (account.as_str(), &["vault", "other"][..], Ok(&["vault"][..])),
        (
            account.as_str(),
            &["other"][..],
            Err(
                r#"[invalid bearer token, token audiences ["api" "vault"] is invalid for the target audiences ["other"]]"#,
            ),
        ),
        ("static", &[][..], Ok(&["api"][..])),
        ("static", &["vault"][..], Err(INVALID_TOKEN)),
        ("unknown\u{e9}", &[][..], Err(INVALID_TOKEN)),
    ] {
        let status = review(token, audiences).await.unwrap();
        match want {
            Ok(audiences) => {
                assert_eq!(status.audiences.as_deref().unwrap(), audiences);
                assert!(name(&status).is_some() && status.authenticated == Some(true));
            }
            Err(error) => {
                assert_eq!(status.error.as_deref(), Some(error));
                assert!(name(&status).is_none() && status.authenticated.is_none());
            }
        }
    }
    assert_eq!(review("", &[]).await.unwrap_err(), "token is required for TokenReview in authentication");
}

#[tokio::test]
async fn legacy_tokens_need_their_secret() {
    let mut cluster = cluster(Anonymous::Never);
    let claims = json!({
        "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:ns:sa",
        "kubernetes.io/serviceaccount/namespace": "ns", "kubernetes.io/serviceaccount/secret.name": "old",
        "kubernetes.io/serviceaccount/service-account.name": "sa",
        "kubernetes.io/serviceaccount/service-account.uid": "sa-uid",
    });
    let token = cluster.issuer.key.sign(&claims).unwrap();
    let headers = authorization(&token);
    assert_eq!(cluster.get(&headers, "/").await.unwrap_err(), "[invalid bearer token, Token has been invalidated]");
    let mut secret = object("secrets", "ns", "old", "s", None);
    secret.3.raw = json!({"data": {"token": BASE64_STANDARD.encode(&token)}});
    cluster.objects.0.push(secret);
    let identity =
        cluster.authenticators.identify(&Peer::default(), &headers, "/", &cluster.objects, at(1)).await.unwrap();
    assert_eq!(identity.user.extra, BTreeMap::new());
    assert_eq!(identity.legacy_secret_used, Some(("ns".into(), "old".into())));
    assert_eq!(identity.annotations[0].0, "authentication.k8s.io/legacy-token");
    let last = cluster.objects.0.len() - 1;
    let labelled = json!({"kubernetes.io/legacy-token-last-used": "2018-01-01"});
    cluster.objects.0[last].3.raw["metadata"] = json!({"labels": labelled});
    let identity =
        cluster.authenticators.identify(&Peer::default(), &headers, "/", &cluster.objects, at(1)).await.unwrap();
    assert_eq!(identity.legacy_secret_used, None, "labelled today");
    cluster.objects.0[last].3.raw["metadata"] =
        json!({"labels": {"kubernetes.io/legacy-token-invalid-since": "2017-01-01"}});
    assert!(cluster.get(&headers, "/").await.unwrap_err().contains("has been marked invalid"));
    cluster.objects.0[last].3.raw = json!({"data": {"token": BASE64_STANDARD.encode("other")}});
    assert_eq!(
        cluster.get(&headers, "/").await.unwrap_err(),
        "[invalid bearer token, Token does not match server's copy]"
    );
}

#[test]
fn errors_aggregate_as_upstream() {
    let join = |errors: &[&str]| aggregate(&errors.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>());
    assert_eq!(join(&[]), "");
    assert_eq!(join(&["a"]), "a");
    assert_eq!(join(&["a", "b", "a"]), "[a, b]");
    assert_eq!(join(&["a", "a"]), "a");
}

#[test]
fn credentials_are_stripped() {
    let cluster = cluster(Anonymous::Never);
    let mut all =
        headers(&[("authorization", "Bearer x"), ("x-remote-user", "x"), ("x-remote-extra-a", "x"), ("accept", "x")]);
    cluster.authenticators.strip_credentials(&mut all);
    assert_eq!(all.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
}
