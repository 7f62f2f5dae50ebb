//! The serving certificate, and clients that may show one
//! (pkg/kubelet/certificate/kubelet.go, cmd/kubelet/app/server.go@v1.37.2: InitializeTLS).
//!
//! Invariant: any certificate whose key the client has passes the handshake; who it stands for is judged
//! per request, so that an unknown one is a 401 and not a broken connection.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::Error;
use crate::config::Config;

/// Names of the files of a certificate that the kubelet makes for itself, under `pki`.
const OWN_CERT: &str = "kubelet.crt";
const OWN_KEY: &str = "kubelet.key";

pub(super) fn server_config(config: &Config, ips: &[IpAddr]) -> Result<ServerConfig, Error> {
    let files = match (&config.server.tls_cert_file, &config.server.tls_private_key_file) {
        (Some(cert), Some(key)) => (cert.clone(), key.clone()),
        _ => own_files(config, ips)?,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let first = load(&files.0, &files.1)?;
    let resolver = Reloading { loaded: Mutex::new((changed_at(&files.0), first)), files };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Config(error.to_string()))?;
    let mut tls =
        builder.with_client_cert_verifier(Arc::new(AnyClient(algorithms))).with_cert_resolver(Arc::new(resolver));
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// A pair signed by itself, kept for the next start.
fn own_files(config: &Config, ips: &[IpAddr]) -> Result<(PathBuf, PathBuf), Error> {
    let folder = config.root_dir.join("pki");
    let (cert, key) = (folder.join(OWN_CERT), folder.join(OWN_KEY));
    if cert.exists() && key.exists() {
        return Ok((cert, key));
    }
    let io = |what: &Path| {
        let what = what.display().to_string();
        move |source| Error::Io { what, source }
    };
    let mut names = vec![config.hostname().to_owned(), config.node_name.clone()];
    names.dedup();
    names.extend(ips.iter().map(IpAddr::to_string));
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| Error::Config(error.to_string()))?;
    fs::create_dir_all(&folder).map_err(io(&folder))?;
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true);
    let write = |path: &Path, mode, text: String| {
        options.clone().mode(mode).open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(io(path))
    };
    write(&key, 0o600, made.signing_key.serialize_pem())?;
    write(&cert, 0o644, made.cert.pem())?;
    Ok((cert, key))
}

fn load(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, Error> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| Error::Config(format!("{}: {error}", path.display()));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert).map_err(|e| failed(cert, &e))?.collect();
    let der = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    let signer = aws_lc_rs::sign::any_supported_type(&der).map_err(|error| failed(key, &error))?;
    Ok(Arc::new(CertifiedKey::new(chain.map_err(|error| failed(cert, &error))?, signer)))
}

fn changed_at(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

/// The certificate of a pair of files, read again when they change.
#[derive(Debug)]
struct Reloading {
    files: (PathBuf, PathBuf),
    loaded: Mutex<(Option<SystemTime>, Arc<CertifiedKey>)>,
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = changed_at(&self.files.0);
        let mut loaded = self.loaded.lock();
        if loaded.0 != now {
            match load(&self.files.0, &self.files.1) {
                Ok(key) => *loaded = (now, key),
                // Half-written files: the old certificate serves until both fit.
                Err(error) => tracing::warn!(%error, "serving certificate not reloaded"),
            }
        }
        Some(loaded.1.clone())
    }
}

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
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
