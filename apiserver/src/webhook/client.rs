//! Calls over connections that are kept, one pool for each place (k8s.io/apiserver/pkg/util/webhook/client.go@v0.37.2).
//!
//! Invariant: a service is looked up for each call, so that connections to its old address are not used again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::json;
use api::value::Map;
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::Full;
use parking_lot::Mutex;

use super::answer::Failure;
use super::place::Place;
use super::resolve::Resolver;
use super::trust;
use super::wire::{Calls, Connector, answered, pool};
use crate::admission::Reader;

/// Places whose connections are kept (client.go: defaultCacheSize).
const POOLS_MAX: usize = 200;
/// What the server calls itself (authentication.go: setGlobalDefaults).
const USER_AGENT: &str = "kube-apiserver-admission";

/// The connections to all webhooks.
#[derive(Default)]
pub(crate) struct Clients {
    kept: Mutex<Kept>,
    resolver: Arc<Resolver>,
}

#[derive(Default)]
struct Kept {
    pools: HashMap<Place, (u64, Calls)>,
    /// Counts uses; the pool that was used longest ago goes first.
    uses: u64,
}

impl Clients {
    pub(crate) fn new(resolver: Arc<Resolver>) -> Self {
        Clients { resolver, kept: Mutex::default() }
    }

    fn pool(&self, place: &Place, host: &str) -> Result<Calls, String> {
        let mut kept = self.kept.lock();
        kept.uses += 1;
        let now = kept.uses;
        if let Some((used, pool)) = kept.pools.get_mut(place) {
            *used = now;
            return Ok(pool.clone());
        }
        let pool = pool(Connector { tls: trust::client(&place.ca, trust::Shown::Nothing)?, host: Some(host.into()) });
        if kept.pools.len() >= POOLS_MAX {
            let oldest = kept.pools.iter().min_by_key(|(_, (used, _))| *used).map(|(place, _)| place.clone());
            oldest.and_then(|place| kept.pools.remove(&place));
        }
        kept.pools.insert(place.clone(), (now, pool.clone()));
        Ok(pool)
    }

    /// Posts an object and reads the object that is answered.
    ///
    /// # Errors
    /// client-go's texts.
    pub(crate) async fn post(
        &self,
        place: &Place,
        objects: &dyn Reader,
        asked: &Map,
        time: Duration,
    ) -> Result<Map, Failure> {
        let url = format!("{}?timeout={}s", place.url(), time.as_secs());
        let failed = |why: String| Failure::new(format!("Post \"{url}\": {why}"));
        let address = place.address(objects, &self.resolver).map_err(failed)?;
        let unmade = |why: String| Failure { code: 500, unmade: true, ..Failure::new(why) };
        let pool = self.pool(place, &address.host).map_err(unmade)?;
        let uri = format!("https://{}{}?timeout={}s", address.dialled, address.path, time.as_secs());
        let request = Request::post(uri.parse::<Uri>().map_err(|error| failed(error.to_string()))?)
            .header(header::HOST, &address.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(Bytes::from(json::encode(asked))))
            .map_err(|error| failed(error.to_string()))?;
        match tokio::time::timeout(time, answered(&pool, request, &failed)).await {
            Ok(answered) => answered,
            Err(_) => Err(failed("context deadline exceeded".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::webhook::testing::{Certificate, Objects, Webhook, object};

    const NAME: &str = "webhook.test.svc";

    async fn webhook(names: &[&str], how: Certificate) -> Webhook {
        let answers = |asked: &Map| match asked.str("want") {
            "teapot" => (418, "short and stout".to_owned()),
            "silence" => (0, String::new()),
            other => (200, format!(r#"{{"kind":"Echo","got":"{other}"}}"#)),
        };
        Webhook::start(names, how, Arc::new(answers)).await
    }

    async fn post(clients: &Clients, webhook: &Webhook, config: &Map, want: &str) -> Result<String, String> {
        let objects = Objects { all: vec![("services", Arc::new(webhook.service()))] };
        let asked = object(&format!(r#"{{"want":"{want}"}}"#));
        let answer = clients.post(&Place::of(config), &objects, &asked, Duration::from_secs(1)).await;
        answer.map(|answer| answer.str("got").to_owned()).map_err(|failure| failure.text)
    }

    #[tokio::test]
    async fn one_connection_serves_many_calls() {
        let (clients, webhook) = (Clients::default(), webhook(&[NAME], Certificate::Issued).await);
        for text in ["a", "b", "c"] {
            assert_eq!(post(&clients, &webhook, &webhook.by_service(), text).await, Ok(text.into()));
        }
        assert_eq!(webhook.connections.load(Ordering::Relaxed), 1);
        let paths: Vec<_> = webhook.asked.lock().iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(paths, vec!["/hook?timeout=1s"; 3]);
    }

    #[tokio::test]
    async fn urls_and_certificates_that_are_their_own_ca() {
        let (clients, webhook) = (Clients::default(), webhook(&["localhost"], Certificate::Own).await);
        let mut config = webhook.by_service();
        config.remove("service");
        config.set("url", format!("https://localhost:{}/x", webhook.address.port()));
        assert_eq!(post(&clients, &webhook, &config, "a").await, Ok("a".into()));
    }

    #[tokio::test]
    async fn failures_in_upstream_s_words() {
        let (clients, webhook) = (Clients::default(), webhook(&[NAME], Certificate::Issued).await);
        let config = webhook.by_service();
        let url = format!("Post \"https://{NAME}:{}/hook?timeout=1s\"", webhook.address.port());
        let told = post(&clients, &webhook, &config, "teapot").await;
        let more = "the server responded with the status code 418 but did not return more information";
        assert_eq!(told, Err(more.into()));
        let late = post(&clients, &webhook, &config, "silence").await;
        assert_eq!(late, Err(format!("{url}: context deadline exceeded")));
        let mut stranger = config.clone();
        let other =
            super::super::testing::Webhook::start(&[NAME], Certificate::Issued, Arc::new(|_| (200, String::new())));
        stranger.set("caBundle", other.await.by_service().str("caBundle"));
        let unknown = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
        assert_eq!(post(&clients, &webhook, &stranger, "a").await, Err(format!("{url}: {unknown}")));
        let mut none = config.clone();
        none.map_mut("service").set("name", "gone");
        let missing = post(&clients, &webhook, &none, "a").await.err().unwrap_or_default();
        assert!(missing.ends_with(": service \"gone\" not found"), "{missing}");
        let mut bad = config;
        bad.set("caBundle", "Z2FyYmFnZQ==");
        let roots = "unable to load root certificates: unable to parse bytes as PEM block";
        assert_eq!(post(&clients, &webhook, &bad, "a").await, Err(roots.into()));
    }

    #[tokio::test]
    async fn other_names_and_closed_ports() {
        let (clients, webhook) = (Clients::default(), webhook(&["other.test.svc"], Certificate::Issued).await);
        let told = post(&clients, &webhook, &webhook.by_service(), "a").await.err().unwrap_or_default();
        let names = "x509: certificate is valid for other.test.svc, not webhook.test.svc";
        assert!(told.ends_with(names), "{told}");
        let free =
            tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
        let config = object(&format!(r#"{{"url":"https://{free}/x"}}"#));
        let mut config = config;
        config.set("caBundle", webhook.by_service().str("caBundle"));
        let told = post(&clients, &webhook, &config, "a").await;
        let refused = format!("Post \"https://{free}/x?timeout=1s\": dial tcp {free}: connect: connection refused");
        assert_eq!(told, Err(refused));
    }
}
