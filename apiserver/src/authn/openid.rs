//! The documents that let others verify our tokens: `/.well-known/openid-configuration` and `/openid/v1/jwks`.
//!
//! Upstream: `pkg/serviceaccount/openidmetadata.go@v1.37.2`, `pkg/routes/openidmetadata.go@v1.37.2`.

use std::collections::BTreeSet;

use serde::Serialize;

use super::ConfigError;
use super::jws::{Jwk, PublicKey};

/// Where the discovery document is.
pub(crate) const CONFIG_PATH: &str = "/.well-known/openid-configuration";
/// Where the keys are.
pub(crate) const JWKS_PATH: &str = "/openid/v1/jwks";
/// The content type of the keys.
pub(crate) const JWKS_CONTENT_TYPE: &str = "application/jwk-set+json";
/// For `Cache-Control: public, max-age=`, in seconds.
pub(crate) const MAX_AGE_SECONDS: u32 = 3600;

#[derive(Serialize)]
struct Metadata<'a> {
    issuer: &'a str,
    jwks_uri: &'a str,
    response_types_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: BTreeSet<&'static str>,
}

#[derive(Serialize)]
struct KeySet {
    keys: Vec<Jwk>,
}

/// Both documents, rendered once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Documents {
    pub(crate) configuration: String,
    pub(crate) jwks: String,
}

/// Renders the documents. `jwks_uri` is `--service-account-jwks-uri`, or empty for our own at `external_address`
/// (host and port). An error means that the endpoints are not served; upstream only logs it.
pub(crate) fn documents(
    issuer: &str,
    jwks_uri: &str,
    external_address: &str,
    keys: &[PublicKey],
) -> Result<Documents, ConfigError> {
    check_issuer(issuer)?;
    let error = |text: String| Err(ConfigError::Issuer(text));
    let own = format!("https://{external_address}{JWKS_PATH}");
    let jwks_uri = match (jwks_uri, external_address) {
        ("", "") => {
            return error("either the JWKS URI or the default external address, or both, must be set".into());
        }
        ("", _) => own.as_str(),
        (uri, _) if !uri.starts_with("https://") => {
            return error(format!("jwksURI requires https scheme, parsed as: {uri}"));
        }
        (uri, _) => uri,
    };
    if keys.is_empty() {
        return error("no keys provided for validating keyset".into());
    }
    let metadata = Metadata {
        issuer,
        jwks_uri,
        response_types_supported: ["id_token"],
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: keys.iter().map(PublicKey::algorithm).collect(),
    };
    let render = |result: serde_json::Result<String>| result.expect("strings and lists of strings are JSON");
    Ok(Documents {
        configuration: render(serde_json::to_string(&metadata)),
        jwks: render(serde_json::to_string(&KeySet { keys: keys.iter().map(PublicKey::jwk).collect() })),
    })
}

fn check_issuer(issuer: &str) -> Result<(), ConfigError> {
    let text = match issuer {
        "" => "empty issuer URL".to_owned(),
        url if !url.starts_with("https://") => format!("issuer URL must use https scheme, got: {url}"),
        url if url.contains('#') => format!("issuer URL may not include a fragment, got: {url}"),
        url if url.contains('?') => format!("issuer URL may not include a query, got: {url}"),
        _ => return Ok(()),
    };
    Err(ConfigError::Issuer(text))
}

#[cfg(test)]
mod tests {
    use super::super::jws::SigningKey;
    use super::super::tests::{ec_key_pem, rsa_key_pem};
    use super::*;

    #[test]
    fn documents_follow_upstream() {
        let keys: Vec<PublicKey> = [rsa_key_pem(), ec_key_pem(&rcgen::PKCS_ECDSA_P256_SHA256)]
            .iter()
            .map(|pem| SigningKey::from_pem(pem.as_bytes()).unwrap().public().clone())
            .collect();
        let documents = documents("https://issuer", "", "10.0.0.1:6443", &keys).unwrap();
        assert_eq!(
            documents.configuration,
            r#"{"issuer":"https://issuer","jwks_uri":"https://10.0.0.1:6443/openid/v1/jwks","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256","RS256"]}"#
        );
        let jwks: serde_json::Value = serde_json::from_str(&documents.jwks).unwrap();
        let rsa = &jwks["keys"][0];
        assert_eq!(
            (&rsa["kty"], &rsa["alg"], &rsa["use"], &rsa["e"]),
            (&"RSA".into(), &"RS256".into(), &"sig".into(), &"AQAB".into())
        );
        assert_eq!(rsa["n"].as_str().unwrap().len(), 342, "256 bytes without padding");
        let ec = &jwks["keys"][1];
        assert_eq!((&ec["crv"], ec["x"].as_str().unwrap().len()), (&"P-256".into(), 43));
        let start = format!(r#"{{"keys":[{{"use":"sig","kty":"RSA","kid":"{}","alg":"RS256","n":""#, keys[0].id());
        assert!(documents.jwks.starts_with(&start), "{}", documents.jwks);
    }

    #[test]
    fn bad_issuers_are_refused() {
        let keys = [SigningKey::from_pem(rsa_key_pem().as_bytes()).unwrap().public().clone()];
        for (issuer, jwks, address, want) in [
            ("", "", "a", "empty issuer URL"),
            ("http://x", "", "a", "issuer URL must use https scheme, got: http://x"),
            ("https://x?a", "", "a", "issuer URL may not include a query, got: https://x?a"),
            ("https://x#a", "", "a", "issuer URL may not include a fragment, got: https://x#a"),
            ("https://x", "http://y", "a", "jwksURI requires https scheme, parsed as: http://y"),
            ("https://x", "", "", "either the JWKS URI or the default external address, or both, must be set"),
        ] {
            assert_eq!(documents(issuer, jwks, address, &keys).unwrap_err().to_string(), want);
        }
    }
}
