//! Answers: objects and failures in the client's format.
//!
//! Invariant: the only place where a [`Status`] becomes an HTTP response.

use std::convert::Infallible;

use api::field::go_quote;
use api::status::Status;
use api::value::Map;
use api::{facts, json, proto};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use crate::negotiate::{Accepted, Format};

/// Characters that the warnings of one answer have together, and once they would have more, each.
const WARNINGS_CHARS_MAX: usize = 4 * 1024;
const WARNING_CHARS_MAX: usize = 256;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is there already.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// The bytes of an object that carries its kind and apiVersion.
pub(crate) fn encode(object: &Map, accepted: &Accepted) -> Vec<u8> {
    match accepted.format {
        Format::Json if accepted.pretty => json::encode_pretty(object),
        Format::Json => json::encode(object),
        Format::Yaml => api::yaml::from_json(&json::encode(object)).unwrap_or_default().into_bytes(),
        Format::Protobuf => {
            let (group, version) = facts::split_api_version(object.str("apiVersion"));
            match facts::kind(group, version, object.str("kind")) {
                Some(ty) => proto::wrap(object.str("apiVersion"), object.str("kind"), &proto::encode(object, ty)),
                // Kinds without a protobuf form (Table) are never offered in it.
                None => json::encode(object),
            }
        }
    }
}

pub(crate) fn response(code: u16, content_type: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_str(content_type).unwrap_or(HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

pub(crate) fn object(code: u16, object: &Map, accepted: &Accepted) -> Response<Body> {
    response(code, &accepted.content_type(false), full(encode(object, accepted)))
}

/// A failure; a failed negotiation is answered in JSON.
pub(crate) fn failure(status: &Status, accepted: &Accepted) -> Response<Body> {
    let plain = Accepted { shape: crate::negotiate::Shape::Whole, ..accepted.clone() };
    let mut response = object(status.code, &status.to_object(), &plain);
    if status.retry_after_seconds > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(status.retry_after_seconds));
    }
    response
}

pub(crate) fn text(code: u16, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = response(code, "text/plain; charset=utf-8", full(text));
    response.headers_mut().insert("X-Content-Type-Options", HeaderValue::from_static("nosniff"));
    response
}

/// A failure that has no Status (k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go@v0.37.2: InternalError).
pub(crate) fn internal_error(uri: &Uri, why: &str) -> Response<Body> {
    let uri = go_quote(uri.path_and_query().map_or("/", |uri| uri.as_str()));
    let told = format!("Internal Server Error: {uri}: {why}\n");
    text(500, told.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
}

/// Adds `Warning: 299 - "text"` headers (k8s.io/apiserver/pkg/warning@v0.37.2).
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in within_limit(warnings) {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// As many warnings as a client takes: when all are longer than the limit together, each is cut, and the last are
/// left out (k8s.io/apiserver/pkg/endpoints/filters/warning.go@v0.37.2: recorder).
fn within_limit(warnings: &[String]) -> Vec<&str> {
    let length = |text: &str| text.chars().count();
    // Up to this warning everything is replayed once the limit is passed.
    let mut total = 0;
    let passed = warnings.iter().position(|warning| {
        total += length(warning);
        total > WARNINGS_CHARS_MAX
    });
    let Some(passed) = passed else { return warnings.iter().map(String::as_str).collect() };
    let mut written = 0;
    let fits = |(at, warning): (usize, &'_ String)| {
        let go_on = at <= passed || written < WARNINGS_CHARS_MAX;
        written += length(warning).min(WARNING_CHARS_MAX);
        go_on
    };
    let count = warnings.iter().enumerate().map(fits).take_while(|fits| *fits).count();
    warnings[..count].iter().map(|warning| cut(warning)).collect()
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(WARNING_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_stay_within_what_clients_take() {
        let given = |lengths: &[usize]| -> Vec<String> { lengths.iter().map(|length| "é".repeat(*length)).collect() };
        for (lengths, expect) in [
            (vec![5, 4091], vec![5, 4091]),
            (vec![5, 4092], vec![5, 256]),
            (vec![5000], vec![256]),
            (vec![300; 20], vec![256; 16]),
            (vec![100; 50], vec![100; 41]),
            (vec![4000, 97, 300, 4000], vec![256, 97, 256, 256]),
        ] {
            let warnings = given(&lengths);
            let got: Vec<usize> = within_limit(&warnings).iter().map(|text| text.chars().count()).collect();
            assert_eq!(got, expect, "{lengths:?}");
        }
        let mut response = text(200, "");
        warn(&mut response, &["é \"x\" \\".to_owned()]);
        let header = response.headers().get(header::WARNING).expect("a warning");
        assert_eq!(header.as_bytes(), "299 - \"é \\\"x\\\" \\\\\"".as_bytes());
    }
}
