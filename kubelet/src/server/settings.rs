//! What the server is told: the part of KubeletConfiguration v1beta1 about it
//! (pkg/kubelet/apis/config/v1beta1/defaults.go@v1.37.2).

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    AlwaysAllow,
    /// By SubjectAccessReview.
    Webhook,
}

/// The server of a node.
#[derive(Clone, Debug)]
pub struct Settings {
    pub address: IpAddr,
    /// Without a certificate one is made and signed by itself, in `pki` under the root directory.
    pub tls_cert_file: Option<PathBuf>,
    pub tls_private_key_file: Option<PathBuf>,
    /// Whose client certificates count.
    pub client_ca_file: Option<PathBuf>,
    pub anonymous: bool,
    /// Tokens are asked about by TokenReview.
    pub token_review: bool,
    pub token_review_ttl: Duration,
    pub authorization: Authorization,
    pub authorized_ttl: Duration,
    pub unauthorized_ttl: Duration,
    pub debugging_handlers: bool,
    pub system_log_handler: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            address: Ipv4Addr::UNSPECIFIED.into(),
            tls_cert_file: None,
            tls_private_key_file: None,
            client_ca_file: None,
            anonymous: false,
            token_review: true,
            token_review_ttl: Duration::from_secs(120),
            authorization: Authorization::Webhook,
            authorized_ttl: Duration::from_secs(300),
            unauthorized_ttl: Duration::from_secs(30),
            debugging_handlers: true,
            system_log_handler: true,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct File {
    address: Option<IpAddr>,
    tls_cert_file: Option<PathBuf>,
    tls_private_key_file: Option<PathBuf>,
    authentication: Authentication,
    authorization: AuthorizationFile,
    enable_debugging_handlers: Option<bool>,
    enable_system_log_handler: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Authentication {
    x509: X509,
    webhook: AuthenticationWebhook,
    anonymous: Anonymous,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct X509 {
    #[serde(rename = "clientCAFile")]
    client_ca_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthenticationWebhook {
    enabled: Option<bool>,
    #[serde(rename = "cacheTTL")]
    cache_ttl: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Anonymous {
    enabled: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthorizationFile {
    mode: Option<String>,
    webhook: AuthorizationWebhook,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthorizationWebhook {
    #[serde(rename = "cacheAuthorizedTTL")]
    authorized: Option<String>,
    #[serde(rename = "cacheUnauthorizedTTL")]
    unauthorized: Option<String>,
}

impl Settings {
    pub(crate) fn take(&mut self, file: File, duration: impl Fn(&str) -> Result<Duration, Error>) -> Result<(), Error> {
        let given = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        self.address = file.address.unwrap_or(self.address);
        self.tls_cert_file = given(file.tls_cert_file).or(self.tls_cert_file.take());
        self.tls_private_key_file = given(file.tls_private_key_file).or(self.tls_private_key_file.take());
        self.client_ca_file = given(file.authentication.x509.client_ca_file).or(self.client_ca_file.take());
        self.anonymous = file.authentication.anonymous.enabled.unwrap_or(self.anonymous);
        self.token_review = file.authentication.webhook.enabled.unwrap_or(self.token_review);
        self.debugging_handlers = file.enable_debugging_handlers.unwrap_or(self.debugging_handlers);
        self.system_log_handler = file.enable_system_log_handler.unwrap_or(self.system_log_handler);
        self.authorization = match file.authorization.mode.as_deref() {
            None | Some("") => self.authorization,
            Some("Webhook") => Authorization::Webhook,
            Some("AlwaysAllow") => Authorization::AlwaysAllow,
            Some(other) => return Err(Error::Config(format!("unknown authorization mode {other}"))),
        };
        let webhook = file.authorization.webhook;
        for (to, from) in [
            (&mut self.token_review_ttl, file.authentication.webhook.cache_ttl),
            (&mut self.authorized_ttl, webhook.authorized),
            (&mut self.unauthorized_ttl, webhook.unauthorized),
        ] {
            // Zero means the default, as upstream.
            let wanted = from.as_deref().map(&duration).transpose()?;
            *to = wanted.filter(|wanted| !wanted.is_zero()).unwrap_or(*to);
        }
        Ok(())
    }
}
