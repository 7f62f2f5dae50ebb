//! The authenticators that flags and `--authentication-config` ask for
//! (pkg/kubeapiserver/options/authentication.go@v1.37.2: Validate, ToAuthenticationConfig).
//!
//! Invariant: what upstream does not start with is refused in its words.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::jwt::config::{AnonymousConfig, AuthenticationConfiguration};
use super::jwt::metrics::Metrics;
use super::jwt::{ALGORITHMS, JwtAuthenticators, Making, validate};
use super::reload::Reloader;
use super::text::quote;
use super::token_webhook::TokenWebhook;
use super::{Anonymous, aggregate};
use crate::configuration::{self, metrics::Reloads};
use crate::options::{AuthenticationOptions, OidcOptions, TokenWebhookOptions};
use crate::webhook::Version;
use crate::webhook::kubeconfig::Kubeconfig;
use crate::webhook::remote::{Remote, TIMEOUT};

/// What the options come to.
pub(crate) struct Made {
    pub(crate) jwt: Option<Arc<ArcSwap<JwtAuthenticators>>>,
    pub(crate) token_webhook: Option<Arc<TokenWebhook>>,
    /// What the file says of callers without credentials, if it says anything.
    pub(crate) anonymous: Option<Anonymous>,
    pub(crate) reloader: Option<Reloader>,
}

/// What the options are read with.
pub(crate) struct Around<'a> {
    /// Issuers of service account tokens.
    pub(crate) issuers: &'a [String],
    pub(crate) audiences: Vec<String>,
    pub(crate) metrics: Metrics,
    pub(crate) reloads: Reloads,
}

/// Reads the options and the files that they name.
///
/// # Errors
/// Upstream's texts.
pub(crate) fn make(options: &AuthenticationOptions, around: Around<'_>) -> Result<Made, String> {
    check_oidc(options)?;
    let (config, text) = configured(options)?;
    let anonymous = match &config.anonymous {
        Some(_) if options.anonymous_flag_set => {
            let why = "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file";
            return Err(format!("anonymous: Forbidden: {why}"));
        }
        of_file => of_file.as_ref().map(admitted),
    };
    let errors = validate::configuration(&config, &[]);
    if !errors.is_empty() {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return Err(format!("invalid authentication configuration: {}", aggregate(&texts)));
    }
    let file = options.config_file.as_ref();
    let algorithms = match file {
        Some(_) => ALGORITHMS.map(Into::into).into(),
        None => options.oidc.signing_algs.clone(),
    };
    let making = Making { algorithms, disallowed: around.issuers.to_vec(), metrics: around.metrics };
    let jwt =
        (file.is_some() || !config.jwt.is_empty()).then(|| JwtAuthenticators::new(&config, &making)).transpose()?;
    let jwt = jwt.map(|jwt| Arc::new(ArcSwap::from_pointee(jwt)));
    let reloader = file.zip(jwt.clone()).map(|(path, current)| {
        around.reloads.applied(&text);
        let counted = around.reloads;
        Reloader { path: path.clone(), making, current, anonymous: config.anonymous, seen: text, counted }
    });
    let webhook = options.token_webhook.as_ref().map(|options| token_webhook(options, around.audiences));
    Ok(Made { jwt, token_webhook: webhook.transpose()?, anonymous, reloader })
}

/// The file's configuration and its text, or what the flags make of it.
fn configured(options: &AuthenticationOptions) -> Result<(AuthenticationConfiguration, Vec<u8>), String> {
    if let Some(path) = &options.config_file {
        let read = configuration::read(path).and_then(|text| Ok((AuthenticationConfiguration::decode(&text)?, text)));
        let shown = quote(&path.display().to_string());
        return read.map_err(|why| format!("failed to load authentication configuration from file {shown}: {why}"));
    }
    let OidcOptions { issuer_url, client_id, ca_file, .. } = &options.oidc;
    if issuer_url.is_empty() || client_id.is_empty() {
        return Ok(Default::default());
    }
    let ca = ca_file.as_ref().map(|path| configuration::read(path)).transpose()?.unwrap_or_default();
    let ca = String::from_utf8_lossy(&ca).into_owned();
    Ok((AuthenticationConfiguration::of_flags(&options.oidc, ca), Vec::new()))
}

/// validateOIDCOptions.
fn check_oidc(options: &AuthenticationOptions) -> Result<(), String> {
    let oidc = &options.oidc;
    if options.config_file.is_some() {
        return match oidc.flags_set {
            true => Err("authentication-config file and oidc-* flags are mutually exclusive".into()),
            false => Ok(()),
        };
    }
    if oidc.flags_set && (oidc.issuer_url.is_empty() || oidc.client_id.is_empty()) {
        let why = "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set";
        return Err(why.into());
    }
    Ok(())
}

