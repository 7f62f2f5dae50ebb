//! Client certificates: the chain is verified against the client CA on the request, not in the handshake, so that an
//! unknown CA is a 401 and not a broken connection.
//!
//! Invariant: the common name is the user, every organization is a group, and neither is read before the chain is
//! verified for client authentication at this moment. A verification is remembered for seconds, and never past the
//! expiry of a certificate in the chain.
//!
//! Upstream: `k8s.io/apiserver/pkg/authentication/request/x509/x509.go@v0.37.2`.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::cache::{Verified, digest};
use super::{CREDENTIAL_ID_KEY, ConfigError, Peer, User};

/// The attribute of a subject that carries a user's uid.
const UID_OID: &str = "1.3.6.1.4.1.57683.2";
const OID_COMMON_NAME: &str = "2.5.4.3";
const OID_ORGANIZATION: &str = "2.5.4.10";

/// Client certificates of the cluster's client CA.
pub(super) struct ClientCertificates {
    verifier: Verifier,
}

impl ClientCertificates {
    pub(super) fn new(ca: &[u8]) -> Result<Self, ConfigError> {
        Ok(ClientCertificates { verifier: Verifier::new(ca)? })
    }

    /// `None` without a certificate, or with one that names nobody.
    pub(super) fn authenticate(&self, peer: &Peer, now: jiff::Timestamp) -> Result<Option<User>, String> {
        if peer.certificates.is_empty() {
            return Ok(None);
        }
        let verified = self.verifier.verify(peer, now);
        let subject = verified.as_ref().as_ref().map_err(|refused| refused.described.clone())?;
        subject.user()
    }
}

/// Who a verified certificate belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) common_name: String,
    organizations: Vec<String>,
    uids: Vec<String>,
    credential_id: String,
}

impl Subject {
    fn user(&self) -> Result<Option<User>, String> {
        if self.common_name.is_empty() {
            return Ok(None);
        }
        let uid = match self.uids.as_slice() {
            [] => String::new(),
            [uid] if uid.is_empty() => return Err("UID cannot be an empty string".into()),
            [uid] => uid.clone(),
            many => return Err(format!("expected 1 UID, but found multiple: [{}]", many.join(" "))),
        };
        let extra = BTreeMap::from([(CREDENTIAL_ID_KEY.to_owned(), vec![self.credential_id.clone()])]);
        Ok(Some(User { name: self.common_name.clone(), uid, groups: self.organizations.clone(), extra }))
    }
}

/// Why a chain does not count, with and without the identifiers of the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) bare: String,
    described: String,
}

/// A trust anchor with the dates that webpki does not look at.
struct Anchor {
    anchor: TrustAnchor<'static>,
    not_before: i64,
    not_after: i64,
}

/// Verifies peer chains against one CA bundle.
pub(super) struct Verifier {
    anchors: Vec<Anchor>,
    verified: Verified<Result<Subject, Refused>>,
}

impl Verifier {
    /// Reads a CA bundle in PEM; at least one certificate is needed.
    pub(super) fn new(ca: &[u8]) -> Result<Self, ConfigError> {
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(ca) {
            let certificate = certificate.map_err(|e| ConfigError::Ca(e.to_string()))?;
            let anchor = webpki::anchor_from_trusted_cert(&certificate).map_err(|e| ConfigError::Ca(e.to_string()))?;
            let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|e| ConfigError::Ca(e.to_string()))?;
            let validity = parsed.validity();
            anchors.push(Anchor {
                anchor: anchor.to_owned(),
                not_before: validity.not_before.timestamp(),
                not_after: validity.not_after.timestamp(),
            });
        }
        if anchors.is_empty() {
            return Err(ConfigError::Ca("data does not contain any valid certificates".into()));
        }
        Ok(Verifier { anchors, verified: Verified::new() })
    }

    /// The subject of the peer's certificate, if the chain holds now. The peer must have presented a certificate.
    pub(super) fn verify(&self, peer: &Peer, now: jiff::Timestamp) -> Arc<Result<Subject, Refused>> {
        let key = digest(peer.certificates.iter().map(AsRef::as_ref));
        if let Some(known) = self.verified.get(&key, now) {
            return known;
        }
        let outcome = Arc::new(self.verify_now(peer, now));
        // A refusal is not kept: a certificate that is not valid yet becomes so.
        if outcome.is_ok() {
            self.verified.put(key, outcome.clone(), now, earliest_expiry(peer));
        }
        outcome
    }

    fn verify_now(&self, peer: &Peer, now: jiff::Timestamp) -> Result<Subject, Refused> {
        let refuse = |bare: String, identifier: &str| {
            let described = format!("verifying certificate {identifier} failed: {bare}");
            Refused { bare, described }
        };
        let leaf = &peer.certificates[0];
        let (_, certificate) = X509Certificate::from_der(leaf)
            .map_err(|e| refuse(format!("x509: malformed certificate: {e}"), "SN=0, SKID=, AKID="))?;
        let chain = self.chain(peer, now);
        chain.map_err(|error| refuse(text(&error, &certificate, now), &identifier(&certificate)))?;
        Ok(subject(&certificate, leaf))
    }

    fn chain(&self, peer: &Peer, now: jiff::Timestamp) -> Result<(), webpki::Error> {
        let seconds = now.as_second();
        // Go checks the dates of the root too.
        let valid = self.anchors.iter().filter(|a| (a.not_before..=a.not_after).contains(&seconds));
        let anchors: Vec<TrustAnchor<'static>> = valid.map(|a| a.anchor.clone()).collect();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds.max(0).unsigned_abs()));
        let leaf = EndEntityCert::try_from(&peer.certificates[0])?;
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &peer.certificates[1..],
            time,
            KeyUsage::client_auth(),
            None,
            None,
        )?;
        Ok(())
    }
}

