//! Certificates of files: the serving side as Go's server does it, and what a client shows.
//!
//! Invariant: any certificate whose key the client has passes the handshake; who it stands for is judged per
//! request, so that an unknown authority is a 401 and not a broken connection. Who judges no requests asks for the authorities
//! to be held against it in the handshake (`verifying_server_config`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::choice::Choice;
use crate::signatures::Any;

/// A server with the certificate and key of two PEM files: TLS 1.2 and later, HTTP/2 and HTTP/1.1.
///
/// # Errors
/// The files cannot be read, or do not fit: the path and why.
pub fn server_config(cert: PathBuf, key: PathBuf) -> Result<ServerConfig, String> {
    chosen_server_config(cert, key, &Choice::default())
}

/// As [`server_config`], with the versions and suites that were chosen.
///
/// # Errors
/// Also names of versions and suites that nobody knows.
pub fn chosen_server_config(cert: PathBuf, key: PathBuf, choice: &Choice) -> Result<ServerConfig, String> {
    let mut provider = aws_lc_rs::default_provider();
    let versions = choice.apply(&mut provider)?;
    let any = Arc::new(Any(provider.signature_verification_algorithms));
    serving(Arc::new(Reloading::new(cert, key)?), Arc::new(provider), versions, any)
}

/// As [`chosen_server_config`], with a certificate in memory.
///
/// # Errors
/// A key that is of no known kind, or names of versions and suites that nobody knows.
pub fn made_server_config(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    choice: &Choice,
) -> Result<ServerConfig, String> {
    let mut provider = aws_lc_rs::default_provider();
    let versions = choice.apply(&mut provider)?;
    let any = Arc::new(Any(provider.signature_verification_algorithms));
    let signer = aws_lc_rs::sign::any_supported_type(&key).map_err(|error| error.to_string())?;
    let pair = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], signer));
    serving(Arc::new(pair), Arc::new(provider), versions, any)
}

/// A server that lets nobody in but clients with a certificate of the authorities of a PEM file, as Go's
/// `RequireAndVerifyClientCert`.
///
/// # Errors
/// As [`server_config`].
pub fn verifying_server_config(cert: PathBuf, key: PathBuf, authorities: &Path) -> Result<ServerConfig, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", authorities.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authorities).map_err(|error| failed(&error))? {
        roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let verifier = verifier.map_err(|error| failed(&error))?;
    serving(Arc::new(Reloading::new(cert, key)?), provider, rustls::DEFAULT_VERSIONS, verifier)
}

fn serving(
    resolver: Arc<dyn ResolvesServerCert>,
    provider: Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?;
    let mut config = builder.with_client_cert_verifier(clients).with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificate and key of two PEM files as a client shows them, read again when they change.
///
/// # Errors
/// As [`server_config`].
pub fn client_identity(cert: PathBuf, key: PathBuf) -> Result<Arc<dyn ResolvesClientCert>, String> {
    Ok(Arc::new(Reloading::new(cert, key)?))
}

/// The certificate of a pair of files, read again when they change.
#[derive(Debug)]
struct Reloading {
    cert: PathBuf,
    key: PathBuf,
    loaded: Mutex<(Option<SystemTime>, Arc<CertifiedKey>)>,
}

fn load(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, String> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert).map_err(|e| failed(cert, &e))?.collect();
    let chain = chain.map_err(|error| failed(cert, &error))?;
    let der = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    let signer = aws_lc_rs::sign::any_supported_type(&der).map_err(|error| failed(key, &error))?;
    let pair = CertifiedKey::new(chain, signer);
    match pair.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(failed(cert, &"private key does not match public key"))
        }
        // An algorithm that cannot tell is not held against the pair.
        _ => Ok(Arc::new(pair)),
    }
}

fn changed_at(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for Reloading {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Reloading {
    fn new(cert: PathBuf, key: PathBuf) -> Result<Self, String> {
        // Read before the files: what changes in between is loaded again.
        let changed = changed_at(&cert);
        let loaded = Mutex::new((changed, load(&cert, &key)?));
        Ok(Reloading { cert, key, loaded })
    }

    fn current(&self) -> Arc<CertifiedKey> {
        let now = changed_at(&self.cert);
        let mut loaded = self.loaded.lock();
        if loaded.0 != now {
            match load(&self.cert, &self.key) {
                Ok(key) => *loaded = (now, key),
                // Half-written files: the old certificate serves until both fit.
                Err(error) => tracing::warn!(%error, "certificate not reloaded"),
            }
        }
        loaded.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    /// Writes a new pair; `seconds` tells the files' time.
    fn write(dir: &Path, seconds: u64) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        fs::write(dir.join("key"), made.signing_key.serialize_pem()).expect("written");
        write_cert(dir, &made.cert.pem(), seconds);
        made.cert.der().to_vec()
    }

    fn write_cert(dir: &Path, pem: &str, seconds: u64) {
        fs::write(dir.join("cert"), pem).expect("written");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::options().write(true).open(dir.join("cert")).expect("there").set_modified(time).expect("set");
    }

    #[test]
    fn a_changed_pair_is_served_and_half_of_one_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
        let first = write(dir.path(), 1);
        let pair = Reloading::new(cert, key).expect("loaded");
        let served = || pair.current().cert[0].to_vec();
        assert_eq!(served(), first);
        let second = write(dir.path(), 2);
        assert_eq!(served(), second);
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        write_cert(dir.path(), &other.cert.pem(), 3);
        assert_eq!(served(), second, "its key is another's");
        write_cert(dir.path(), "-----BEGIN CERT", 4);
        assert_eq!(served(), second, "cut short");
    }
}
