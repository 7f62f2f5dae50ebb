//! Signed tokens: keys from PEM, key ids, compact JWS signing and verification, JSON Web Keys.
//!
//! The cryptography is aws-lc-rs directly and not the jsonwebtoken crate: upstream signs and accepts ES512, which that
//! crate has not, and reports claim errors in its own words.
//!
//! Invariant: a key decides which algorithms it verifies, the token's header only chooses among them.
//!
//! Upstream: `pkg/serviceaccount/jwt.go@v1.37.2`, `gopkg.in/go-jose/go-jose.v2@v2.6.3`.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RsaKeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};
use x509_parser::public_key::PublicKey as Parsed;

use super::ConfigError;

/// What go-jose says when a signature does not match, for whatever reason.
const CRYPTO_FAILURE: &str = "go-jose/go-jose: error in cryptographic primitive";
/// The largest token looked at, in bytes; headers are limited by the server anyway, TokenReview bodies are not.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

const OID_P256: &str = "1.2.840.10045.3.1.7";
const OID_P384: &str = "1.3.132.0.34";
const OID_P521: &str = "1.3.132.0.35";

/// The kinds of keys that upstream takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyKind {
    Rsa,
    P256,
    P384,
    P521,
}

impl KeyKind {
    /// The algorithm that this kind of key signs with.
    fn algorithm(self) -> &'static str {
        match self {
            KeyKind::Rsa => "RS256",
            KeyKind::P256 => "ES256",
            KeyKind::P384 => "ES384",
            KeyKind::P521 => "ES512",
        }
    }

    /// The verification of an algorithm named in a token's header, when this kind of key can do it.
    fn verification(self, algorithm: &str) -> Option<&'static dyn signature::VerificationAlgorithm> {
        Some(match (self, algorithm) {
            (KeyKind::Rsa, "RS256") => &signature::RSA_PKCS1_2048_8192_SHA256,
            (KeyKind::Rsa, "RS384") => &signature::RSA_PKCS1_2048_8192_SHA384,
            (KeyKind::Rsa, "RS512") => &signature::RSA_PKCS1_2048_8192_SHA512,
            (KeyKind::Rsa, "PS256") => &signature::RSA_PSS_2048_8192_SHA256,
            (KeyKind::Rsa, "PS384") => &signature::RSA_PSS_2048_8192_SHA384,
            (KeyKind::Rsa, "PS512") => &signature::RSA_PSS_2048_8192_SHA512,
            (KeyKind::P256, "ES256") => &signature::ECDSA_P256_SHA256_FIXED,
            (KeyKind::P384, "ES384") => &signature::ECDSA_P384_SHA384_FIXED,
            (KeyKind::P521, "ES512") => &signature::ECDSA_P521_SHA512_FIXED,
            _ => return None,
        })
    }
}

/// A public key that verifies tokens.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey {
    spki: Vec<u8>,
    kind: KeyKind,
    id: String,
}

impl PublicKey {
    fn from_spki(spki: &[u8]) -> Result<Self, ConfigError> {
        let (_, info) =
            SubjectPublicKeyInfo::from_der(spki).map_err(|e| ConfigError::Key(format!("bad public key: {e}")))?;
        let kind = match info.parsed() {
            Ok(Parsed::RSA(_)) => KeyKind::Rsa,
            Ok(Parsed::EC(_)) => curve(&info)?,
            _ => return Err(ConfigError::Key("unknown public key type, must be RSA or ECDSA".into())),
        };
        Ok(PublicKey { spki: spki.to_vec(), kind, id: key_id(spki) })
    }

    /// Of numbers that a JSON Web Key holds; `id` is what it calls itself, which may be nothing.
    ///
    /// # Errors
    /// The numbers make no key that upstream takes.
    pub(crate) fn of_jwk(spki: &[u8], id: String) -> Result<Self, ConfigError> {
        Ok(PublicKey { id, ..PublicKey::from_spki(spki)? })
    }

    /// The `kid` of tokens signed by this key: a digest, so that it cannot be used in place of the key.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The algorithm that tokens of this key are signed with.
    pub(crate) fn algorithm(&self) -> &'static str {
        self.kind.algorithm()
    }

    pub(crate) fn verify(&self, token: &Compact) -> Result<(), String> {
        let algorithm = self.kind.verification(&token.header.alg).ok_or_else(|| CRYPTO_FAILURE.to_owned())?;
        let key = UnparsedPublicKey::new(algorithm, &self.spki);
        key.verify(token.signed.as_bytes(), &token.signature).map_err(|_| CRYPTO_FAILURE.to_owned())
    }

    /// The JSON Web Key as go-jose writes it.
    pub(crate) fn jwk(&self) -> Jwk {
        let (_, info) = SubjectPublicKeyInfo::from_der(&self.spki).expect("parsed when the key was made");
        let number = |bytes: &[u8]| Some(BASE64_URL_SAFE_NO_PAD.encode(bytes));
        let mut jwk = Jwk { r#use: "sig", kid: self.id.clone(), alg: self.algorithm(), ..Jwk::default() };
        match info.parsed().expect("parsed when the key was made") {
            Parsed::RSA(rsa) => {
                jwk.kty = "RSA";
                jwk.n = number(without_leading_zeros(rsa.modulus));
                jwk.e = number(without_leading_zeros(rsa.exponent));
            }
            Parsed::EC(point) => {
                let coordinates = &point.data()[1..];
                let (x, y) = coordinates.split_at(coordinates.len() / 2);
                jwk.kty = "EC";
                jwk.crv = Some(match self.kind {
                    KeyKind::P384 => "P-384",
                    KeyKind::P521 => "P-521",
                    _ => "P-256",
                });
                (jwk.x, jwk.y) = (number(x), number(y));
            }
            _ => {}
        }
        jwk
    }
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().position(|b| *b != 0).unwrap_or(0)..]
}

