//! GET requests to an issuer, as Go's http.Client makes them.
//!
//! Invariant: one deadline holds for a request with all its redirections. Non-goal: proxies, cookies.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};

use crate::webhook::trust;
use crate::webhook::wire::{self, ANSWER_BYTES_MAX, Calls, Connector};

/// Of a whole request (oidc.go: http.Client).
const TIMEOUT: Duration = Duration::from_secs(30);
/// Redirections that are followed (Go: net/http/client.go).
const REDIRECTIONS_MAX: usize = 10;
const USER_AGENT: &str = "Go-http-client/1.1";

/// The connections to an issuer.
#[derive(Clone)]
pub(super) struct Fetcher(Calls);

/// What was answered.
pub(super) struct Fetched {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Fetched {
    /// `200 OK`.
    pub(super) fn status_text(&self) -> String {
        let code = self.status.as_u16();
        format!("{code} {}", self.status.canonical_reason().unwrap_or_default()).trim_end().to_owned()
    }
}

impl Fetcher {
    /// `ca`: PEM; empty for the roots of the machine.
    pub(super) fn new(ca: &[u8]) -> Result<Self, String> {
        Ok(Fetcher(wire::pool(Connector { tls: trust::client(ca, trust::Shown::Nothing)?, host: None })))
    }

    /// Fetches a URL, with a bearer token unless it is empty.
    ///
    /// # Errors
    /// Go's texts.
    pub(super) async fn get(&self, url: &str, token: &str) -> Result<Fetched, String> {
        let late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        let fetched = tokio::time::timeout(TIMEOUT, self.follow(url, token)).await;
        fetched.unwrap_or_else(|_| Err(late.into())).map_err(|why| format!("Get \"{url}\": {why}"))
    }

    async fn follow(&self, url: &str, token: &str) -> Result<Fetched, String> {
        let first: Uri = url.parse().map_err(|error| format!("{error}"))?;
        let mut at = first.clone();
        for _ in 0..=REDIRECTIONS_MAX {
            // Another host is not told the secret.
            let token = if at.host() == first.host() { token } else { "" };
            let fetched = self.once(&at, token).await?;
            let next = fetched.headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
            match next.filter(|_| matches!(fetched.status.as_u16(), 301 | 302 | 303 | 307 | 308)) {
                Some(next) => at = resolve(&at, next)?,
                None => return Ok(fetched),
            }
        }
        Err(format!("stopped after {REDIRECTIONS_MAX} redirects"))
    }

    async fn once(&self, to: &Uri, token: &str) -> Result<Fetched, String> {
        let mut request = Request::get(to).header(header::USER_AGENT, USER_AGENT);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::default()).map_err(|error| error.to_string())?;
        let answer = self.0.request(request).await.map_err(|error| wire::root_of(&error))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
        Ok(Fetched { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    }
}

/// Where a Location points, seen from where it was told.
fn resolve(at: &Uri, location: &str) -> Result<Uri, String> {
    let wrong = |error: http::Error| format!("failed to parse Location header \"{location}\": {error}");
    if location.contains("://") {
        return location.parse::<Uri>().map_err(|error| wrong(error.into()));
    }
    let folder = at.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = if location.starts_with('/') { location.to_owned() } else { format!("{folder}/{location}") };
    let mut parts = at.clone().into_parts();
    parts.path_and_query = Some(path.parse().map_err(|error: http::uri::InvalidUri| wrong(error.into()))?);
    Uri::from_parts(parts).map_err(|error| wrong(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections() {
        let at: Uri = "https://a.test:1/x/y?z".parse().expect("a URI");
        for (location, expect) in
            [("https://b.test/q", "https://b.test/q"), ("/q?r", "https://a.test:1/q?r"), ("q", "https://a.test:1/x/q")]
        {
            assert_eq!(resolve(&at, location).map(|to| to.to_string()), Ok(expect.into()), "{location}");
        }
    }
}
