//! What an answer says: the object in it, as JSON, and the Status that it may be
//! (k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/writers.go, pkg/audit/request.go@v0.37.2).
//!
//! Invariant: an answer is looked at only when something of it is told, and goes on as it was. Upstream has the object at
//! hand and encodes it a second time; here the bytes that are sent are read.

use api::facts;
use api::json::{self, Strictness};
use api::value::{Map, Value};
use api::{proto, yaml};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::event::compact;
use super::strip::without_managed_fields;
use crate::negotiate::{Format, MEDIA_TYPES};
use crate::respond::{Body, full};

/// What is told of an answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Told {
    /// The Status, when it is one, as an event has it.
    pub(super) status: Option<Map>,
    pub(super) object: Option<Bytes>,
}

/// What is wanted of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) object: bool,
    /// A success may be a Status.
    pub(super) status: bool,
    pub(super) omit_managed_fields: bool,
}

/// Looks at an answer.
pub(super) async fn look(response: Response<Body>, wanted: Wanted) -> (Response<Body>, Told) {
    let failed = response.status().as_u16() >= 400;
    let is_there = response.body().size_hint().exact().is_some();
    let Some(format) = format(response.headers()) else { return (response, Told::default()) };
    if !(wanted.object || (is_there && (failed || wanted.status))) {
        return (response, Told::default());
    }
    let (parts, body) = response.into_parts();
    match body.collect().await {
        Ok(body) => {
            let bytes = body.to_bytes();
            let told = told(format, &bytes, failed, wanted);
            (Response::from_parts(parts, full(bytes)), told)
        }
        Err(error) => {
            tracing::warn!(%error, "an answer could not be made");
            let mut response = Response::new(full(Bytes::new()));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            (response, Told::default())
        }
    }
}

/// The format of an object; `None` for what is none, and for what is compressed.
fn format(headers: &HeaderMap) -> Option<Format> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return None;
    }
    let media_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim();
    let at = MEDIA_TYPES.iter().position(|known| *known == media_type)?;
    Some([Format::Json, Format::Yaml, Format::Protobuf][at])
}

fn told(format: Format, bytes: &Bytes, failed: bool, wanted: Wanted) -> Told {
    // Most answers are not a Status, and say so at their beginning.
    let may_be_status = || match format {
        Format::Json => compact(&bytes[..bytes.len().min(64)]).starts_with(br#"{"kind":"Status""#),
        Format::Yaml | Format::Protobuf => true,
    };
    if !wanted.object && !failed && !may_be_status() {
        return Told::default();
    }
    let Some((kind, object)) = read(format, bytes) else { return Told::default() };
    let status = (kind == "Status").then(|| status(&object)).flatten();
    let told = |object: Bytes| match wanted.omit_managed_fields {
        true => without_managed_fields(&object),
        false => object,
    };
    Told { status, object: wanted.object.then(|| told(object)) }
}

/// The kind of an object and the object as JSON; `None` for what has no kind.
fn read(format: Format, bytes: &Bytes) -> Option<(String, Bytes)> {
    let (kind, version, object) = match format {
        Format::Protobuf => {
            let unknown = proto::unwrap(bytes).ok().flatten()?;
            let (group, version) = facts::split_api_version(unknown.api_version);
            let ty = facts::kind(group, version, unknown.kind)?;
            let mut object = proto::decode(unknown.raw, ty).ok()?;
            api::object::set_kind(&mut object, unknown.api_version, unknown.kind);
            (unknown.kind.to_owned(), unknown.api_version.to_owned(), compact(&json::encode(&object)))
        }
        Format::Yaml => {
            let text = yaml::to_json(bytes).ok()?;
            let (kind, version) = kind_of(&text)?;
            let (group, number) = facts::split_api_version(&version);
            // In the order of the kind's fields, where they are known.
            let ordered = facts::kind(group, number, &kind).and_then(|ty| {
                let mut object = json::decode(&text, ty, Strictness::Lenient).ok()?.value;
                api::object::set_kind(&mut object, &version, &kind);
                Some(json::encode(&object))
            });
            (kind, version, compact(&ordered.unwrap_or(text)))
        }
        Format::Json => {
            let (kind, version) = kind_of(bytes)?;
            (kind, version, compact(bytes))
        }
    };
    (!kind.is_empty() && !version.is_empty()).then_some((kind, object))
}

/// Kind and apiVersion, without reading more than there is to find them.
fn kind_of(text: &[u8]) -> Option<(String, String)> {
    #[derive(serde::Deserialize)]
    struct Head<'a> {
        #[serde(borrow, default)]
        kind: std::borrow::Cow<'a, str>,
        #[serde(borrow, default, rename = "apiVersion")]
        api_version: std::borrow::Cow<'a, str>,
    }
    let head: Head<'_> = serde_json::from_slice(text).ok()?;
    Some((head.kind.into_owned(), head.api_version.into_owned()))
}