fn earliest_expiry(peer: &Peer) -> Option<jiff::Timestamp> {
    let expiry = |der: &CertificateDer<'_>| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        jiff::Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
    };
    peer.certificates.iter().filter_map(expiry).min()
}

/// Go's words for what webpki found.
fn text(error: &webpki::Error, certificate: &X509Certificate<'_>, now: jiff::Timestamp) -> String {
    let stamp = |seconds: i64| jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default();
    let validity = certificate.validity();
    let expired = "x509: certificate has expired or is not yet valid: current time";
    let now = stamp(now.as_second());
    match error {
        webpki::Error::CertExpired { .. } => {
            format!("{expired} {now} is after {}", stamp(validity.not_after.timestamp()))
        }
        webpki::Error::CertNotValidYet { .. } => {
            format!("{expired} {now} is before {}", stamp(validity.not_before.timestamp()))
        }
        webpki::Error::RequiredEkuNotFoundContext(_) => "x509: certificate specifies an incompatible key usage".into(),
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            "x509: certificate signed by unknown authority".into()
        }
        other => format!("x509: {other}"),
    }
}

/// The numbers that find a certificate again in a log.
fn identifier(certificate: &X509Certificate<'_>) -> String {
    let (mut subject_key, mut authority_key) = (String::new(), String::new());
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => subject_key = colon_hex(id.0),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                authority_key = id.key_identifier.as_ref().map(|id| colon_hex(id.0)).unwrap_or_default();
            }
            _ => {}
        }
    }
    format!("SN={}, SKID={subject_key}, AKID={authority_key}", certificate.serial)
}

fn colon_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
}

