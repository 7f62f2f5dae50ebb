//! Whose certificates a webhook may have, and what is said of others in Go's words
//! (crypto/tls and crypto/x509 as k8s.io/client-go/transport@v0.37.2 uses them).
//!
//! Invariant: as Go does, a certificate that is itself among the roots is trusted, if it names the server and is valid.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Where systems keep their roots (Go: crypto/x509/root_linux.go).
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[derive(Debug)]
struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    inner: Arc<WebPkiServerVerifier>,
}

/// A client that trusts the CA (PEM), or without one what the machine trusts, or anybody when it does not verify. It
/// shows the certificate of `identity` to who asks for one.
pub(crate) fn client(
    ca: &[u8],
    insecure: bool,
    identity: Option<Arc<dyn ResolvesClientCert>>,
) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = if insecure { tls::unverified(&provider) } else { verifier(ca, &provider)? };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    // Over HTTP/2 all calls would go to one backend of a service (client.go: hookClientConfig).
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn verifier(ca: &[u8], provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let system;
    let ca = if ca.is_empty() {
        system = SYSTEM_ROOTS.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
        &system
    } else {
        ca
    };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(ca).filter_map(Result::ok).collect();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates.iter().cloned());
    if store.is_empty() {
        return Err("unable to load root certificates: unable to parse bytes as PEM block".into());
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).build();
    let inner = inner.map_err(|error| error.to_string())?;
    Ok(Arc::new(Roots { certificates, inner }))
}

fn at(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap_or_default()))
}

/// A certificate that is not of this time (crypto/x509/verify.go).
fn outside(now: UnixTime, which: &str, bound: UnixTime) -> String {
    let shown = |time: UnixTime| api::time::from_unix(time.as_secs() as i64, 0, false);
    let (now, bound) = (shown(now), shown(bound));
    format!("certificate has expired or is not yet valid: current time {now} is {which} {bound}")
}

impl Roots {
    /// A root that serves: its name and time are checked, there is nothing else to trust it by.
    fn check_root(&self, root: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
        let parsed = webpki::EndEntityCert::try_from(root).map_err(|_| CertificateError::BadEncoding)?;
        let named = parsed.verify_is_valid_for_subject_name(name);
        named.map_err(|_| CertificateError::NotValidForName)?;
        let (_, parsed) = X509Certificate::from_der(root).map_err(|_| CertificateError::BadEncoding)?;
        let (seconds, validity) = (now.as_secs() as i64, parsed.validity());
        match seconds {
            seconds if seconds > validity.not_after.timestamp() => {
                Err(CertificateError::ExpiredContext { time: now, not_after: at(validity.not_after.timestamp()) }
                    .into())
            }
            seconds if seconds < validity.not_before.timestamp() => {
                let not_before = at(validity.not_before.timestamp());
                Err(CertificateError::NotValidYetContext { time: now, not_before }.into())
            }
            _ => Ok(()),
        }
    }
}

impl ServerCertVerifier for Roots {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.inner.verify_server_cert(leaf, between, name, ocsp, now) {
            Err(_) if self.certificates.iter().any(|root| root == leaf) => {
                self.check_root(leaf, name, now).map(|()| ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.inner.verify_tls12_signature(message, leaf, signed) {
            Err(_) if self.certificates.iter().any(|root| root == leaf) => {
                let algorithms = &aws_lc_rs::default_provider().signature_verification_algorithms;
                rustls::crypto::verify_tls12_signature(message, leaf, signed, algorithms)
            }
            verified => verified,
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// What Go says of a failed handshake.
pub(super) fn go_text(error: &Error) -> String {
    let why = match error {
        Error::InvalidCertificate(why) => why,
        Error::InvalidMessage(_) => return "tls: first record does not look like a TLS handshake".into(),
        Error::AlertReceived(alert) => return format!("remote error: tls: {alert:?}"),
        other => return format!("tls: {other}"),
    };
    let what = match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::ExpiredContext { time, not_after } => outside(*time, "after", *not_after),
        CertificateError::NotValidYetContext { time, not_before } => outside(*time, "before", *not_before),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<String> = presented
                .iter()
                .map(|name| name.trim_start_matches("DnsName(\"").trim_end_matches("\")").to_owned())
                .collect();
            let expected = expected.to_str();
            match names.is_empty() {
                true => format!("certificate is not valid for any names, but wanted to match {expected}"),
                false => format!("certificate is valid for {}, not {expected}", names.join(", ")),
            }
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_of_another_time() {
        let (time, bound) = (at(1_800_000_000), at(1_700_000_000));
        let why = CertificateError::ExpiredContext { time, not_after: bound };
        let text = "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2027-01-15T08:00:00Z is after 2023-11-14T22:13:20Z";
        assert_eq!(go_text(&Error::InvalidCertificate(why)), text);
    }
}
