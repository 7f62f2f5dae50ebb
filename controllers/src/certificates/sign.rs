//! Signs a request: subject, key and names are the request's, all else is policy
//! (pkg/controller/certificates/authority/{authority,policies}.go@v1.37.2).
//!
//! The certificate is put together here, byte for byte, because subjects may name several organizations, which rcgen's
//! own type cannot hold. Invariant: a request is signed only when its own signature holds.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, SigningKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::request::Request;

/// How far before now a certificate begins, for clocks that differ.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// Certificates that live shorter end when asked, not [`BACKDATE`] before.
const SHORT: SignedDuration = SignedDuration::from_hours(8);
/// Bytes of a serial number.
pub(super) const SERIAL_BYTES: usize = 16;
/// Bit of each key usage (RFC 5280, 4.2.1.3).
const KEY_USAGES: [(&str, u32); 10] = [
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];
/// Object identifier of each extended key usage, in the order certificates have them.
const EXTENDED_USAGES: [(&str, &[u8]); 13] = [
    ("any", &[0x55, 0x1d, 0x25, 0x00]),
    ("server auth", &[0x2b, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[0x2b, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[0x2b, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[0x2b, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[0x2b, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[0x2b, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[0x2b, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[0x2b, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[0x2b, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[0x2b, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 0x0a, 3, 3]),
    ("netscape sgc", &[0x60, 0x86, 0x48, 1, 0x86, 0xf8, 0x42, 4, 1]),
];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const CONTEXT: u8 = 0x80;
const CONTEXT_CONSTRUCTED: u8 = 0xa0;

/// The authority that signs.
pub(super) struct Authority {
    key: KeyPair,
    subject: Vec<u8>,
    key_id: Option<Vec<u8>>,
    not_after: Timestamp,
}

/// What the signer decides on.
pub(super) struct Policy<'a> {
    pub(super) usages: &'a [String],
    pub(super) lifetime: SignedDuration,
    pub(super) now: Timestamp,
    pub(super) serial: [u8; SERIAL_BYTES],
}

impl Authority {
    pub(super) fn parse(cert: &str, key: &str) -> Result<Self, String> {
        let (_, block) = x509_parser::pem::parse_x509_pem(cert.as_bytes()).map_err(|error| error.to_string())?;
        let (_, cert) = X509Certificate::from_der(&block.contents).map_err(|error| error.to_string())?;
        let key_id = cert.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        let not_after = Timestamp::from_second(cert.validity().not_after.timestamp()).map_err(|e| e.to_string())?;
        let key = KeyPair::from_pem(key).map_err(|error| error.to_string())?;
        Ok(Authority { key, subject: cert.subject().as_raw().to_vec(), key_id, not_after })
    }

    /// The certificate, in PEM.
    pub(super) fn sign(&self, request: &Request, policy: &Policy<'_>) -> Result<String, String> {
        let (_, parsed) = X509CertificationRequest::from_der(&request.der)
            .map_err(|error| format!("unable to parse certificate request: {error}"))?;
        parsed
            .verify_signature()
            .map_err(|error| format!("unable to verify certificate request signature: {error}"))?;
        let algorithm = self.algorithm()?;
        let info = &parsed.certification_request_info;
        let body = tlv(
            SEQUENCE,
            &[
                tlv(CONTEXT_CONSTRUCTED, &tlv(INTEGER, &[2])),
                tlv(INTEGER, &positive(&policy.serial)),
                algorithm.to_vec(),
                self.subject.clone(),
                self.validity(policy)?,
                info.subject.as_raw().to_vec(),
                info.subject_pki.raw.to_vec(),
                tlv(CONTEXT_CONSTRUCTED | 3, &tlv(SEQUENCE, &self.extensions(request, policy.usages)?)),
            ]
            .concat(),
        );
        let signature = self.key.sign(&body).map_err(|error| format!("failed to sign certificate: {error}"))?;
        let bits = tlv(BIT_STRING, &[&[0], signature.as_slice()].concat());
        let der = tlv(SEQUENCE, &[body, algorithm.to_vec(), bits].concat());
        Ok(pem(&der))
    }

    /// The AlgorithmIdentifier of our key's signatures.
    fn algorithm(&self) -> Result<&'static [u8], String> {
        let used = self.key.algorithm();
        let known: [(&rcgen::SignatureAlgorithm, &[u8]); 4] = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]),
            (&rcgen::PKCS_ECDSA_P384_SHA384, &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]),
            (&rcgen::PKCS_RSA_SHA256, &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b, 5, 0]),
            (&rcgen::PKCS_ED25519, &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70]),
        ];
        let found = known.into_iter().find(|(algorithm, _)| *algorithm == used);
        found.map(|(_, bytes)| bytes).ok_or_else(|| "failed to sign certificate: unsupported key".into())
    }

    fn validity(&self, policy: &Policy<'_>) -> Result<Vec<u8>, String> {
        let from = policy.now - BACKDATE;
        let lifetime = if policy.lifetime < SHORT { policy.lifetime } else { policy.lifetime - BACKDATE };
        let until = (policy.now + lifetime).min(self.not_after);
        if from >= self.not_after {
            return Err(format!("the signer has expired: NotAfter={}", self.not_after));
        }
        if policy.now >= self.not_after {
            return Err(format!(
                "refusing to sign a certificate that expired in the past: NotAfter={}",
                self.not_after
            ));
        }
        Ok(tlv(SEQUENCE, &[time(from), time(until)].concat()))
    }

    fn extensions(&self, request: &Request, usages: &[String]) -> Result<Vec<u8>, String> {
        let (bits, extended) = split(usages)?;
        let mut all = Vec::new();
        if bits != 0 {
            all.extend(extension(15, true, &key_usage(bits)));
        }
        if !extended.is_empty() {
            all.extend(extension(37, false, &tlv(SEQUENCE, &extended)));
        }
        all.extend(extension(19, true, &tlv(SEQUENCE, &[])));
        if let Some(id) = &self.key_id {
            all.extend(extension(35, false, &tlv(SEQUENCE, &tlv(CONTEXT, id))));
        }
        let names = names(request);
        if !names.is_empty() {
            let unnamed = request.common_name.is_empty() && request.organizations.is_empty();
            all.extend(extension(17, unnamed, &tlv(SEQUENCE, &names)));
        }
        Ok(all)
    }
}

/// Key usages as bits, the first the highest, and extended ones as a list.
fn split(usages: &[String]) -> Result<(u16, Vec<u8>), String> {
    let known = |usage: &String| {
        KEY_USAGES.iter().any(|(name, _)| name == usage) || EXTENDED_USAGES.iter().any(|(name, _)| name == usage)
    };
    let unknown: Vec<String> = usages.iter().filter(|usage| !known(usage)).map(|usage| format!("{usage:?}")).collect();
    if !unknown.is_empty() {
        return Err(format!("unrecognized usage values: [{}]", unknown.join(" ")));
    }
    let has = |name: &str| usages.iter().any(|usage| usage == name);
    let bits = KEY_USAGES.iter().filter(|(name, _)| has(name)).fold(0, |bits, (_, bit)| bits | 0x8000u16 >> bit);
    let mut chosen: Vec<&[u8]> =
        EXTENDED_USAGES.iter().filter(|(name, _)| has(name)).map(|(_, identifier)| *identifier).collect();
    chosen.dedup();
    Ok((bits, chosen.into_iter().flat_map(|identifier| tlv(OBJECT_IDENTIFIER, identifier)).collect()))
}

fn key_usage(bits: u16) -> Vec<u8> {
    let bytes = bits.to_be_bytes();
    let used = if bytes[1] == 0 { &bytes[..1] } else { &bytes[..] };
    let unused = used[used.len() - 1].trailing_zeros() as u8;
    tlv(BIT_STRING, &[&[unused], used].concat())
}

/// The request's alternative names: DNS, email, IP, URI.
fn names(request: &Request) -> Vec<u8> {
    let text = |tag: u8, names: &[String]| -> Vec<u8> {
        names.iter().flat_map(|name| tlv(CONTEXT | tag, name.as_bytes())).collect()
    };
    let addresses: Vec<u8> = request.addresses.iter().flat_map(|address| tlv(CONTEXT | 7, address)).collect();
    [text(2, &request.dns), text(1, &request.emails), addresses, text(6, &request.uris)].concat()
}

/// An extension of the arc 2.5.29.
fn extension(number: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let mark: &[u8] = if critical { &[0x01, 1, 0xff] } else { &[] };
    let identifier = tlv(OBJECT_IDENTIFIER, &[0x55, 0x1d, number]);
    tlv(SEQUENCE, &[identifier.as_slice(), mark, &tlv(OCTET_STRING, value)].concat())
}

/// Tag, length, value (DER).
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = value.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let used = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        out.push(0x80 | used.len() as u8);
        out.extend_from_slice(used);
    }
    out.extend_from_slice(value);
    out
}

