//! The keys that an issuer publishes (RFC 7517; `gopkg.in/go-jose/go-jose.v2/jwk.go@v2.6.3`).
//!
//! Invariant: a set is taken as a whole or not at all. Keys of kinds that sign no token that is accepted are passed over.
//! Non-goal: certificates beside the keys.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::authn::jws::PublicKey;

/// DER of the object identifiers of key kinds and curves.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const NULL: u8 = 0x05;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

#[derive(Deserialize)]
struct Set {
    #[serde(default)]
    keys: Vec<Key>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Key {
    kty: String,
    kid: String,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
}

/// Reads a key set.
///
/// # Errors
/// No JSON, a key of an unknown kind, a key that is none: go-jose's texts where they are known.
pub(super) fn read(text: &[u8]) -> Result<Vec<PublicKey>, String> {
    let set: Set = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let keys: Result<Vec<Option<PublicKey>>, String> = set.keys.into_iter().map(key).collect();
    Ok(keys?.into_iter().flatten().collect())
}

fn key(key: Key) -> Result<Option<PublicKey>, String> {
    let spki = match key.kty.as_str() {
        "RSA" => rsa(&key)?,
        "EC" => ec(&key)?,
        // Symmetric and Edwards keys are keys, but no algorithm that is accepted uses them.
        "oct" | "OKP" => return Ok(None),
        other => return Err(format!("go-jose/go-jose: unknown json web key type '{other}'")),
    };
    PublicKey::of_jwk(&spki, key.kid)
        .map(Some)
        .map_err(|error| format!("go-jose/go-jose: invalid {} key: {error}", key.kty))
}

fn number(text: &str, what: &str) -> Result<Vec<u8>, String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| error.to_string())?;
    if bytes.is_empty() { Err(format!("go-jose/go-jose: invalid {what} key, missing values")) } else { Ok(bytes) }
}

fn rsa(key: &Key) -> Result<Vec<u8>, String> {
    let numbers = [integer(&number(&key.n, "RSA")?), integer(&number(&key.e, "RSA")?)].concat();
    Ok(spki(&[tlv(OBJECT_ID, RSA), tlv(NULL, &[])], &tlv(SEQUENCE, &numbers)))
}

fn ec(key: &Key) -> Result<Vec<u8>, String> {
    let (curve, size) = match key.crv.as_str() {
        "P-256" => (P256, 32),
        "P-384" => (P384, 48),
        "P-521" => (P521, 66),
        other => return Err(format!("go-jose/go-jose: unsupported elliptic curve '{other}'")),
    };
    let (x, y) = (number(&key.x, "EC")?, number(&key.y, "EC")?);
    if x.len() != size || y.len() != size {
        return Err("go-jose/go-jose: invalid EC public key, wrong length for x".into());
    }
    Ok(spki(&[tlv(OBJECT_ID, EC), tlv(OBJECT_ID, curve)], &[&[4], x.as_slice(), y.as_slice()].concat()))
}

/// SubjectPublicKeyInfo: the kind of key, and the key.
fn spki(kind: &[Vec<u8>], key: &[u8]) -> Vec<u8> {
    let bits = [&[0], key].concat();
    tlv(SEQUENCE, &[tlv(SEQUENCE, &kind.concat()), tlv(BIT_STRING, &bits)].concat())
}

/// A positive number.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len().saturating_sub(1));
    let bytes = &bytes[start..];
    let sign: &[u8] = if bytes.first().is_some_and(|byte| *byte >= 0x80) { &[0] } else { &[] };
    tlv(INTEGER, &[sign, bytes].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut out = vec![tag];
    if content.len() >= 0x80 {
        out.push(0x80 | significant.len() as u8);
    }
    out.extend_from_slice(significant);
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::jws::{Compact, SigningKey};
    use crate::authn::tests::{ec_key_pem, rsa_key_pem};

    #[test]
    fn published_keys_verify_what_they_signed() {
        let ec = |algorithm| ec_key_pem(algorithm);
        let pems = [
            rsa_key_pem(),
            ec(&rcgen::PKCS_ECDSA_P256_SHA256),
            ec(&rcgen::PKCS_ECDSA_P384_SHA384),
            ec(&rcgen::PKCS_ECDSA_P521_SHA512),
        ];
        for pem in pems {
            let signing = SigningKey::from_pem(pem.as_bytes()).expect("a key");
            let published = serde_json::json!({"keys": [signing.public().jwk(), {"kty": "oct", "k": "AA"}]});
            let read = read(published.to_string().as_bytes()).expect("read");
            let token = signing.sign(&serde_json::json!({"a": 1})).expect("signed");
            let token = Compact::parse(&token).expect("a token");
            assert_eq!((read.len(), read[0].verify(&token)), (1, Ok(())), "{}", token.algorithm());
            assert_eq!(read[0].id(), token.key_id());
        }
    }

    #[test]
    fn sets_that_are_none() {
        let check =
            |text: &str, expect: &str| assert_eq!(read(text.as_bytes()).err().as_deref(), Some(expect), "{text}");
        check(r#"{"keys":[{"kty":"XX"}]}"#, "go-jose/go-jose: unknown json web key type 'XX'");
        check(r#"{"keys":[{"kty":"RSA","n":"AQ"}]}"#, "go-jose/go-jose: invalid RSA key, missing values");
        check(r#"{"keys":[{"kty":"EC","crv":"P-1"}]}"#, "go-jose/go-jose: unsupported elliptic curve 'P-1'");
        assert!(read(b"no").is_err());
        assert_eq!(read(b"{}").map(|keys| keys.len()), Ok(0));
    }
}
