//! Answers of the node's server: text, JSON, metrics, streams.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

pub(super) fn typed(code: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(super) fn text(code: u16, text: impl Into<Bytes>) -> Response<Body> {
    typed(code, "text/plain; charset=utf-8", text)
}

pub(super) fn json(value: &serde_json::Value) -> Response<Body> {
    typed(200, "application/json", value.to_string())
}

pub(super) fn metrics(text: String) -> Response<Body> {
    typed(200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", text)
}

pub(super) fn only_get() -> Response<Body> {
    let mut response = text(405, "Method Not Allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    response
}

/// A failure of the runtime (k8s.io/cri-streaming/pkg/streaming/errors.go@v0.37.2, WriteError).
pub(super) fn runtime_failure(error: &cri::Error) -> Response<Body> {
    text(if error.is_not_found() { 404 } else { 500 }, error.to_string())
}