/// A number's bytes with the sign bit clear and no needless zeros.
fn positive(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
    let sign: &[u8] = if bytes[start] & 0x80 != 0 { &[0] } else { &[] };
    [sign, &bytes[start..]].concat()
}

/// Two digits of the year until 2049, four after (RFC 5280, 4.1.2.5).
fn time(at: Timestamp) -> Vec<u8> {
    let date = at.to_zoned(TimeZone::UTC);
    let (tag, format) =
        if date.year() < 2050 { (UTC_TIME, "%y%m%d%H%M%SZ") } else { (GENERALIZED_TIME, "%Y%m%d%H%M%SZ") };
    tlv(tag, date.strftime(format).to_string().as_bytes())
}

fn pem(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::super::request::parse;
    use super::*;

    fn authority() -> (Authority, String) {
        let key = KeyPair::generate().expect("key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test-ca");
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let cert = params.self_signed(&key).expect("certificate").pem();
        (Authority::parse(&cert, &key.serialize_pem()).expect("authority"), cert)
    }

    fn request() -> Request {
        let key = KeyPair::generate().expect("key");
        let mut params = rcgen::CertificateParams::new(vec!["node.example".into()]).expect("params");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(rcgen::DnType::CommonName, "system:node:a");
        parse(params.serialize_request(&key).expect("request").pem().expect("PEM").as_bytes()).expect("parsed")
    }

    fn policy(usages: &[String], hours: i64) -> Policy<'_> {
        let now = "2026-06-01T00:00:00Z".parse().expect("time");
        Policy { usages, lifetime: SignedDuration::from_hours(hours), now, serial: [0x80; SERIAL_BYTES] }
    }

    #[test]
    fn a_signed_certificate_is_what_was_asked_for() {
        let (authority, ca) = authority();
        let usages = ["server auth".to_owned(), "digital signature".into(), "key encipherment".into()];
        let signed = authority.sign(&request(), &policy(&usages, 24)).expect("signed");
        let (_, block) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).expect("PEM");
        let (rest, cert) = X509Certificate::from_der(&block.contents).expect("certificate");
        assert!(rest.is_empty());
        let (_, ca_block) = x509_parser::pem::parse_x509_pem(ca.as_bytes()).expect("PEM");
        let (_, ca) = X509Certificate::from_der(&ca_block.contents).expect("certificate");
        cert.verify_signature(Some(ca.public_key())).expect("signature");
        assert_eq!(cert.issuer().as_raw(), ca.subject().as_raw());
        assert_eq!(cert.subject().to_string(), "O=system:nodes, CN=system:node:a");
        let second = |text: &str| text.parse::<Timestamp>().expect("time").as_second();
        assert_eq!(cert.validity().not_before.timestamp(), second("2026-05-31T23:55:00Z"));
        assert_eq!(cert.validity().not_after.timestamp(), second("2026-06-01T23:55:00Z"));
        let usage = cert.key_usage().expect("one").expect("usage").value;
        assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
        let extended = cert.extended_key_usage().expect("one").expect("usage").value;
        assert!(extended.server_auth && !extended.client_auth);
        assert!(!cert.basic_constraints().expect("one").expect("constraints").value.ca);
        let names = cert.subject_alternative_name().expect("one").expect("names").value;
        assert_eq!(names.general_names.len(), 1);
    }

    #[test]
    fn lifetimes_end_with_the_signer() {
        let (authority, _) = authority();
        for (hours, expected) in [(1, "2026-06-01T01:00:00Z"), (24 * 3650, "2030-01-01T00:00:00Z")] {
            let signed = authority.sign(&request(), &policy(&[], hours)).expect("signed");
            let (_, block) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).expect("PEM");
            let (_, cert) = X509Certificate::from_der(&block.contents).expect("certificate");
            let until = Timestamp::from_second(cert.validity().not_after.timestamp()).expect("time");
            assert_eq!(until.to_string(), expected);
        }
        let mut late = policy(&[], 1);
        late.now = "2031-01-01T00:00:00Z".parse().expect("time");
        assert!(authority.sign(&request(), &late).is_err_and(|why| why.starts_with("the signer has expired")));
    }

    #[test]
    fn a_forged_request_is_refused() {
        let (authority, _) = authority();
        let mut forged = request();
        let last = forged.der.len() - 1;
        forged.der[last] ^= 1;
        assert!(authority.sign(&forged, &policy(&[], 1)).is_err());
        let unknown = ["flying".to_owned()];
        let refused = authority.sign(&request(), &policy(&unknown, 1));
        assert_eq!(refused.err().as_deref(), Some("unrecognized usage values: [\"flying\"]"));
    }

    #[test]
    fn numbers_and_lengths() {
        assert_eq!(positive(&[0, 0, 1]), [1]);
        assert_eq!(positive(&[0x80]), [0, 0x80]);
        assert_eq!(positive(&[0, 0]), [0]);
        assert_eq!(tlv(4, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(tlv(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!(key_usage(0xa000), [3, 2, 5, 0xa0]);
    }
}