fn admitted(config: &AnonymousConfig) -> Anonymous {
    match (config.enabled, config.conditions.as_slice()) {
        (false, _) => Anonymous::Never,
        (true, []) => Anonymous::Everywhere,
        (true, paths) => Anonymous::Only(paths.to_vec()),
    }
}

fn token_webhook(options: &TokenWebhookOptions, audiences: Vec<String>) -> Result<Arc<TokenWebhook>, String> {
    let config = Kubeconfig::load(&options.config_file)?;
    let version = Version::named(&options.version).ok_or_else(|| {
        let known = "supported versions are \"v1\", \"v1beta1\"";
        format!("unsupported authentication webhook version {}, {known}", quote(&options.version))
    })?;
    let remote = Remote::new(&config, TIMEOUT)?;
    Ok(TokenWebhook::new(remote, version, audiences, options.cache_ttl))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn check(options: AuthenticationOptions, expect: Result<(bool, Option<&str>), &str>) {
        let around = Around {
            issuers: &["https://own".to_owned()],
            audiences: Vec::new(),
            metrics: Metrics::new("test"),
            reloads: Reloads::new("authentication", "test"),
        };
        let got = make(&options, around).map(|made| (made.jwt.is_some(), made.anonymous.map(|who| format!("{who:?}"))));
        let got = got.as_ref().map(|(jwt, anonymous)| (*jwt, anonymous.as_deref()));
        assert_eq!(got.map_err(String::as_str), expect, "{options:?}");
    }

    fn file(text: &str) -> Option<PathBuf> {
        let path = std::env::temp_dir().join(format!("authn-{}", uuid::Uuid::new_v4()));
        let head = "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\n";
        std::fs::write(&path, format!("{head}{text}")).expect("written");
        Some(path)
    }

    #[tokio::test]
    async fn files_and_flags() {
        let none = AuthenticationOptions::default;
        check(none(), Ok((false, None)));
        let oidc = |flags_set, issuer: &str, client: &str| OidcOptions {
            flags_set,
            issuer_url: issuer.into(),
            client_id: client.into(),
            ..OidcOptions::default()
        };
        let together = "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set";
        check(AuthenticationOptions { oidc: oidc(true, "https://a", ""), ..none() }, Err(together));
        let ca = PathBuf::from("/nowhere");
        let gone = OidcOptions { ca_file: Some(ca), ..oidc(true, "https://a", "b") };
        check(AuthenticationOptions { oidc: gone, ..none() }, Err("open /nowhere: no such file or directory"));
        let exclusive = "authentication-config file and oidc-* flags are mutually exclusive";
        let both = AuthenticationOptions { config_file: file(""), oidc: oidc(true, "", ""), ..none() };
        check(both, Err(exclusive));
        let missing = AuthenticationOptions { config_file: Some("/nowhere".into()), ..none() };
        let why = "failed to load authentication configuration from file \"/nowhere\": open /nowhere: no such file or directory";
        check(missing, Err(why));
        let username = "invalid authentication configuration: jwt[0].claimMappings.username: Required value: claim or expression is required";
        let bad = file("jwt: [{issuer: {url: 'https://a', audiences: [b]}}]\n");
        check(AuthenticationOptions { config_file: bad, ..none() }, Err(username));
        let own = file(
            "jwt: [{issuer: {url: 'https://own', audiences: [b]}, claimMappings: {username: {claim: sub, prefix: ''}}}]\n",
        );
        let overlap =
            "issuer.url: Invalid value: \"https://own\": URL must not overlap with disallowed issuers: [https://own]";
        check(AuthenticationOptions { config_file: own, ..none() }, Err(overlap));
    }

    #[tokio::test]
    async fn who_may_come_without_credentials() {
        let with = |text: &str, anonymous_flag_set| AuthenticationOptions {
            config_file: file(text),
            anonymous_flag_set,
            ..AuthenticationOptions::default()
        };
        check(with("", true), Ok((true, None)));
        check(with("anonymous: {enabled: false}\n", false), Ok((true, Some("Never"))));
        check(with("anonymous: {enabled: true}\n", false), Ok((true, Some("Everywhere"))));
        let only = "Only([\"/livez\"])";
        check(with("anonymous: {enabled: true, conditions: [{path: /livez}]}\n", false), Ok((true, Some(only))));
        let flag = "anonymous: Forbidden: --anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file";
        check(with("anonymous: {enabled: true}\n", true), Err(flag));
    }
}
