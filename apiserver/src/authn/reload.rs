//! `--authentication-config` loaded again when it changes (pkg/kubeapiserver/options/authentication.go@v1.37.2: ApplyTo;
//! pkg/kubeapiserver/authenticator/config.go@v1.37.2: updateAuthenticationConfig).
//!
//! Invariant: a configuration takes effect as a whole, and only once all of its issuers were found; until then the one
//! before holds. Who may come without credentials is settled at the start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::field::{self, Path};
use arc_swap::ArcSwap;

use super::aggregate;
use super::jwt::config::{AnonymousConfig, AuthenticationConfiguration};
use super::jwt::{JwtAuthenticators, Making, validate};
use crate::configuration::metrics::Reloads;
use crate::configuration::{self, watch::Watch};

/// How long issuers are waited for (authentication.go: UpdateAuthenticationConfigTimeout).
const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps the authenticators as the file says.
pub(crate) struct Reloader {
    pub(crate) path: PathBuf,
    pub(crate) making: Making,
    pub(crate) current: Arc<ArcSwap<JwtAuthenticators>>,
    /// As the file had it at the start.
    pub(crate) anonymous: Option<AnonymousConfig>,
    /// The content that is in use, or that is known to be of no use.
    pub(crate) seen: Vec<u8>,
    pub(crate) counted: Reloads,
}

/// Why a changed file is not used.
enum Refused {
    /// It never will be.
    Bad(String),
    /// It may be later.
    Yet(String),
}

impl Reloader {
    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut watch = Watch::new(&self.path);
        loop {
            self.check(PATIENCE).await;
            watch.changed().await;
        }
    }

    async fn check(&mut self, patience: Duration) {
        let text = match configuration::read(&self.path) {
            Ok(text) if text == self.seen => return,
            Ok(text) => text,
            Err(error) => {
                tracing::error!(error, "failed to read authentication config file");
                return self.counted.failed();
            }
        };
        match self.load(&text, patience).await {
            Ok(()) => {
                tracing::info!("reloaded authentication config");
                self.counted.loaded(&text);
                self.seen = text;
            }
            Err(Refused::Bad(error)) => {
                tracing::error!(error, "failed to validate authentication config");
                self.counted.failed();
                self.seen = text;
            }
            Err(Refused::Yet(error)) => {
                tracing::error!(error, "failed to update authentication config");
                self.counted.failed();
            }
        }
    }

    async fn load(&self, text: &[u8], patience: Duration) -> Result<(), Refused> {
        let config = AuthenticationConfiguration::decode(text).map_err(Refused::Bad)?;
        let mut errors = validate::configuration(&config, &self.making.disallowed);
        if config.anonymous != self.anonymous {
            errors.push(field::forbidden(&Path::new("anonymous"), "changed from initial configuration file"));
        }
        if !errors.is_empty() {
            return Err(Refused::Bad(aggregate(&errors.iter().map(ToString::to_string).collect::<Vec<_>>())));
        }
        let next = Arc::new(JwtAuthenticators::new(&config, &self.making).map_err(Refused::Yet)?);
        if tokio::time::timeout(patience, next.healthy()).await.is_err() {
            return Err(Refused::Yet(next.unhealthy()));
        }
        self.current.swap(next.clone()).replaced_by(&next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::jwt::metrics::Metrics;
    use crate::authn::jwt::tests::{Issuer, at, config_text};

    #[tokio::test]
    async fn a_changed_file_takes_effect_once_its_issuers_are_found() {
        let issuer = Issuer::start().await;
        let path = std::env::temp_dir().join(format!("authn-{}", uuid::Uuid::new_v4()));
        let making = Making {
            algorithms: super::super::jwt::ALGORITHMS.map(Into::into).into(),
            disallowed: vec!["https://taken".into()],
            metrics: Metrics::new("test"),
        };
        let empty = JwtAuthenticators::new(&AuthenticationConfiguration::default(), &making).expect("nothing");
        let current = Arc::new(ArcSwap::from_pointee(empty));
        let mut reloader = Reloader {
            path: path.clone(),
            making,
            current: current.clone(),
            anonymous: None,
            seen: Vec::new(),
            counted: Reloads::new("authentication", "test"),
        };
        let token = issuer.token(serde_json::json!({"sub": "jane"}));
        let patience = Duration::from_secs(5);
        let steps = [
            (config_text(&issuer, "{username: {claim: sub, prefix: 'a:'}}"), Some("a:jane")),
            ("nonsense".into(), Some("a:jane")),
            (config_text(&issuer, "{username: {claim: sub}}"), Some("a:jane")),
            (
                config_text(&issuer, "{username: {claim: sub, prefix: 'b:'}}") + "anonymous: {enabled: true}\n",
                Some("a:jane"),
            ),
            (config_text(&issuer, "{username: {claim: sub, prefix: 'b:'}}"), Some("b:jane")),
        ];
        for (text, expect) in steps {
            std::fs::write(&path, &text).expect("written");
            reloader.check(patience).await;
            let user = current.load_full().authenticate(&token, at(1)).await;
            assert_eq!(user.map(|user| user.map(|user| user.name)), Ok(expect.map(str::to_owned)), "{text}");
        }
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
        std::fs::write(&path, head).expect("written");
        reloader.check(patience).await;
        assert_eq!(current.load_full().authenticate(&token, at(1)).await, Ok(None));
        let away =
            config_text(&issuer, "{username: {claim: sub, prefix: ''}}").replace(&issuer.url, "https://127.0.0.1:1");
        std::fs::write(&path, away).expect("written");
        reloader.check(Duration::from_millis(200)).await;
        assert_eq!(current.load_full().authenticate(&token, at(1)).await, Ok(None), "an issuer that is not found");
        std::fs::remove_file(&path).expect("removed");
    }
}