fn curve(info: &SubjectPublicKeyInfo<'_>) -> Result<KeyKind, ConfigError> {
    let oid = info.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok()).map(|oid| oid.to_id_string());
    match oid.as_deref() {
        Some(OID_P256) => Ok(KeyKind::P256),
        Some(OID_P384) => Ok(KeyKind::P384),
        Some(OID_P521) => Ok(KeyKind::P521),
        _ => Err(ConfigError::Key("unknown private key curve, must be 256, 384, or 521".into())),
    }
}

fn key_id(spki: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(spki))
}

/// A JSON Web Key; the field order is go-jose's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Jwk {
    r#use: &'static str,
    kty: &'static str,
    kid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
}

/// A private key that signs tokens.
pub(crate) struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

impl SigningKey {
    /// Reads the first private key of a PEM file (`--service-account-signing-key-file`).
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, ConfigError> {
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = section.map_err(|e| ConfigError::Key(format!("bad PEM: {e}")))?;
            if let Some(key) = signing_key(kind, &der)? {
                return Ok(key);
            }
        }
        Err(ConfigError::Key("data does not contain a valid RSA or ECDSA private key".into()))
    }

    #[cfg(test)]
    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The compact serialization of the claims, signed.
    pub(crate) fn sign(&self, claims: &serde_json::Value) -> Result<String, ConfigError> {
        let header = serde_json::json!({"alg": self.public.algorithm(), "kid": self.public.id()});
        let encode = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.signature(signed.as_bytes())?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, ConfigError> {
        let failed = |_| ConfigError::Key("signing failed".into());
        let rng = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &rng, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::Ec(pair) => Ok(pair.sign(&rng, message).map_err(failed)?.as_ref().to_vec()),
        }
    }
}

fn signing_key(kind: SectionKind, der: &[u8]) -> Result<Option<SigningKey>, ConfigError> {
    let rsa = match kind {
        SectionKind::RsaPrivateKey => RsaKeyPair::from_der(der).ok(),
        SectionKind::PrivateKey => RsaKeyPair::from_pkcs8(der).ok(),
        SectionKind::EcPrivateKey => None,
        _ => return Ok(None),
    };
    if let Some(pair) = rsa {
        let spki = spki(pair.public_key())?;
        return Ok(Some(SigningKey { pair: Pair::Rsa(Box::new(pair)), public: PublicKey::from_spki(&spki)? }));
    }
    let curves: [&'static EcdsaSigningAlgorithm; 3] = [
        &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
    ];
    let pair = curves.iter().find_map(|curve| EcdsaKeyPair::from_private_key_der(curve, der).ok());
    let Some(pair) = pair else {
        return Err(ConfigError::Key("data does not contain a valid RSA or ECDSA private key".into()));
    };
    let spki = spki(pair.public_key())?;
    Ok(Some(SigningKey { pair: Pair::Ec(pair), public: PublicKey::from_spki(&spki)? }))
}

fn spki<K: AsDer<PublicKeyX509Der<'static>>>(key: &K) -> Result<Vec<u8>, ConfigError> {
    let der = key.as_der().map_err(|_| ConfigError::Key("failed to serialize public key to DER format".into()))?;
    Ok(der.as_ref().to_vec())
}

/// Every key of a PEM file (`--service-account-key-file`): public keys, certificates, or private keys.
pub(crate) fn public_keys_from_pem(pem: &[u8]) -> Result<Vec<PublicKey>, ConfigError> {
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(|e| ConfigError::Key(format!("bad PEM: {e}")))?;
        match kind {
            SectionKind::PublicKey => keys.push(PublicKey::from_spki(&der)?),
            SectionKind::Certificate => {
                let (_, certificate) =
                    X509Certificate::from_der(&der).map_err(|e| ConfigError::Key(format!("bad certificate: {e}")))?;
                keys.push(PublicKey::from_spki(certificate.public_key().raw)?);
            }
            _ => keys.extend(signing_key(kind, &der)?.map(|key| key.public)),
        }
    }
    if keys.is_empty() {
        return Err(ConfigError::Key("data does not contain any valid RSA or ECDSA public keys".into()));
    }
    Ok(keys)
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    alg: String,
    #[serde(default)]
    kid: String,
    /// Extensions that must be understood: none are.
    #[serde(default)]
    crit: Vec<String>,
}

