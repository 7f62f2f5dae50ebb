//! Certificates for a control plane of a test run: one CA, a serving certificate and client
//! certificates, as kubeadm would make them. They never leave the run's directory.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};

/// The CA of one run; it writes `NAME.crt` and `NAME.key` into its directory.
pub(crate) struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes `ca.crt` and `ca.key` in `dir`.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "keelson-xtask-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(dir.join("ca.crt"), params.self_signed(&key)?.pem())?;
        std::fs::write(dir.join("ca.key"), key.serialize_pem())?;
        Ok(Authority { dir: dir.to_path_buf(), issuer: Issuer::new(params, key) })
    }

    /// A serving certificate for 127.0.0.1 and the kubernetes Service.
    pub(crate) fn server(&self, name: &str, service: Ipv4Addr) -> Result<()> {
        let mut params = CertificateParams::new(vec!["localhost".into(), "kubernetes.default.svc".into()])?;
        for address in [Ipv4Addr::LOCALHOST, service] {
            params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(address)));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(name, "kube-apiserver", None, params)
    }

    /// A client certificate of user `user` in group `group`.
    pub(crate) fn client(&self, name: &str, user: &str, group: &str) -> Result<()> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(name, user, Some(group), params)
    }

    /// A key pair without a certificate: `NAME.key` and `NAME.pub`.
    pub(crate) fn key_pair(&self, name: &str) -> Result<()> {
        let key = KeyPair::generate()?;
        std::fs::write(self.dir.join(format!("{name}.key")), key.serialize_pem())?;
        Ok(std::fs::write(self.dir.join(format!("{name}.pub")), key.public_key_pem())?)
    }

    fn issue(&self, name: &str, user: &str, group: Option<&str>, mut params: CertificateParams) -> Result<()> {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        std::fs::write(self.dir.join(format!("{name}.crt")), certificate.pem())?;
        Ok(std::fs::write(self.dir.join(format!("{name}.key")), key.serialize_pem())?)
    }
}
