//! What the flags of authentication, authorisation and of some times say
//! (pkg/kubeapiserver/options/{authentication,authorization}.go@v1.37.2,
//! k8s.io/apiserver/pkg/server/options/server_run_options.go@v0.37.2).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// `--authentication-config`, `--oidc-*`, `--authentication-token-webhook-*`.
#[derive(Clone, Debug, Default)]
pub struct AuthenticationOptions {
    /// --authentication-config, loaded again when it changes
    pub config_file: Option<PathBuf>,
    /// Whether --anonymous-auth was given, with whatever value.
    pub anonymous_flag_set: bool,
    pub oidc: OidcOptions,
    pub token_webhook: Option<TokenWebhookOptions>,
}

/// `--oidc-*`.
#[derive(Clone, Debug)]
pub struct OidcOptions {
    /// Whether any of the flags was given.
    pub flags_set: bool,
    pub issuer_url: String,
    pub client_id: String,
    pub ca_file: Option<PathBuf>,
    pub username_claim: String,
    pub username_prefix: String,
    pub groups_claim: String,
    pub groups_prefix: String,
    pub signing_algs: Vec<String>,
    pub required_claims: BTreeMap<String, String>,
}

impl Default for OidcOptions {
    fn default() -> Self {
        OidcOptions {
            flags_set: false,
            issuer_url: String::new(),
            client_id: String::new(),
            ca_file: None,
            username_claim: "sub".into(),
            username_prefix: String::new(),
            groups_claim: String::new(),
            groups_prefix: String::new(),
            signing_algs: vec!["RS256".into()],
            required_claims: BTreeMap::new(),
        }
    }
}

/// `--authentication-token-webhook-*`.
#[derive(Clone, Debug)]
pub struct TokenWebhookOptions {
    /// A kubeconfig.
    pub config_file: PathBuf,
    /// Of TokenReview: v1 or v1beta1.
    pub version: String,
    pub cache_ttl: Duration,
}

/// `--authorization-config`, `--authorization-webhook-*`; the modes are a field of the configuration itself.
#[derive(Clone, Debug)]
pub struct AuthorizationOptions {
    /// --authorization-config, loaded again when it changes
    pub config_file: Option<PathBuf>,
    /// Whether any flag was given that this file takes the place of.
    pub flags_set: bool,
    /// --authorization-policy-file, which is of no use here: ABAC is not offered.
    pub policy_file: Option<PathBuf>,
    /// A kubeconfig.
    pub webhook_config_file: Option<PathBuf>,
    /// Of SubjectAccessReview: v1 or v1beta1.
    pub webhook_version: String,
    pub webhook_authorized_ttl: Duration,
    pub webhook_unauthorized_ttl: Duration,
}

impl Default for AuthorizationOptions {
    fn default() -> Self {
        AuthorizationOptions {
            config_file: None,
            flags_set: false,
            policy_file: None,
            webhook_config_file: None,
            webhook_version: "v1beta1".into(),
            webhook_authorized_ttl: Duration::from_secs(300),
            webhook_unauthorized_ttl: Duration::from_secs(30),
        }
    }
}

/// Flags about how long things may last.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// --min-request-timeout: a watch that asks for no time ends between this and twice this; zero: never
    pub min_request: Duration,
    /// --event-ttl
    pub event: Duration,
    /// --default-not-ready-toleration-seconds
    pub not_ready_toleration_seconds: i64,
    /// --default-unreachable-toleration-seconds
    pub unreachable_toleration_seconds: i64,
    /// --service-account-max-token-expiration; zero: any
    pub max_token: Duration,
    /// --shutdown-delay-duration
    pub shutdown_delay: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            min_request: Duration::from_secs(1800),
            event: Duration::from_secs(3600),
            not_ready_toleration_seconds: 300,
            unreachable_toleration_seconds: 300,
            max_token: Duration::ZERO,
            shutdown_delay: Duration::ZERO,
        }
    }
}
