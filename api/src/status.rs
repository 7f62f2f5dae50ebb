//! The Status object: every error answer of the API, in upstream's words
//! (k8s.io/apimachinery/pkg/api/errors/errors.go@v0.37.2).

use crate::field;
use crate::map;
use crate::value::{Map, Value};

/// A failure with its HTTP code, reason, message and details.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub group: String,
    /// The kind or resource the details are about.
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    pub retry_after_seconds: u32,
    /// ListMeta.continue, set in a 410 so that a client may go on inconsistently.
    pub continue_token: String,
    /// `details` are there even if they are empty.
    pub detailed: bool,
    /// The whole Status object as somebody else made it: a webhook's denial is passed on.
    pub given: Option<Box<Map>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

/// `plural.group`, or `plural` in the core group.
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_string() } else { format!("{resource}.{group}") }
}

fn about(code: u16, reason: &'static str, group: &str, kind: &str, name: &str, message: String) -> Status {
    Status { code, reason, message, group: group.into(), kind: kind.into(), name: name.into(), ..Status::default() }
}

fn plain(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
    Status { code, reason, message: message.into(), ..Status::default() }
}

impl Status {
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} not found", qualified(group, resource), field::go_quote(name));
        about(404, "NotFound", group, resource, name, message)
    }

    /// The path itself is not served.
    pub fn no_such_path() -> Self {
        Status { detailed: true, ..plain(404, "NotFound", "the server could not find the requested resource") }
    }

    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", qualified(group, resource), field::go_quote(name));
        about(409, "AlreadyExists", group, resource, name, message)
    }

    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, resource);
        let message = format!("Operation cannot be fulfilled on {what} {}: {why}", field::go_quote(name));
        about(409, "Conflict", group, resource, name, message)
    }

    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, resource);
        let message = match (resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{what} is forbidden: {why}"),
            (false, false) => format!("{what} {} is forbidden: {why}", field::go_quote(name)),
        };
        about(403, "Forbidden", group, resource, name, message)
    }

    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[field::Error]) -> Self {
        let what = format!("{} {} is invalid", qualified(group, kind), field::go_quote(name));
        let message = if errors.is_empty() { what } else { format!("{what}: {}", field::aggregate(errors)) };
        let causes = errors.iter().map(|error| Cause {
            reason: error.kind.reason().into(),
            message: error.body.clone(),
            field: error.field.clone(),
        });
        Status { causes: causes.collect(), ..about(422, "Invalid", group, kind, name, message) }
    }

    /// 422 of what the client sent, without a reason
    /// (k8s.io/apimachinery/pkg/api/errors/errors.go@v0.37.2: NewGenericServerResponse).
    pub fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Status { detailed: true, ..plain(422, "Invalid", message) }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        plain(400, "BadRequest", message)
    }

    pub fn unauthorized() -> Self {
        plain(401, "Unauthorized", "Unauthorized")
    }

    pub fn method_not_supported(group: &str, resource: &str, action: &str) -> Self {
        let what = qualified(group, resource);
        let message = format!("{action} is not supported on resources of kind {}", field::go_quote(&what));
        about(405, "MethodNotAllowed", group, resource, "", message)
    }

    /// The path is served, the method is not.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Status { detailed: true, ..plain(405, "MethodNotAllowed", message) }
    }

    /// No representation that the client accepts; `accepted` in upstream's order.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        plain(406, "NotAcceptable", format!("only the following media types are accepted: {list}"))
    }

    /// The representation that was asked for is none of what there is.
    pub fn unshowable(message: impl Into<String>) -> Self {
        plain(406, "NotAcceptable", message)
    }

    /// What the routes themselves refuse, before any handler: no media type in common
    /// (github.com/emicklei/go-restful/v3@v3.13.0/jsr311.go: detectRoute, in the words of its ServiceError).
    pub fn no_route_produces(produced: &[&str]) -> Self {
        let message = format!("406: Not Acceptable\n\nAvailable representations: {}", produced.join(", "));
        Status { detailed: true, ..plain(406, "NotAcceptable", message) }
    }

    /// No route takes such a body.
    pub fn no_route_consumes() -> Self {
        Status { detailed: true, ..plain(415, "UnsupportedMediaType", "415: Unsupported Media Type") }
    }

    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {list}");
        plain(415, "UnsupportedMediaType", message)
    }

    /// 410: the resourceVersion is gone.
    pub fn expired(message: impl Into<String>) -> Self {
        plain(410, "Expired", message)
    }

    pub fn internal(why: &str) -> Self {
        let cause = Cause { message: why.into(), ..Cause::default() };
        let message = format!("Internal error occurred: {why}");
        Status { causes: vec![cause], ..plain(500, "InternalError", message) }
    }

    pub fn timeout(message: &str, retry_after_seconds: u32) -> Self {
        Status { retry_after_seconds, ..plain(504, "Timeout", format!("Timeout: {message}")) }
    }

    pub fn server_timeout(group: &str, resource: &str, operation: &str, retry_after_seconds: u32) -> Self {
        let what = qualified(group, resource);
        let message =
            format!("The {operation} operation against {what} could not be completed at this time, please try again.");
        Status { retry_after_seconds, ..about(500, "ServerTimeout", group, resource, operation, message) }
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Status { retry_after_seconds, ..plain(429, "TooManyRequests", message) }
    }

    pub fn service_unavailable(message: impl Into<String>) -> Self {
        plain(503, "ServiceUnavailable", message)
    }

    pub fn request_entity_too_large(message: &str) -> Self {
        plain(413, "RequestEntityTooLarge", format!("Request entity too large: {message}"))
    }

    /// 504 with cause ResourceVersionTooLarge: the client knows a later state than this server
    /// (k8s.io/apiserver/pkg/storage/errors.go@v0.37.2).
    pub fn too_large_resource_version(wanted: u64, current: u64, retry_after_seconds: u32) -> Self {
        let cause = Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        };
        let text = format!("Too large resource version: {wanted}, current: {current}");
        Status { causes: vec![cause], ..Status::timeout(&text, retry_after_seconds) }
    }

    pub fn with_cause(mut self, reason: &str, message: &str, field: &str) -> Self {
        self.causes.push(Cause { reason: reason.into(), message: message.into(), field: field.into() });
        self
    }

    fn has_details(&self) -> bool {
        let texts = [&self.group, &self.kind, &self.name, &self.uid];
        texts.iter().any(|text| !text.is_empty()) || !self.causes.is_empty() || self.retry_after_seconds > 0
    }

    /// The `v1` Status object, in schema order.
    pub fn to_object(&self) -> Map {
        if let Some(given) = &self.given {
            return (**given).clone();
        }
        let mut meta = Map::new();
        if !self.continue_token.is_empty() {
            meta.set("continue", self.continue_token.as_str());
        }
        let mut status = map! { "kind" => "Status", "apiVersion" => "v1", "metadata" => meta, "status" => "Failure" };
        if !self.message.is_empty() {
            status.set("message", self.message.as_str());
        }
        if !self.reason.is_empty() {
            status.set("reason", self.reason);
        }
        if self.detailed || self.has_details() {
            status.set("details", self.details());
        }
        status.set("code", i64::from(self.code));
        status
    }

    fn details(&self) -> Map {
        let mut details = Map::new();
        for (name, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)] {
            if !text.is_empty() {
                details.set(name, text.as_str());
            }
        }
        if !self.causes.is_empty() {
            details.set("causes", self.causes.iter().map(Cause::to_value).collect::<Vec<_>>());
        }
        if self.retry_after_seconds > 0 {
            details.set("retryAfterSeconds", i64::from(self.retry_after_seconds));
        }
        details
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut cause = Map::new();
        for (name, text) in [("reason", &self.reason), ("message", &self.message), ("field", &self.field)] {
            if !text.is_empty() {
                cause.set(name, text.as_str());
            }
        }
        Value::Map(cause)
    }
}

/// The `v1` Status of a success with details, as delete answers.
pub fn success(group: &str, kind: &str, name: &str, uid: &str) -> Map {
    let about =
        Status { group: group.into(), kind: kind.into(), name: name.into(), uid: uid.into(), ..Status::default() };
    let mut status = map! { "kind" => "Status", "apiVersion" => "v1", "metadata" => Map::new(), "status" => "Success" };
    if about.has_details() {
        status.set("details", about.details());
    }
    status
}
