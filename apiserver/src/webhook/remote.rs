//! A webhook that a kubeconfig names: reviews are posted to its URL, failures that may pass are tried again
//! (k8s.io/apiserver/pkg/util/webhook/webhook.go@v0.37.2: GenericWebhook).
//!
//! Invariant: a call ends in time, whatever the other side does. Must not know: what a review is about.

use std::time::Duration;

use api::value::Map;
use api::{duration, gourl, json};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;

use super::answer::{Failure, Lost};
use super::kubeconfig::{Credential, Kubeconfig};
use super::place::clean;
use super::trust;
use super::wire::{Calls, Connector, accepted, answered, pool};

/// The deadline of a call that is configured with none (webhook.go: defaultRequestTimeout).
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// client-go's name for this program (rest.DefaultKubernetesUserAgent).
const USER_AGENT: &str = concat!("kube-apiserver/v1.37.2 (", "linux/amd64", ") kubernetes/keelson");

/// How often and when a call is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) initial: Duration,
    pub(crate) steps: u32,
}

/// k8s.io/apiserver/pkg/server/options/authentication.go@v0.37.2: DefaultAuthWebhookRetryBackoff.
impl Default for Backoff {
    fn default() -> Self {
        Backoff { initial: Duration::from_millis(500), steps: 5 }
    }
}

/// What one step is longer than the one before, and how much of it is chance.
const FACTOR: f64 = 1.5;
const JITTER: f64 = 0.2;

impl Backoff {
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts { delay: self.initial, left: self.steps }
    }
}

/// The attempts at one call.
pub(crate) struct Attempts {
    delay: Duration,
    left: u32,
}

impl Attempts {
    /// Whether to try again after a failure, when it is time to; not when it will not pass or no attempt is left.
    pub(crate) async fn again(&mut self, failure: &Failure) -> bool {
        failure.passes() && self.anew().await
    }

    /// Whether to try again whatever went wrong, when it is time to; not when no attempt is left.
    pub(crate) async fn anew(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return false;
        }
        tokio::time::sleep(self.delay.mul_f64(1.0 + JITTER * rand::random::<f64>())).await;
        self.delay = self.delay.mul_f64(FACTOR);
        true
    }
}

/// The connections to one webhook.
#[derive(Clone)]
pub(crate) struct Remote {
    /// With the path and the query.
    url: String,
    calls: Calls,
    credential: Option<Credential>,
    timeout: Duration,
}

impl Remote {
    /// # Errors
    /// A URL that is none, certificates that cannot be used.
    pub(crate) fn new(config: &Kubeconfig, timeout: Duration) -> Result<Self, String> {
        let written = match config.server.contains("://") {
            true => config.server.clone(),
            false => format!("https://{}", config.server),
        };
        let parsed = gourl::parse(&written)?;
        let plain = parsed.scheme == "http";
        let host = String::from_utf8_lossy(&parsed.host).into_owned();
        if host.is_empty() || !matches!(parsed.scheme.as_str(), "http" | "https") {
            return Err(format!("host must be a URL or a host:port pair: {}", api::field::go_quote(&config.server)));
        }
        let nanos = i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX);
        let (scheme, path) = (&parsed.scheme, clean(&parsed.escaped_path()));
        let url = format!("{scheme}://{host}{path}?timeout={}", duration::format(nanos));
        let identity = config.client.as_ref();
        let tls = match config.insecure || plain {
            true => trust::careless(identity)?,
            false => trust::client(&config.ca, identity)?,
        };
        let named = (!config.server_name.is_empty()).then(|| config.server_name.clone());
        // Credentials are not sent in the clear.
        let credential = config.credential.clone().filter(|_| !plain);
        Ok(Remote { url, calls: pool(Connector { tls, host: named }), credential, timeout })
    }

    /// Posts an object and reads the object that is answered.
    ///
    /// # Errors
    /// client-go's texts.
    pub(crate) async fn post(&self, asked: &Map) -> Result<Map, Failure> {
        let failed = |why: String| Failure::new(format!("Post \"{}\": {why}", self.url));
        let request = self.request(json::encode(asked).into(), &failed)?;
        self.in_time(answered(&self.calls, request, &failed), &failed).await
    }

    /// Posts JSON; of what is answered only the code counts.
    ///
    /// # Errors
    /// client-go's texts.
    pub(crate) async fn send(&self, json: Bytes) -> Result<(), Failure> {
        let failed = |why: String| Failure::new(format!("Post \"{}\": {why}", self.url));
        let request = self.request(json, &failed)?;
        self.in_time(accepted(&self.calls, request, &failed), &failed).await
    }

    fn request(&self, json: Bytes, failed: &impl Fn(String) -> Failure) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::post(&self.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, USER_AGENT);
        if let Some(authorization) = self.authorization().map_err(failed)? {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request.body(Full::new(json)).map_err(|error| failed(error.to_string()))
    }

    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, Failure>>,
        failed: &impl Fn(String) -> Failure,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answered) => answered,
            Err(_) => {
                let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
                Err(Failure { lost: Some(Lost::TimedOut), ..failed(why.into()) })
            }
        }
    }

    fn authorization(&self) -> Result<Option<String>, String> {
        Ok(match &self.credential {
            None => None,
            Some(Credential::Token(token)) => Some(format!("Bearer {token}")),
            Some(Credential::TokenFile(path)) => {
                let token = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
                Some(format!("Bearer {}", token.trim()))
            }
            Some(Credential::Basic(name, password)) => {
                Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}"))))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::webhook::testing::{Certificate, Webhook, object};

    #[tokio::test]
    async fn calls_go_to_the_path_of_the_file() {
        let answers = |asked: &Map| (200, format!(r#"{{"kind":"Echo","got":"{}"}}"#, asked.str("want")));
        let webhook = Webhook::start(&["localhost"], Certificate::Issued, Arc::new(answers)).await;
        let server = format!("https://localhost:{}/a/b/", webhook.address.port());
        let config = Kubeconfig { server, ca: webhook.ca.clone().into_bytes(), ..Kubeconfig::default() };
        let remote = Remote::new(&config, Duration::from_millis(1500)).expect("a remote");
        let got = remote.post(&object(r#"{"want":"x"}"#)).await.expect("an answer");
        assert_eq!(got.str("got"), "x");
        assert_eq!(webhook.asked.lock()[0].0, "/a/b?timeout=1.5s");
        let strange = Kubeconfig { server: "ftp://x".into(), ..Kubeconfig::default() };
        let why = Remote::new(&strange, TIMEOUT).err();
        assert_eq!(why.as_deref(), Some("host must be a URL or a host:port pair: \"ftp://x\""));
    }

    async fn tries(steps: u32, failure: Failure) -> usize {
        let mut attempts = Backoff { initial: Duration::from_millis(1), steps }.attempts();
        let mut tried = 1;
        while attempts.again(&failure).await {
            tried += 1;
        }
        tried
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again() {
        let busy = Failure { code: 500, reason: "InternalError".into(), ..Failure::new("busy") };
        assert_eq!(tries(5, busy.clone()).await, 5);
        assert_eq!(tries(1, busy).await, 1);
        assert_eq!(tries(5, Failure::new("refused")).await, 1);
    }
}
