//! What is made of an HTTP answer, as client-go makes it
//! (k8s.io/client-go/rest/request.go, k8s.io/apimachinery/pkg/api/errors/errors.go@v0.37.2).

use api::field;
use api::json::{Strictness, decode_any};
use api::value::{Map, Value};
use bytes::Bytes;

/// A call that failed: what is told, and the code that is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) text: String,
    pub(crate) code: u16,
    /// There was no call: the configuration is of no use.
    pub(crate) unmade: bool,
    /// The reason of the Status that was answered or that the code stands for; empty without an answer.
    pub(crate) reason: String,
    /// What became of the connection, where there was no answer.
    pub(crate) lost: Option<Lost>,
}

/// How a call ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    Reset,
    TimedOut,
}

/// The code of what is no Status (NewServiceUnavailable).
const UNAVAILABLE: u16 = 503;
/// Bytes of an answer's text that are told.
const TEXT_BYTES_MAX: usize = 2048;

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Failure { text: text.into(), code: UNAVAILABLE, unmade: false, reason: String::new(), lost: None }
    }

    /// Whether the call may succeed another time (k8s.io/apiserver/pkg/util/webhook/webhook.go: DefaultShouldRetry).
    pub(crate) fn passes(&self) -> bool {
        let answered = !self.reason.is_empty() && self.code == 429;
        let reasons = ["InternalError", "Timeout", "TooManyRequests"];
        answered || self.lost == Some(Lost::Reset) || reasons.contains(&self.reason.as_str())
    }

    /// As admission tells it.
    pub(crate) fn told(&self) -> String {
        let what = if self.unmade { "could not get REST client" } else { "failed to call webhook" };
        format!("{what}: {}", self.text)
    }
}

/// Whether the code of an answer is a success.
pub(super) fn accepted(code: u16, content_type: &str, body: &Bytes) -> Result<(), Failure> {
    if (200..=206).contains(&code) { Ok(()) } else { Err(refused(code, content_type, body)) }
}

/// The object of an answer.
pub(super) fn object(code: u16, content_type: &str, body: &Bytes) -> Result<Map, Failure> {
    if !(200..=206).contains(&code) {
        return Err(refused(code, content_type, body));
    }
    if body.is_empty() {
        let kind = if content_type.is_empty() { "application/json" } else { content_type };
        let text = format!("0-length response with status code: {code} and content type: {kind}");
        return Err(Failure::new(text));
    }
    // What is no JSON is read as YAML.
    let decoded = decode_any(body, Strictness::Lenient).or_else(|error| match api::yaml::to_json(body) {
        Ok(text) => decode_any(&text, Strictness::Lenient),
        Err(_) => Err(error),
    });
    let unreadable = |why: String| Failure::new(format!("couldn't get version/kind; json parse error: {why}"));
    let object = match decoded.map_err(|error| unreadable(error.to_string()))?.0 {
        Value::Map(object) => object,
        other => {
            let what = match other {
                Value::List(_) => "array",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            let into = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";
            return Err(unreadable(format!("json: cannot unmarshal {what} into Go value of type {into}")));
        }
    };
    match failed(&object) {
        Some(failure) => Err(failure),
        None => Ok(object),
    }
}

/// A Status that tells of a failure.
fn failed(object: &Map) -> Option<Failure> {
    let is = object.str("kind") == "Status" && object.str("apiVersion") == "v1" && object.str("status") != "Success";
    let code = object.i64("code").and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
    let reason = if object.str("reason").is_empty() { "Unknown" } else { object.str("reason") };
    is.then(|| Failure { code, reason: reason.to_owned(), ..Failure::new(object.str("message")) })
}

/// A code that is no success: the Status in the body, or what the code stands for.
fn refused(code: u16, content_type: &str, body: &Bytes) -> Failure {
    if let Ok((Value::Map(mut object), _)) = decode_any(body, Strictness::Lenient) {
        if object.str("kind").is_empty() && object.str("apiVersion").is_empty() && object.str("status") == "Failure" {
            api::object::set_kind(&mut object, "v1", "Status");
        }
        if let Some(failure) = failed(&object) {
            return failure;
        }
    }
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let text = String::from_utf8_lossy(&body[..body.len().min(TEXT_BYTES_MAX)]);
    let told = if media.is_empty() || media.starts_with("text/") { text.trim() } else { "unknown" };
    Failure { code, reason: reason(code).to_owned(), ..Failure::new(meaning(code, told)) }
}

/// The reason that a code stands for (NewGenericServerResponse).
fn reason(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        500.. => "InternalError",
        _ => "Unknown",
    }
}

/// NewGenericServerResponse.
fn meaning(code: u16, told: &str) -> String {
    let text = match code {
        409 => "the server reported a conflict",
        404 => "the server could not find the requested resource",
        400 => "the server rejected our request for an unknown reason",
        401 => "the server has asked for the client to provide credentials",
        406 if told.is_empty() || told == "unknown" => {
            "the server was unable to respond with a content type that the client supports"
        }
        403 | 406 | 415 => told,
        405 => "the server does not allow this method on the requested resource",
        422 => "the server rejected our request due to an error in our request",
        503 => "the server is currently unable to handle the request",
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
        }
        429 => "the server has received too many requests and has asked us to try again later",
        500.. => {
            let quoted = field::go_quote(told);
            return format!("an error on the server ({quoted}) has prevented the request from succeeding");
        }
        _ => {
            return format!("the server responded with the status code {code} but did not return more information");
        }
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: u16, content_type: &str, body: &'static str, want: Result<&str, &str>) {
        let got = object(code, content_type, &Bytes::from(body));
        let got = got.map(|object| object.str("kind").to_owned()).map_err(|failure| failure.text);
        assert_eq!(got.as_deref().map_err(String::as_str), want, "{code} {body}");
    }

    #[test]
    fn answers() {
        check(200, "text/html", "kind: AdmissionReview", Ok("AdmissionReview"));
        check(200, "application/json", r#"{"kind":"AdmissionReview"}"#, Ok("AdmissionReview"));
        check(200, "", "", Err("0-length response with status code: 200 and content type: application/json"));
        check(404, "text/plain", "404 page", Err("the server could not find the requested resource"));
        let told = r#"an error on the server ("no \"x\"") has prevented the request from succeeding"#;
        check(500, "text/plain; charset=utf-8", "no \"x\"\n", Err(told));
        let unknown = r#"an error on the server ("unknown") has prevented the request from succeeding"#;
        check(500, "application/json", "{}", Err(unknown));
        let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"busy","code":500}"#;
        check(500, "application/json", status, Err("busy"));
        check(200, "application/json", status, Err("busy"));
        let more = "the server responded with the status code 302 but did not return more information";
        check(302, "", "", Err(more));
    }

    #[test]
    fn failures_that_may_pass() {
        let busy = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"TooManyRequests","code":429}"#;
        let of = |code, body: &'static str| object(code, "", &Bytes::from(body)).err().map(|failure| failure.passes());
        for (code, body, expect) in [
            (500, "", true),
            (502, "", true),
            (504, "", true),
            (429, "", true),
            (200, busy, true),
            (503, "", false),
            (401, "", false),
            (404, "", false),
        ] {
            assert_eq!(of(code, body), Some(expect), "{code} {body}");
        }
        assert!(!Failure::new("no route").passes());
        assert!(Failure { lost: Some(Lost::Reset), ..Failure::new("reset") }.passes());
    }
}
