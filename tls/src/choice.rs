//! Which versions of TLS a server speaks and with which suites, named as Go names them
//! (k8s.io/component-base/cli/flag/ciphersuites_flag.go@v0.37.2).
//!
//! Invariant: what is older or weaker than TLS 1.2 with ECDHE and an AEAD is never spoken, whatever is asked for.

use rustls::crypto::CryptoProvider;
use rustls::version::TLS13;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// Suites that Go has and that are not spoken here: without forward secrecy, or without an AEAD.
const WEAK: [&str; 16] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];
static NEW: [&SupportedProtocolVersion; 1] = [&TLS13];

/// `--tls-min-version` and `--tls-cipher-suites`; empty for what is usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    pub min_version: String,
    /// Of TLS 1.2; those of 1.3 cannot be chosen.
    pub cipher_suites: Vec<String>,
}

impl Choice {
    /// The versions and suites that are spoken.
    ///
    /// # Errors
    /// Names that Go does not know: upstream's texts.
    pub(crate) fn apply(
        &self,
        provider: &mut CryptoProvider,
    ) -> Result<&'static [&'static SupportedProtocolVersion], String> {
        let suites = self.suites(&provider.cipher_suites)?;
        provider.cipher_suites = suites;
        match self.min_version.as_str() {
            "" | "VersionTLS10" | "VersionTLS11" | "VersionTLS12" => Ok(rustls::DEFAULT_VERSIONS),
            "VersionTLS13" => Ok(&NEW),
            other => Err(format!("unknown tls version {other:?}")),
        }
    }

    fn suites(&self, known: &[SupportedCipherSuite]) -> Result<Vec<SupportedCipherSuite>, String> {
        if self.cipher_suites.is_empty() {
            return Ok(known.to_vec());
        }
        let name = |suite: &SupportedCipherSuite| go_name(suite.suite().as_str().unwrap_or_default()).to_owned();
        for wanted in &self.cipher_suites {
            let full = full_name(wanted);
            if known.iter().any(|suite| name(suite) == full) {
                continue;
            }
            if !WEAK.contains(&full.as_str()) {
                return Err(format!("Cipher suite {wanted} not supported or doesn't exist"));
            }
            tracing::warn!(suite = wanted.as_str(), "an insecure cipher suite is not spoken by this server");
        }
        let chosen = |suite: &&SupportedCipherSuite| {
            let new = is_new(suite);
            new || self.cipher_suites.iter().any(|wanted| full_name(wanted) == name(*suite))
        };
        Ok(known.iter().filter(chosen).copied().collect())
    }
}

/// Of TLS 1.3.
fn is_new(suite: &SupportedCipherSuite) -> bool {
    suite.version().version == rustls::ProtocolVersion::TLSv1_3
}

/// Go names the suites of TLS 1.3 without the 13.
fn go_name(name: &str) -> &str {
    match name {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        name => name,
    }
}

/// Two suites had shorter names once.
fn full_name(name: &str) -> String {
    if name.ends_with("_CHACHA20_POLY1305") { format!("{name}_SHA256") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(min: &str, suites: &[&str], expect: Result<(usize, &[&str]), &str>) {
        let choice =
            Choice { min_version: min.into(), cipher_suites: suites.iter().map(|name| (*name).to_owned()).collect() };
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        let versions = choice.apply(&mut provider).map(<[_]>::len);
        let old = provider.cipher_suites.iter().filter(|suite| !is_new(suite));
        let old: Vec<&str> = old.filter_map(|suite| suite.suite().as_str()).collect();
        let got = versions.as_ref().map(|versions| (*versions, old.as_slice()));
        assert_eq!(got.map_err(String::as_str), expect, "{choice:?}");
    }

    #[test]
    fn versions_and_suites() {
        let aes = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        let chacha = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305";
        check("VersionTLS12", &[aes], Ok((2, &[aes])));
        check("VersionTLS13", &["TLS_AES_128_GCM_SHA256"], Ok((1, &[])));
        check("", &[chacha], Ok((2, &["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"])));
        check("", &[aes, "TLS_RSA_WITH_AES_128_CBC_SHA"], Ok((2, &[aes])));
        check("", &["X"], Err("Cipher suite X not supported or doesn't exist"));
        check("VersionTLS9", &[aes], Err("unknown tls version \"VersionTLS9\""));
    }
}
