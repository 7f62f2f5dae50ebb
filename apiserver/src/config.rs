//! What kube-apiserver is told: the values that its flags stand for, read and checked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::audit::AuditOptions;
use crate::options::{AuthenticationOptions, AuthorizationOptions, Times};

/// The `--requestheader-*` flags.
#[derive(Clone, Debug, Default)]
pub struct RequestHeader {
    /// PEM.
    pub client_ca: Vec<u8>,
    pub allowed_names: Vec<String>,
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_header_prefixes: Vec<String>,
}

/// The `--encryption-provider-config*` flags.
#[derive(Clone, Debug, Default)]
pub struct EncryptionConfig {
    /// --encryption-provider-config
    pub file: Option<PathBuf>,
    /// --encryption-provider-config-automatic-reload
    pub automatic_reload: bool,
}

/// Who may come without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnonymousAuth {
    Never,
    Everywhere,
    /// Only on the health paths; what `keelson up` uses.
    HealthPaths,
}

/// Everything that kube-apiserver is configured with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What /version says (--version=vX.Y.Z...).
    pub git_version: String,
    /// --bind-address, --secure-port
    pub bind_address: IpAddr,
    pub secure_port: u16,
    /// --advertise-address; without one there is no endpoint in default/kubernetes.
    pub advertise_address: Option<IpAddr>,
    /// --tls-cert-file, --tls-private-key-file (PEM files, reloaded when they change)
    pub tls_cert_file: PathBuf,
    pub tls_private_key_file: PathBuf,
    /// --tls-min-version, --tls-cipher-suites, as Go names them; empty for what is usual
    pub tls_min_version: String,
    pub tls_cipher_suites: Vec<String>,
    /// --client-ca-file, PEM text
    pub client_ca: Option<Vec<u8>>,
    pub request_header: Option<RequestHeader>,
    /// --service-account-key-file, PEM texts; --service-account-signing-key-file; --service-account-issuer
    pub service_account_keys: Vec<Vec<u8>>,
    pub service_account_signing_key: Option<Vec<u8>>,
    pub service_account_issuers: Vec<String>,
    pub service_account_jwks_uri: String,
    pub service_account_extend_token_expiration: bool,
    /// --service-account-lookup: legacy tokens count only as long as their secret is there
    pub service_account_lookup: bool,
    /// --api-audiences; empty: the issuers
    pub api_audiences: Vec<String>,
    /// --etcd-prefix: what every key begins with
    pub etcd_prefix: String,
    /// --token-auth-file, its text
    pub static_tokens: Option<String>,
    pub enable_bootstrap_token_auth: bool,
    pub anonymous_auth: AnonymousAuth,
    pub authentication: AuthenticationOptions,
    /// --authorization-mode: AlwaysAllow, AlwaysDeny, Node, RBAC, Webhook in order
    pub authorization_modes: Vec<String>,
    pub authorization: AuthorizationOptions,
    /// --service-cluster-ip-range
    pub service_cidrs: Vec<IpNet>,
    /// --service-node-port-range, first and last
    pub service_node_ports: (u16, u16),
    pub enable_admission_plugins: Vec<String>,
    pub disable_admission_plugins: Vec<String>,
    /// --runtime-config: `group/version` or `api/all`, ... to true or false
    pub runtime_config: BTreeMap<String, bool>,
    /// --kubelet-client-certificate, --kubelet-client-key, --kubelet-certificate-authority, PEM texts
    pub kubelet_client: Option<(Vec<u8>, Vec<u8>)>,
    pub kubelet_ca: Option<Vec<u8>>,
    /// --kubelet-preferred-address-types
    pub kubelet_address_types: Vec<String>,
    /// --allow-privileged
    pub allow_privileged: bool,
    /// --enable-priority-and-fairness; without it the two limits hold each for its kind of requests
    pub enable_priority_and_fairness: bool,
    /// --max-requests-inflight, --max-mutating-requests-inflight: their sum is what priority and fairness divides
    pub max_requests_inflight: usize,
    pub max_mutating_requests_inflight: usize,
    /// What is encrypted in the store, and how
    pub encryption: EncryptionConfig,
    /// What the server is told of other API servers.
    pub aggregator: crate::aggregation::Config,
    pub times: Times,
    /// --audit-*
    pub audit: AuditOptions,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            git_version: concat!("v", env!("CARGO_PKG_VERSION"), "+keelson").into(),
            bind_address: IpAddr::from([0, 0, 0, 0]),
            secure_port: 6443,
            advertise_address: None,
            tls_cert_file: PathBuf::new(),
            tls_private_key_file: PathBuf::new(),
            tls_min_version: String::new(),
            tls_cipher_suites: Vec::new(),
            client_ca: None,
            request_header: None,
            service_account_keys: Vec::new(),
            service_account_signing_key: None,
            service_account_issuers: Vec::new(),
            service_account_jwks_uri: String::new(),
            service_account_extend_token_expiration: true,
            service_account_lookup: true,
            api_audiences: Vec::new(),
            etcd_prefix: crate::registry::DEFAULT_ROOT.into(),
            static_tokens: None,
            enable_bootstrap_token_auth: false,
            anonymous_auth: AnonymousAuth::Everywhere,
            authentication: AuthenticationOptions::default(),
            authorization_modes: vec!["RBAC".into()],
            authorization: AuthorizationOptions::default(),
            service_cidrs: Vec::new(),
            service_node_ports: (30000, 32767),
            enable_admission_plugins: Vec::new(),
            disable_admission_plugins: Vec::new(),
            runtime_config: BTreeMap::new(),
            kubelet_client: None,
            kubelet_ca: None,
            kubelet_address_types: ["Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"]
                .map(Into::into)
                .into(),
            allow_privileged: false,
            enable_priority_and_fairness: true,
            max_requests_inflight: 400,
            max_mutating_requests_inflight: 200,
            encryption: EncryptionConfig::default(),
            aggregator: Default::default(),
            times: Times::default(),
            audit: AuditOptions::default(),
        }
    }
}

impl Config {
    /// Whether a version is served: --runtime-config, most specific entry first, else GA only
    /// (k8s.io/apiserver/pkg/server/resourceconfig/helpers.go@v0.37.2).
    pub(crate) fn serves(&self, resource: &api::facts::Resource) -> bool {
        let version = resource.api_version();
        let specific = format!("{version}/{}", resource.plural);
        let class = match () {
            _ if resource.version.contains("alpha") => "api/alpha",
            _ if resource.version.contains("beta") => "api/beta",
            _ => "api/ga",
        };
        let named = [specific.as_str(), version.as_str(), class, "api/all"];
        let set = named.iter().find_map(|name| self.runtime_config.get(*name).copied());
        set.unwrap_or_else(|| resource.served_by_default())
    }
}
