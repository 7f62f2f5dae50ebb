//! Answers: text, JSON, metrics, Status objects.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is there already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

pub fn typed(code: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub fn text(code: u16, text: impl Into<Bytes>) -> Response<Body> {
    typed(code, "text/plain; charset=utf-8", text)
}

pub fn json(value: &serde_json::Value) -> Response<Body> {
    typed(200, "application/json", value.to_string())
}

pub fn metrics(text: String) -> Response<Body> {
    typed(200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", text)
}

pub fn only_get() -> Response<Body> {
    let mut response = text(405, "Method Not Allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    response
}

/// As Go's `http.Error` writes it, which no browser is to take for something else.
pub(crate) fn plain(code: u16, text: impl Into<Bytes>) -> Response<Body> {
    unsniffed(self::text(code, text))
}

fn unsniffed(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A refusal as the API server writes it (k8s.io/apiserver/pkg/endpoints/handlers/responsewriters@v0.37.2).
pub(crate) fn refusal(code: StatusCode, reason: &str, message: &str) -> Response<Body> {
    let message = serde_json::Value::from(message);
    let details = if code == StatusCode::FORBIDDEN { r#""details":{},"# } else { "" };
    let text = format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":{message},"reason":"{reason}",{details}"code":{}}}"#,
        code.as_u16()
    );
    unsniffed(typed(code.as_u16(), "application/json", text + "\n"))
}
