//! Calls over connections that are kept, one pool for each place (k8s.io/apiserver/pkg/util/webhook/client.go@v0.37.2).
//!
//! Invariant: a service is looked up for each call, so that connections to its old address are not used again.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api::json;
use api::value::Map;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio_rustls::TlsConnector;

use super::answer::{self, Failure};
use super::place::Place;
use super::trust;
use crate::admission::Reader;
use crate::subresource::connect::backends::dial;
use streams::AnyIo;

/// Places whose connections are kept (client.go: defaultCacheSize).
const POOLS_MAX: usize = 200;
/// Idle connections to one address, and how long they are kept (Go's transport as client-go sets it up).
const IDLE_MAX: usize = 25;
const IDLE_TIME: Duration = Duration::from_secs(90);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;
/// What the server calls itself (authentication.go: setGlobalDefaults).
const USER_AGENT: &str = "kube-apiserver-admission";

type Calls = Pool<Connector, Full<Bytes>>;

/// The connections to all webhooks.
#[derive(Default)]
pub(crate) struct Clients(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    pools: HashMap<Place, (u64, Calls)>,
    /// Counts uses; the pool that was used longest ago goes first.
    uses: u64,
}

impl Clients {
    fn pool(&self, place: &Place, host: &str) -> Result<Calls, String> {
        let mut kept = self.0.lock();
        kept.uses += 1;
        let now = kept.uses;
        if let Some((used, pool)) = kept.pools.get_mut(place) {
            *used = now;
            return Ok(pool.clone());
        }
        let connector = Connector { tls: trust::client(&place.ca)?, host: host.into() };
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(connector);
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
        let address = place.address(objects).map_err(failed)?;
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

async fn answered(
    pool: &Calls,
    request: Request<Full<Bytes>>,
    failed: &impl Fn(String) -> Failure,
) -> Result<Map, Failure> {
    let response = pool.request(request).await.map_err(|error| failed(root_of(&error)))?;
    let (parts, body) = response.into_parts();
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
        Failure::new(format!(
            "unexpected error when reading response body. Please retry. Original error: {error}"
        ))
    })?;
    answer::object(parts.status.as_u16(), content_type, &body.to_bytes())
}

/// What went wrong at the bottom, in Go's words where they are known.
fn root_of(error: &hyper_util::client::legacy::Error) -> String {
    let mut at: &(dyn std::error::Error + 'static) = error;
    loop {
        if let Some(error) = at.downcast_ref::<hyper::Error>()
            && error.is_incomplete_message()
        {
            return "EOF".into();
        }
        if let Some(error) = at.downcast_ref::<rustls::Error>() {
            return trust::go_text(error);
        }
        let inner = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| at.source()) {
            Some(source) => at = source,
            None => return at.to_string(),
        }
    }
}

/// Connects to where a URI says, and expects the certificate of `host` there.
#[derive(Clone)]
struct Connector {
    tls: Arc<ClientConfig>,
    host: String,
}

impl tower::Service<Uri> for Connector {
    type Response = Wire;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Wire>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let tls = TlsConnector::from(self.tls.clone());
        let host = self.host.clone();
        Box::pin(async move {
            let address = to.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
            Ok(Wire(TokioIo::new(dial(Some(tls), address, host).await?)))
        })
    }
}

/// A connection as the pool wants it.
struct Wire(TokioIo<AnyIo>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