/// A token taken apart, not verified.
pub(crate) struct Compact<'a> {
    header: Header,
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// Takes a compact JWS apart; `None` when it is none.
    pub(crate) fn parse(token: &'a str) -> Option<Self> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        header.crit.is_empty().then_some(Compact { header, signed, payload, signature })
    }

    /// The claims, not to be trusted before [`Self::verify`].
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The algorithm that the header names.
    pub(crate) fn algorithm(&self) -> &str {
        &self.header.alg
    }

    /// The key that the header names, if it does.
    pub(crate) fn key_id(&self) -> &str {
        &self.header.kid
    }

    /// Verifies with the key that the header names, or with any key when it names none.
    pub(crate) fn verify(&self, keys: &[PublicKey]) -> Result<(), String> {
        let kid = &self.header.kid;
        let mut candidates = keys.iter().filter(|key| kid.is_empty() || key.id == *kid).peekable();
        if candidates.peek().is_none() {
            return Err("invalid signature, no keys found".into());
        }
        let mut failure = String::new();
        for key in candidates {
            match key.verify(self) {
                Ok(()) => return Ok(()),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{ec_key_pem, rsa_key_pem};
    use super::*;

    fn keys() -> Vec<(&'static str, SigningKey)> {
        let ec = |alg| SigningKey::from_pem(ec_key_pem(alg).as_bytes()).unwrap();
        vec![
            ("RS256", SigningKey::from_pem(rsa_key_pem().as_bytes()).unwrap()),
            ("ES256", ec(&rcgen::PKCS_ECDSA_P256_SHA256)),
            ("ES384", ec(&rcgen::PKCS_ECDSA_P384_SHA384)),
            ("ES512", ec(&rcgen::PKCS_ECDSA_P521_SHA512)),
        ]
    }

    #[test]
    fn every_key_kind_signs_and_verifies_only_its_own() {
        let keys = keys();
        for (name, key) in &keys {
            assert_eq!(key.public().algorithm(), *name);
            let token = key.sign(&json!({"sub": "me"})).unwrap();
            let compact = Compact::parse(&token).unwrap();
            assert_eq!(compact.payload(), br#"{"sub":"me"}"#);
            assert_eq!(compact.verify(&[key.public().clone()]), Ok(()), "{name}");
            for (other, wrong) in keys.iter().filter(|(other, _)| other != name) {
                let mut impostor = wrong.public().clone();
                assert_eq!(compact.verify(&[impostor.clone()]), Err("invalid signature, no keys found".into()));
                impostor.id.clone_from(&key.public().id);
                assert_eq!(compact.verify(&[impostor]), Err(CRYPTO_FAILURE.into()), "{name} with {other}");
            }
        }
    }

    #[test]
    fn headers_follow_upstream() {
        let (_, key) = keys().remove(0);
        let token = key.sign(&json!({})).unwrap();
        let header = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        let want = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, key.public().id());
        assert_eq!(String::from_utf8(header).unwrap(), want);
    }

    #[test]
    fn a_changed_token_fails() {
        let (_, key) = keys().remove(1);
        let token = key.sign(&json!({"sub": "me"})).unwrap();
        let forged = BASE64_URL_SAFE_NO_PAD.encode(br#"{"sub":"you"}"#);
        let parts: Vec<&str> = token.split('.').collect();
        let forged = format!("{}.{forged}.{}", parts[0], parts[2]);
        let compact = Compact::parse(&forged).unwrap();
        assert_eq!(compact.verify(&[key.public().clone()]), Err(CRYPTO_FAILURE.into()));
        let none = BASE64_URL_SAFE_NO_PAD.encode(br#"{"alg":"none"}"#);
        let unsigned = format!("{none}.{}.", parts[1]);
        assert!(Compact::parse(&unsigned).unwrap().verify(&[key.public().clone()]).is_err());
        for bad in ["", "a.b", "a.b.c", "{}", &format!("{token}.x")] {
            assert!(Compact::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn public_keys_are_read_from_private_and_public_pem() {
        for (name, key) in keys() {
            let spki = base64_text(&key.public().spki);
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n");
            let read = public_keys_from_pem(pem.as_bytes()).unwrap();
            assert_eq!(read[0].id(), key.public().id(), "{name}");
        }
        let both = format!("{}{}", rsa_key_pem(), ec_key_pem(&rcgen::PKCS_ECDSA_P256_SHA256));
        let algorithms: Vec<_> = public_keys_from_pem(both.as_bytes()).unwrap();
        assert_eq!(algorithms.iter().map(PublicKey::algorithm).collect::<Vec<_>>(), ["RS256", "ES256"]);
        assert!(public_keys_from_pem(b"nothing").is_err());
    }

    fn base64_text(bytes: &[u8]) -> String {
        base64::prelude::BASE64_STANDARD.encode(bytes)
    }
}
