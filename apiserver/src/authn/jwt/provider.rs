//! Finding an issuer's keys by OpenID Connect discovery (`github.com/coreos/go-oidc/oidc.go@v2.5.0`: NewProvider).
//!
//! Invariant: an issuer that cannot be found is looked for until it is, or nobody wants it any more; meanwhile the server
//! serves.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fetch::Fetcher;
use super::keyset::KeySet;
use super::metrics::Issuer as Counted;
use super::verify::Verifier;
use crate::authn::text::quote;

const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// Between attempts to find an issuer.
const PERIOD: Duration = Duration::from_secs(10);

/// What is known of an issuer: its verifier, or why there is none yet.
pub(super) type Found = watch::Receiver<Result<Arc<Verifier>, String>>;

/// An issuer to find, and how its tokens are judged.
#[derive(Clone)]
pub(super) struct Sought {
    pub(super) issuer: String,
    pub(super) fetcher: Fetcher,
    /// Where an issuer's documents are asked for in place of where they should be.
    pub(super) elsewhere: Option<Elsewhere>,
    pub(super) audiences: Arc<[String]>,
    pub(super) algorithms: Arc<[String]>,
    pub(super) counted: Option<Counted>,
    pub(super) tasks: TaskTracker,
}

/// `discoveryURL`, and the URL that it stands for.
#[derive(Clone)]
pub(super) struct Elsewhere {
    pub(super) instead_of: String,
    pub(super) url: String,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    issuer: String,
    #[serde(default)]
    jwks_uri: String,
}

/// The URL of an issuer's discovery document.
pub(super) fn well_known(issuer: &str) -> String {
    format!("{}{WELL_KNOWN}", issuer.strip_suffix('/').unwrap_or(issuer))
}

impl Sought {
    /// Looks for the issuer in a task that ends with `stop`.
    pub(super) fn look(self, stop: CancellationToken) -> Found {
        let unknown = format!("oidc: authenticator for issuer {} is not initialized", quote(&self.issuer));
        let (told, found) = watch::channel(Err(unknown));
        let tasks = self.tasks.clone();
        tasks.spawn(stop.run_until_cancelled_owned(async move {
            loop {
                match self.find().await {
                    Ok(verifier) => {
                        drop(told.send_replace(Ok(Arc::new(verifier))));
                        return;
                    }
                    Err(why) => {
                        tracing::error!("oidc authenticator: initializing plugin: {why}");
                        drop(told.send_replace(Err(why)));
                    }
                }
                tokio::time::sleep(PERIOD).await;
            }
        }));
        found
    }

    async fn find(&self) -> Result<Verifier, String> {
        let mut url = well_known(&self.issuer);
        if let Some(elsewhere) = self.elsewhere.as_ref().filter(|elsewhere| elsewhere.instead_of == url) {
            url.clone_from(&elsewhere.url);
        }
        let fetched = self.fetcher.get(&url, "").await?;
        let text = String::from_utf8_lossy(&fetched.body);
        if fetched.status != http::StatusCode::OK {
            return Err(format!("{}: {text}", fetched.status_text()));
        }
        let document: Document = serde_json::from_slice(&fetched.body)
            .map_err(|error| format!("oidc: failed to decode provider discovery object: {error}"))?;
        if document.issuer != self.issuer {
            let (expected, got) = (quote(&self.issuer), quote(&document.issuer));
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {expected} got {got}"
            ));
        }
        if document.jwks_uri.is_empty() {
            return Err("provider did not return JWKS URL".into());
        }
        Ok(Verifier {
            issuer: document.issuer,
            keys: KeySet::new(self.fetcher.clone(), document.jwks_uri, self.counted.clone()),
            audiences: self.audiences.clone(),
            algorithms: self.algorithms.clone(),
        })
    }
}
