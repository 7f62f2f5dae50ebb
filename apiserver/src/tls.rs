//! TLS as Go's server does it: TLS 1.2+, certificates reloaded when their files change, client
//! certificates asked for but judged per request (an unknown authority is a 401, not a broken handshake).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

/// The serving certificate of a pair of files.
#[derive(Debug)]
struct Reloading {
    cert: PathBuf,
    key: PathBuf,
    loaded: Mutex<(Option<SystemTime>, Arc<CertifiedKey>)>,
}

impl Reloading {
    fn load(cert: &PathBuf, key: &PathBuf) -> Result<Arc<CertifiedKey>, String> {
        let failed = |path: &PathBuf, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert).map_err(|e| failed(cert, &e))?.collect();
        let chain = chain.map_err(|error| failed(cert, &error))?;
        let der = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
        let signer = aws_lc_rs::sign::any_supported_type(&der).map_err(|error| failed(key, &error))?;
        Ok(Arc::new(CertifiedKey::new(chain, signer)))
    }

    fn changed_at(&self) -> Option<SystemTime> {
        std::fs::metadata(&self.cert).and_then(|meta| meta.modified()).ok()
    }
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = self.changed_at();
        let mut loaded = self.loaded.lock();
        if loaded.0 != now {
            match Reloading::load(&self.cert, &self.key) {
                Ok(key) => *loaded = (now, key),
                // Half-written files: the old certificate serves until both fit.
                Err(error) => tracing::warn!(%error, "serving certificate not reloaded"),
            }
        }
        Some(loaded.1.clone())
    }
}

/// Takes any client certificate whose key the client proves to have.
#[derive(Debug)]
struct AnyClient(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The server's TLS configuration for a certificate and key file (PEM).
pub(crate) fn server_config(cert: PathBuf, key: PathBuf) -> Result<ServerConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let first = Reloading::load(&cert, &key)?;
    let reloading = Reloading { cert, key, loaded: Mutex::new((None, first)) };
    reloading.loaded.lock().0 = reloading.changed_at();
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config =
        builder.with_client_cert_verifier(Arc::new(AnyClient(algorithms))).with_cert_resolver(Arc::new(reloading));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
