//! The cluster's certificates, under kubeadm's file names (cmd/kubeadm/app/phases/certs@v1.37.2).
//!
//! Invariant: authorities are made once and never replaced; what they sign is made again when it nears its
//! end or does not fit any more. Keys are ECDSA P-256, mode 0600. Non-goal: a clock; the time comes in.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use jiff::{Span, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use super::files;
use crate::failure::Failure;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const AUTHORITY_LIFE: i64 = 10 * 365 * DAY;
const LIFE: i64 = 365 * DAY;
/// What ends sooner is made again at the next start.
const RENEW_BEFORE: i64 = 60 * DAY;
/// Clocks of other machines may be behind.
const SKEW: i64 = HOUR;

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Identity {
    pub(crate) fn der(&self) -> Result<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).context("certificate")
    }
}

/// What a certificate is to say.
pub(crate) struct Subject<'a> {
    pub(crate) user: &'a str,
    pub(crate) groups: &'a [&'a str],
    /// Names and addresses it serves; a client's has none.
    pub(crate) hosts: Vec<String>,
}

impl<'a> Subject<'a> {
    pub(crate) fn client(user: &'a str, groups: &'a [&'a str]) -> Self {
        Subject { user, groups, hosts: Vec::new() }
    }
}

/// Signs.
pub(crate) struct Authority {
    pub(crate) cert: String,
    pub(crate) key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The directory `pki`.
pub(crate) struct Pki {
    dir: PathBuf,
    pub(crate) ca: Authority,
    pub(crate) front_proxy_ca: Authority,
    /// Signs service-account tokens.
    pub(crate) service_accounts: KeyPair,
    now: Timestamp,
}

impl Pki {
    /// Opens the directory and makes what is missing.
    pub(crate) fn open(dir: &Path, now: Timestamp) -> Result<Self> {
        let ca = authority(dir, "ca", "kubernetes", now)?;
        let front_proxy_ca = authority(dir, "front-proxy-ca", "front-proxy-ca", now)?;
        let service_accounts = key_pair(dir, "sa")?;
        settle(dir);
        Ok(Pki { dir: dir.into(), ca, front_proxy_ca, service_accounts, now })
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The identity in `NAME.crt` and `NAME.key`, made when absent, near its end, or for something else.
    pub(crate) fn identity(&self, name: &str, by: &Authority, subject: &Subject) -> Result<Identity> {
        let paths = (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")));
        if let (Some(cert), Some(key)) = (files::read(&paths.0)?, files::read(&paths.1)?)
            && fits(&cert, by, subject, self.now).unwrap_or(false)
        {
            return Ok(Identity { cert, key });
        }
        let made = self.passing(by, subject)?;
        if let Some(dir) = paths.0.parent() {
            std::fs::create_dir_all(dir)?;
        }
        // The key first: who sees the new certificate finds its key.
        files::write(&paths.1, made.key.as_bytes(), 0o600, false)?;
        files::write(&paths.0, made.cert.as_bytes(), 0o644, false)?;
        Ok(made)
    }

    /// An identity that is kept nowhere.
    pub(crate) fn passing(&self, by: &Authority, subject: &Subject) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(subject.user, subject.groups);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![match subject.hosts.is_empty() {
            true => ExtendedKeyUsagePurpose::ClientAuth,
            false => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        for host in &subject.hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.as_str().try_into()?),
            });
        }
        (params.not_before, params.not_after) = (instant(self.now, -SKEW)?.into(), instant(self.now, LIFE)?.into());
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &by.issuer)?.pem();
        Ok(Identity { cert, key: key.serialize_pem() })
    }
}

/// Makes what must not be lost survive a power cut. Nobody waits for the disk: a cluster that loses its first
/// moments has lost nothing, and what is cut short is refused by the next start.
fn settle(dir: &Path) {
    let mut paths =
        ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key"].map(|name| dir.join(name)).to_vec();
    paths.push(dir.into());
    std::thread::spawn(move || {
        let sync = |path: &PathBuf| std::fs::File::open(path).and_then(|file| file.sync_all());
        if let Err(error) = paths.iter().try_for_each(sync) {
            tracing::warn!(%error, "the certificate authorities are not durable yet");
        }
    });
}

fn name(user: &str, groups: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for group in groups {
        name.push(DnType::OrganizationName, *group);
    }
    name.push(DnType::CommonName, user);
    name
}

fn instant(now: Timestamp, seconds: i64) -> Result<std::time::SystemTime> {
    Ok(now.checked_add(Span::new().try_seconds(seconds)?)?.into())
}

fn authority(dir: &Path, name: &str, common_name: &str, now: Timestamp) -> Result<Authority> {
    let paths = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    let unusable = |why: String| anyhow!(Failure::new(121, format!("{}: {why}", paths.0.display())));
    let (cert, key) = match (files::read(&paths.0)?, files::read(&paths.1)?) {
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => return Err(unusable(format!("{} is missing", paths.1.display()))),
        (None, Some(_)) => return Err(unusable("it is missing, but its key is there".into())),
        (None, None) => {
            let made = new_authority(common_name, now)?;
            files::write(&paths.1, made.1.as_bytes(), 0o600, false)?;
            files::write(&paths.0, made.0.as_bytes(), 0o644, false)?;
            made
        }
    };
    let pair = KeyPair::from_pem(&key).map_err(|error| unusable(format!("its key: {error}")))?;
    let der = CertificateDer::from_pem_slice(cert.as_bytes()).map_err(|error| unusable(error.to_string()))?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| unusable(error.to_string()))?;
    if parsed.public_key().raw != pair.subject_public_key_info() {
        return Err(unusable("its key belongs to another certificate".into()));
    }
    let issuer = Issuer::from_ca_cert_der(&der, pair).map_err(|error| unusable(error.to_string()))?;
    Ok(Authority { cert, key, issuer })
}

