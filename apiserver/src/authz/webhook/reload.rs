//! `--authorization-config` loaded again when it changes (pkg/kubeapiserver/authorizer/reload.go@v1.37.2).
//!
//! Invariant: the chain is replaced as a whole. Authorizers beside webhooks have to stay those of the start.

use std::path::PathBuf;
use std::sync::Arc;

use super::config::AuthorizationConfiguration;
use crate::authz::Authorizers;
use crate::configuration::metrics::Reloads;
use crate::configuration::{self, watch::Watch};

/// Keeps the chain as the file says.
pub(crate) struct Reloader {
    pub(crate) path: PathBuf,
    /// The content that was read last.
    pub(crate) seen: Vec<u8>,
    /// What the content said that is in use.
    pub(crate) config: AuthorizationConfiguration,
    /// The types beside webhooks that the server started with.
    pub(crate) required: Vec<String>,
    pub(crate) counted: Reloads,
}

impl Reloader {
    /// Runs until it is dropped.
    pub(crate) async fn run(mut self, authorizers: Arc<Authorizers>) {
        let mut watch = Watch::new(&self.path);
        loop {
            self.check(&authorizers);
            watch.changed().await;
        }
    }

    pub(super) fn check(&mut self, authorizers: &Authorizers) {
        let text = match configuration::read(&self.path) {
            Ok(text) if text == self.seen => return,
            Ok(text) => text,
            Err(error) => return self.refuse(&error),
        };
        tracing::info!("found new authorization config data");
        self.seen.clone_from(&text);
        let config = match AuthorizationConfiguration::load(&text, &self.required) {
            Ok(config) if config == self.config => return,
            Ok(config) => config,
            Err(error) => return self.refuse(&error),
        };
        self.config = config;
        match authorizers.configure(&self.config, &self.required) {
            Ok(()) => {
                tracing::info!("reloaded authz config");
                self.counted.loaded(&text);
            }
            Err(error) => self.refuse(&error),
        }
    }

    fn refuse(&self, error: &str) {
        tracing::error!(error, "reloading authorization config");
        self.counted.failed();
    }
}
