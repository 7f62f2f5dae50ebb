//! Requests to upgrade, handed on to a backend: as they are, or with the client's WebSocket turned into
//! the backend's SPDY (k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go,
//! k8s.io/apiserver/pkg/util/proxy/translatinghandler.go@v0.37.2).
//!
//! Invariant: until the backend has agreed, what it says goes to the client as an ordinary answer.

use std::future::Future;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use crate::{Error, Io, exec, spdy, tunnel, websocket};

/// Largest refusal that is handed on, in bytes.
const REFUSAL_BYTES_MAX: usize = 1 << 20;
pub const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// True when the client wants to leave HTTP (IsUpgradeRequest of k8s.io/streaming/pkg/httpstream).
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.into_iter().any(|value| value.to_ascii_lowercase().contains("upgrade"))
}

/// What is done with the client's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Bytes are handed on as they are.
    AsIs,
    /// A v5 WebSocket becomes SPDY streams.
    Exec(exec::Options),
    /// SPDY out of a WebSocket becomes SPDY.
    Tunnel,
}

/// The client's request.
pub struct Asked<'a> {
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    pub upgrade: OnUpgrade,
}

/// The answer to the client, and what is to run once it was given.
pub struct Served {
    pub response: Response<Bytes>,
    pub work: Option<BoxFuture<'static, Result<(), Error>>>,
}

impl Served {
    fn plain(response: Response<Bytes>) -> Self {
        Served { response, work: None }
    }
}

/// What a backend said.
pub(crate) enum Answer {
    Switched(HeaderMap, TokioIo<Upgraded>),
    Refused(Response<Bytes>),
}

/// Asks a backend to upgrade.
pub(crate) async fn ask<I: Io>(io: I, request: Request<Empty<Bytes>>) -> Result<Answer, Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let headers = response.headers().clone();
            return Ok(Answer::Switched(headers, TokioIo::new(hyper::upgrade::on(response).await?)));
        }
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Error::protocol(error.to_string()))?.to_bytes();
        Ok(Answer::Refused(Response::from_parts(parts, body)))
    };
    let connection = connection.with_upgrades();
    tokio::pin!(connection, answer);
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        ended = &mut connection => ended?,
    }
    answer.await
}

/// Serves one request to upgrade; `dial` connects to the backend that has `target`.
pub async fn serve<D, F, I>(asked: Asked<'_>, target: Uri, how: How, dial: D) -> Result<Served, Error>
where
    D: FnOnce() -> F + Send + 'static,
    F: Future<Output = std::io::Result<I>> + Send,
    I: Io,
{
    match how {
        How::AsIs => as_is(asked, target, dial().await.map_err(dialling)?).await,
        How::Tunnel => tunnelled(asked, target, dial().await.map_err(dialling)?).await,
        How::Exec(options) => {
            let response = match websocket::accept(asked.headers, crate::channel::V5.name) {
                Ok(response) => response,
                Err(wrong) => return Ok(Served::plain(wrong)),
            };
            let upgrade = asked.upgrade;
            let work = async move {
                let socket = websocket::socket(upgrade).await?;
                exec::translate(socket, crate::channel::V5, options, exec::connect(target, dial)).await
            };
            Ok(Served { response, work: Some(Box::pin(work)) })
        }
    }
}

fn dialling(error: std::io::Error) -> Error {
    Error::protocol(format!("error dialing backend: {error}"))
}

/// A request to upgrade has no body, whatever the client said about one.
fn bodiless(asked: &Asked<'_>, target: Uri) -> Result<Request<Empty<Bytes>>, Error> {
    let mut request = Request::builder().method(asked.method).uri(target).body(Empty::new())?;
    *request.headers_mut() = asked.headers.clone();
    for name in [header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::EXPECT] {
        request.headers_mut().remove(name);
    }
    if asked.method == Method::POST {
        request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Ok(request)
}

async fn as_is<I: Io>(asked: Asked<'_>, target: Uri, backend: I) -> Result<Served, Error> {
    let (headers, mut backend) = match ask(backend, bodiless(&asked, target)?).await? {
        Answer::Switched(headers, io) => (headers, io),
        Answer::Refused(refusal) => return refused(refusal),
    };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    let upgrade = asked.upgrade;
    let work = async move {
        let client = TokioIo::new(upgrade.await?);
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_backend, mut to_backend) = tokio::io::split(&mut backend);
        // Once one side has nothing more to say the other is let go, too.
        tokio::select! {
            copied = tokio::io::copy(&mut from_client, &mut to_backend) => copied?,
            copied = tokio::io::copy(&mut from_backend, &mut to_client) => copied?,
        };
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut to_client).await;
        Ok(())
    };
    Ok(Served { response, work: Some(Box::pin(work)) })
}

fn refused(refusal: Response<Bytes>) -> Result<Served, Error> {
    let status = refusal.status();
    if status.as_u16() < 400 {
        return Err(Error::protocol(format!("invalid upgrade response: status code {}", status.as_u16())));
    }
    Ok(Served::plain(refusal))
}

async fn tunnelled<I: Io>(asked: Asked<'_>, target: Uri, backend: I) -> Result<Served, Error> {
    let protocols: Vec<String> = websocket::tunnelled(asked.headers).into_iter().map(str::to_owned).collect();
    let mut request = bodiless(&asked, target)?;
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    headers.remove(header::SEC_WEBSOCKET_KEY);
    headers.remove(header::SEC_WEBSOCKET_VERSION);
    headers.remove(STREAM_PROTOCOL);
    headers.insert(header::UPGRADE, HeaderValue::from_static(spdy::UPGRADE));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    for protocol in &protocols {
        let value = HeaderValue::from_str(protocol).map_err(|error| Error::protocol(error.to_string()))?;
        headers.append(STREAM_PROTOCOL, value);
    }
    let (answered, backend) = match ask(backend, request).await? {
        Answer::Switched(headers, io) => (headers, io),
        Answer::Refused(refusal) => return refused(refusal),
    };
    let chosen = answered.get(STREAM_PROTOCOL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let chosen = if chosen.is_empty() { String::new() } else { format!("{}{chosen}", websocket::TUNNEL_PREFIX) };
    let response = match websocket::accept(asked.headers, &chosen) {
        Ok(response) => response,
        Err(wrong) => return Ok(Served::plain(wrong)),
    };
    let upgrade = asked.upgrade;
    let work = async move { tunnel::pump(websocket::socket(upgrade).await?, backend).await };
    Ok(Served { response, work: Some(Box::pin(work)) })
}