fn new_authority(common_name: &str, now: Timestamp) -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common_name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
    (params.not_before, params.not_after) = (instant(now, -SKEW)?.into(), instant(now, AUTHORITY_LIFE)?.into());
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// `NAME.key` and `NAME.pub`.
fn key_pair(dir: &Path, name: &str) -> Result<KeyPair> {
    let path = dir.join(format!("{name}.key"));
    let pair = match files::read(&path)? {
        Some(text) => {
            KeyPair::from_pem(&text).map_err(|error| Failure::new(121, format!("{}: {error}", path.display())))?
        }
        None => {
            let pair = KeyPair::generate()?;
            files::write(&path, pair.serialize_pem().as_bytes(), 0o600, false)?;
            pair
        }
    };
    let public = dir.join(format!("{name}.pub"));
    let text = pair.public_key_pem();
    if files::read(&public)?.as_deref() != Some(&text) {
        files::write(&public, text.as_bytes(), 0o644, false)?;
    }
    Ok(pair)
}

/// True when a certificate says what it is to say, is signed by the authority and does not end soon.
fn fits(cert: &str, by: &Authority, subject: &Subject, now: Timestamp) -> Result<bool> {
    let der = CertificateDer::from_pem_slice(cert.as_bytes())?;
    let (_, parsed) = X509Certificate::from_der(&der)?;
    let ca = CertificateDer::from_pem_slice(by.cert.as_bytes())?;
    let (_, ca) = X509Certificate::from_der(&ca)?;
    let lasts = parsed.validity().not_after.timestamp() - now.as_second() > RENEW_BEFORE;
    let began = parsed.validity().not_before.timestamp() <= now.as_second();
    let user = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let groups: Vec<&str> = parsed.subject().iter_organization().filter_map(|group| group.as_str().ok()).collect();
    let names = parsed.subject_alternative_name()?.map(|san| hosts(&san.value.general_names)).unwrap_or_default();
    let signed = authority_key(&parsed).is_some_and(|key| Some(key) == subject_key(&ca));
    let serves = subject.hosts.iter().all(|host| names.contains(host));
    Ok(lasts && began && user == Some(subject.user) && groups == subject.groups && signed && serves)
}

/// The key that a certificate says it was signed with.
fn authority_key(cert: &X509Certificate) -> Option<Vec<u8>> {
    cert.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|key| key.0.to_vec()),
        _ => None,
    })
}

fn subject_key(cert: &X509Certificate) -> Option<Vec<u8>> {
    cert.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0.to_vec()),
        _ => None,
    })
}

fn hosts(names: &[GeneralName]) -> BTreeSet<String> {
    let text = |name: &GeneralName| match name {
        GeneralName::DNSName(name) => Some((*name).to_string()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|v4| IpAddr::from(v4).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|v6| IpAddr::from(v6).to_string()),
        },
        _ => None,
    };
    names.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn open(dir: &Path, second: i64) -> Pki {
        Pki::open(dir, Timestamp::from_second(second).expect("in range")).expect("opened")
    }

    fn server(pki: &Pki, hosts: &[&str]) -> String {
        let hosts = hosts.iter().map(|host| (*host).to_string()).collect();
        let subject = Subject { user: "kube-apiserver", groups: &[], hosts };
        pki.identity("apiserver", &pki.ca, &subject).expect("made").cert
    }

    #[test]
    fn identities_are_made_once_and_again_when_they_must() {
        let dir = tempfile::tempdir().expect("a folder");
        let start = 1_800_000_000;
        let first = server(&open(dir.path(), start), &["localhost", "127.0.0.1"]);
        assert_eq!(
            first,
            server(&open(dir.path(), start + 300 * DAY), &["localhost", "127.0.0.1"]),
            "not near its end"
        );
        assert_ne!(first, server(&open(dir.path(), start + 306 * DAY), &["localhost", "127.0.0.1"]), "near its end");
        let second = server(&open(dir.path(), start), &["localhost", "192.0.2.1"]);
        assert_ne!(first, second, "another address");
        assert_eq!(second, server(&open(dir.path(), start), &["localhost"]), "it says more than is asked");
        let mode = |file: &str| std::fs::metadata(dir.path().join(file)).expect("there").permissions().mode() & 0o777;
        assert_eq!([mode("ca.key"), mode("apiserver.key"), mode("sa.key")], [0o600; 3]);
        assert!(dir.path().join("sa.pub").exists() && dir.path().join("front-proxy-ca.crt").exists());
    }

    #[test]
    fn a_lost_authority_is_not_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let pki = open(dir.path(), 1_800_000_000);
        let other = tempfile::tempdir().expect("a folder");
        open(other.path(), 1_800_000_000);
        std::fs::copy(other.path().join("ca.key"), dir.path().join("ca.key")).expect("copied");
        assert_eq!(failure(dir.path()), 121, "the key of another");
        std::fs::remove_file(pki.path("ca.key")).expect("removed");
        assert_eq!(failure(dir.path()), 121, "no key");
    }

    fn failure(dir: &Path) -> u16 {
        let opened = Pki::open(dir, Timestamp::from_second(1_800_000_000).expect("in range"));
        Failure::of(opened.err().expect("refused")).entry.number
    }
}