/// A Status as an event has it: the fields that have an end, and no metadata to speak of.
fn status(object: &[u8]) -> Option<Map> {
    let ty = facts::structure("io.k8s.apimachinery.pkg.apis.meta.v1.Status")?;
    let status = json::decode(object, ty, Strictness::Lenient).ok()?.value;
    let mut told = api::map! { "metadata" => Map::new() };
    for name in ["status", "message", "reason", "details", "code"] {
        if let Some(value) = status.get(name).filter(|value| !value.is_null()) {
            told.set(name, value.clone());
        }
    }
    Some(told)
}

/// The status of an answer that says none.
pub(super) fn with_code(status: Option<Map>, code: u16) -> Map {
    let mut status = status.unwrap_or_else(|| api::map! { "metadata" => Map::new() });
    status.set("code", Value::from(i64::from(code)));
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, media_type: &str, body: impl Into<Bytes>) -> Response<Body> {
        crate::respond::response(code, media_type, full(body))
    }

    /// What is told of an answer, its status and its object, when the object is wanted and when it is not.
    async fn check(code: u16, media_type: &str, body: &[u8], expect: (&str, &str)) {
        for object in [true, false] {
            let wanted = Wanted { object, status: true, omit_managed_fields: false };
            let body = Bytes::copy_from_slice(body);
            let (response, told) = look(answer(code, media_type, body.clone()), wanted).await;
            assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), body);
            let status = told.status.map(|status| String::from_utf8(json::encode(&status)).expect("text"));
            let shown = told.object.map(|object| String::from_utf8(object.to_vec()).expect("text"));
            let expected = if object { expect.1 } else { "" };
            assert_eq!((status.unwrap_or_default().trim_end(), &*shown.unwrap_or_default()), (expect.0, expected));
        }
    }

    #[tokio::test]
    async fn answers() {
        let json = "application/json";
        let pod = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}"#;
        check(200, json, format!("{pod}\n").as_bytes(), ("", pod)).await;
        check(200, "text/plain", b"ok", ("", "")).await;
        check(200, json, br#"{"major":"1"}"#, ("", "")).await;
        let status = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"a < b","reason":"NotFound","details":{"name":"a","kind":"pods"},"code":404}"#;
        let told = r#"{"metadata":{},"status":"Failure","message":"a \u003c b","reason":"NotFound","details":{"name":"a","kind":"pods"},"code":404}"#;
        let escaped = status.replace('<', "\\u003c");
        check(404, json, status.as_bytes(), (told, &escaped)).await;
        check(404, "application/yaml", yaml::from_json(status.as_bytes()).expect("YAML").as_bytes(), (told, &escaped))
            .await;
        let value = json::decode_any(status.as_bytes(), Strictness::Lenient).expect("JSON").0;
        let ty = facts::kind("", "v1", "Status").expect("a type");
        let raw = proto::encode(value.as_map().expect("an object"), ty);
        let media_type = "application/vnd.kubernetes.protobuf";
        check(404, media_type, &proto::wrap("v1", "Status", &raw), (told, &escaped)).await;
        let done = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}"#;
        check(200, json, done.as_bytes(), (r#"{"metadata":{},"status":"Success"}"#, done)).await;
    }
}