fn subject(certificate: &X509Certificate<'_>, der: &[u8]) -> Subject {
    let mut subject = Subject::default();
    for attribute in certificate.subject().iter_attributes() {
        let Ok(value) = attribute.as_str().map(str::to_owned) else { continue };
        match attribute.attr_type().to_id_string().as_str() {
            // As in Go, the last common name counts.
            OID_COMMON_NAME => subject.common_name = value,
            OID_ORGANIZATION => subject.organizations.push(value),
            UID_OID => subject.uids.push(value),
            _ => {}
        }
    }
    let fingerprint: String = Sha256::digest(der).iter().map(|b| format!("{b:02x}")).collect();
    subject.credential_id = format!("X509SHA256={fingerprint}");
    subject
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    };

    use super::*;

    const START: i64 = 1_700_000_000;
    const DAY: i64 = 86_400;

    fn at(offset: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(START + offset).unwrap()
    }

    /// The start, as a day that rcgen can name and the seconds after it.
    fn valid(params: &mut CertificateParams, from: i64, to: i64) {
        let day = rcgen::date_time_ymd(2023, 10, 1);
        let after = |offset: i64| std::time::Duration::from_secs((START - 1_696_118_400 + offset).unsigned_abs());
        (params.not_before, params.not_after) = (day + after(from), day + after(to));
    }

    struct Ca {
        issuer: Issuer<'static, KeyPair>,
        pem: String,
        der: CertificateDer<'static>,
    }

    fn ca(name: &str, days: i64, parent: Option<&Ca>) -> Ca {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        valid(&mut params, -DAY, days * DAY);
        let certificate = match parent {
            Some(parent) => params.signed_by(&key, &parent.issuer).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        Ca { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    fn leaf(ca: &Ca, edit: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "alice");
        params.distinguished_name.push(DnType::OrganizationName, "dev");
        valid(&mut params, 0, DAY);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        edit(&mut params);
        params.signed_by(&key, &ca.issuer).unwrap().der().clone()
    }

    fn peer(certificates: &[&CertificateDer<'static>]) -> Peer {
        Peer { certificates: certificates.iter().map(|c| (*c).clone()).collect(), ..Peer::default() }
    }

    #[test]
    fn users_come_from_verified_subjects() {
        let root = ca("root", 30, None);
        let certificates = ClientCertificates::new(root.pem.as_bytes()).unwrap();
        assert_eq!(certificates.authenticate(&Peer::default(), at(1)), Ok(None));
        let alice = leaf(&root, |_| {});
        let user = certificates.authenticate(&peer(&[&alice]), at(1)).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.groups.as_slice()), ("alice", &["dev".to_owned()][..]));
        let id = &user.extra[CREDENTIAL_ID_KEY][0];
        assert!(id.starts_with("X509SHA256=") && id.len() == 11 + 64, "{id}");
        let any = leaf(&root, |p| p.extended_key_usages.clear());
        assert!(certificates.authenticate(&peer(&[&any]), at(1)).unwrap().is_some(), "no usage means any usage");
        let nobody = leaf(&root, |p| p.distinguished_name.remove(DnType::CommonName).then_some(()).unwrap());
        assert_eq!(certificates.authenticate(&peer(&[&nobody]), at(1)), Ok(None));
        let with_uid =
            leaf(&root, |p| p.distinguished_name.push(DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]), "u-1"));
        assert_eq!(certificates.authenticate(&peer(&[&with_uid]), at(1)).unwrap().unwrap().uid, "u-1");
    }

    #[test]
    fn intermediates_are_followed() {
        let root = ca("root", 30, None);
        let middle = ca("middle", 20, Some(&root));
        let certificates = ClientCertificates::new(root.pem.as_bytes()).unwrap();
        let alice = leaf(&middle, |_| {});
        assert!(certificates.authenticate(&peer(&[&alice]), at(1)).is_err());
        assert!(certificates.authenticate(&peer(&[&alice, &middle.der]), at(1)).unwrap().is_some());
    }

    #[test]
    fn refusals_use_the_words_of_go() {
        let (root, other) = (ca("root", 30, None), ca("other", 30, None));
        let certificates = ClientCertificates::new(root.pem.as_bytes()).unwrap();
        let alice = leaf(&root, |_| {});
        let server = leaf(&root, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        let unknown = "x509: certificate signed by unknown authority";
        let expired = "x509: certificate has expired or is not yet valid: current time";
        let cases = [
            (leaf(&other, |_| {}), at(1), unknown.to_owned()),
            (server, at(1), "x509: certificate specifies an incompatible key usage".to_owned()),
            (alice.clone(), at(DAY + 1), format!("{expired} 2023-11-15T22:13:21Z is after 2023-11-15T22:13:20Z")),
            (alice.clone(), at(-1), format!("{expired} 2023-11-14T22:13:19Z is before 2023-11-14T22:13:20Z")),
            (alice, at(31 * DAY), expired.to_owned()),
        ];
        for (certificate, now, want) in cases {
            let error = certificates.authenticate(&peer(&[&certificate]), now).unwrap_err();
            assert!(error.starts_with("verifying certificate SN=") && error.contains(&want), "{error}\nwant {want}");
        }
        let garbage = CertificateDer::from(vec![1, 2, 3]);
        assert!(certificates.authenticate(&peer(&[&garbage]), at(1)).is_err());
    }

    #[test]
    fn a_verification_is_not_remembered_past_expiry() {
        let root = ca("root", 30, None);
        let certificates = ClientCertificates::new(root.pem.as_bytes()).unwrap();
        let alice = peer(&[&leaf(&root, |_| {})]);
        assert!(certificates.authenticate(&alice, at(DAY - 2)).unwrap().is_some());
        assert!(certificates.authenticate(&alice, at(DAY + 1)).is_err());
    }

    #[test]
    fn expired_roots_and_empty_bundles_do_not_count() {
        let old = ca("old", 1, None);
        let certificates = ClientCertificates::new(old.pem.as_bytes()).unwrap();
        let long = leaf(&old, |p| valid(p, 0, 9 * DAY));
        assert!(certificates.authenticate(&peer(&[&long]), at(1)).unwrap().is_some());
        assert!(certificates.authenticate(&peer(&[&long]), at(2 * DAY)).is_err());
        assert!(ClientCertificates::new(b"").is_err());
    }

    #[test]
    fn unknown_critical_extensions_are_refused() {
        let root = ca("root", 30, None);
        let certificates = ClientCertificates::new(root.pem.as_bytes()).unwrap();
        let odd = leaf(&root, |p| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(true);
            p.custom_extensions.push(extension);
        });
        assert!(certificates.authenticate(&peer(&[&odd]), at(1)).is_err());
    }
}
