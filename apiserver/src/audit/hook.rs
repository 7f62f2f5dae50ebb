//! Events posted to a webhook (k8s.io/apiserver/plugin/pkg/audit/webhook/webhook.go@v0.37.2).
//!
//! Invariant: whatever goes wrong is tried again: there is hardly a reason why a service that is back should not be told.

use std::path::Path;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::event::{Event, GROUP_VERSION};
use super::options::AuditWebhookOptions;
use super::sink::Backend;
use crate::webhook::kubeconfig::Kubeconfig;
use crate::webhook::remote::{Backoff, Remote, TIMEOUT};

/// Calls before events are given up.
const STEPS: u32 = 5;

pub(super) struct Hook {
    remote: Remote,
    backoff: Backoff,
}

impl Hook {
    /// Reads the webhook's kubeconfig.
    ///
    /// # Errors
    /// clientcmd's texts.
    pub(super) fn open(options: &AuditWebhookOptions) -> Result<Self, String> {
        let failed = |why: String| format!("initializing audit webhook: {why}");
        let config = Kubeconfig::load(Path::new(&options.config_file)).map_err(failed)?;
        let remote = Remote::new(&config, TIMEOUT).map_err(failed)?;
        Ok(Hook { remote, backoff: Backoff { initial: options.initial_backoff, steps: STEPS } })
    }

    async fn post(&self, list: Bytes) -> Result<(), String> {
        let mut attempts = self.backoff.attempts();
        loop {
            let Err(failure) = self.remote.send(list.clone()).await else { return Ok(()) };
            if !attempts.anew().await {
                return Err(failure.text);
            }
        }
    }
}

/// An EventList. Its items do not repeat kind and apiVersion.
fn list(events: &[Event]) -> Bytes {
    let head = format!("{{\"kind\":\"EventList\",\"apiVersion\":\"{GROUP_VERSION}\",\"metadata\":{{}},\"items\":[");
    let mut out = head.into_bytes();
    for (at, event) in events.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b",{" } else { b"{" });
        out.extend_from_slice(&event.fields());
    }
    out.extend_from_slice(b"]}\n");
    out.into()
}

impl Backend for Hook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn tell<'a>(&'a self, events: &'a [Event]) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.post(list(events)))
    }
}
