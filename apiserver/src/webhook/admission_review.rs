//! AdmissionReview: what a webhook is asked, and whether its answer is one
//! (k8s.io/apiserver/pkg/admission/plugin/webhook/{request/admissionreview.go,errors/statuserror.go}@v0.37.2).
//!
//! Invariant: pure; v1 and v1beta1 differ in what is checked of an answer, not in what is asked.

use api::field::go_quote;
use api::map;
use api::status::Status;
use api::value::{Map, Value};
use base64::{DecodeError, Engine};

use super::Version;
use crate::admission::expression::subject::Name;
use crate::authn::User;

const GROUP: &str = "admission.k8s.io";
const KIND: &str = "AdmissionReview";

/// What a webhook is asked about.
pub(crate) struct Question<'a> {
    pub(crate) uid: &'a str,
    /// As the webhook's rules name them, and as the request did.
    pub(crate) kind: Name,
    pub(crate) resource: Name,
    pub(crate) request_kind: Name,
    pub(crate) request_resource: Name,
    pub(crate) subresource: &'a str,
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) operation: &'static str,
    pub(crate) user: &'a User,
    pub(crate) object: Option<&'a Map>,
    pub(crate) old: Option<&'a Map>,
    pub(crate) dry_run: bool,
    pub(crate) options: &'a Value,
}

fn or_null(object: Option<&Map>) -> Value {
    object.map_or(Value::Null, |object| Value::Map(object.clone()))
}

/// The review that is sent.
pub(crate) fn asked(version: Version, question: &Question<'_>) -> Map {
    map! { "kind" => KIND, "apiVersion" => version.of_group(GROUP), "request" => question.request() }
}

impl Question<'_> {
    /// An AdmissionRequest: what webhooks are sent, and what `request` is to expressions.
    pub(crate) fn request(&self) -> Map {
        let mut request = map! {
            "uid" => self.uid,
            "kind" => self.kind.to_map("kind"),
            "resource" => self.resource.to_map("resource")
        };
        let text = |request: &mut Map, name: &'static str, text: &str| {
            if !text.is_empty() {
                request.set(name, text);
            }
        };
        text(&mut request, "subResource", self.subresource);
        request.set("requestKind", self.request_kind.to_map("kind"));
        request.set("requestResource", self.request_resource.to_map("resource"));
        text(&mut request, "requestSubResource", self.subresource);
        text(&mut request, "name", self.name);
        text(&mut request, "namespace", self.namespace);
        request.set("operation", self.operation);
        request.set("userInfo", user_info(self.user));
        request.set("object", or_null(self.object));
        request.set("oldObject", or_null(self.old));
        request.set("dryRun", self.dry_run);
        request.set("options", self.options.clone());
        request
    }
}

fn user_info(user: &User) -> Map {
    let mut info = Map::new();
    for (name, text) in [("username", &user.name), ("uid", &user.uid)] {
        if !text.is_empty() {
            info.set(name, text.as_str());
        }
    }
    let texts = |texts: &[String]| texts.iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>();
    if !user.groups.is_empty() {
        info.set("groups", texts(&user.groups));
    }
    if !user.extra.is_empty() {
        let extra: Map = user.extra.iter().map(|(key, all)| (key.as_str().into(), Value::List(texts(all)))).collect();
        info.set("extra", extra);
    }
    info
}

/// What a webhook answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) allowed: bool,
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) patch: Vec<u8>,
    pub(crate) patch_type: String,
    pub(crate) result: Option<Map>,
    pub(crate) warnings: Vec<String>,
}

/// What keeps an answer from being decoded as a review of the version that was asked.
pub(crate) fn undecodable(version: Version, review: &Map) -> Option<String> {
    super::unlike(GROUP, KIND, version, review).or_else(|| mistyped(review))
}

/// A field of another type than it should have, where webhooks are known to go wrong.
fn mistyped(review: &Map) -> Option<String> {
    let response = review.map("response")?;
    let what = match response.get("allowed") {
        Some(Value::String(_)) => Some("string"),
        Some(Value::Int(_) | Value::Float(_)) => Some("number"),
        Some(Value::Map(_)) => Some("object"),
        Some(Value::List(_)) => Some("array"),
        _ => None,
    };
    if let Some(what) = what {
        let field = "Go struct field AdmissionResponse.response.allowed of type bool";
        return Some(format!("json: cannot unmarshal {what} into {field}"));
    }
    match base64::engine::general_purpose::STANDARD.decode(response.str("patch")) {
        Err(DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol { offset: at, .. }) => {
            Some(format!("illegal base64 data at input byte {at}"))
        }
        Err(_) => Some(format!("illegal base64 data at input byte {}", response.str("patch").len())),
        Ok(_) => None,
    }
}

/// VerifyAdmissionResponse.
pub(crate) fn answered(version: Version, uid: &str, mutating: bool, review: &Map) -> Result<Answer, String> {
    let Some(response) = review.map("response") else { return Err("webhook response was absent".into()) };
    let patch = base64::engine::general_purpose::STANDARD.decode(response.str("patch"));
    let patch = patch.map_err(|error| error.to_string())?;
    let mut patch_type = response.get("patchType").and_then(Value::as_str).map(str::to_owned);
    match version {
        Version::V1 => {
            check_identity(uid, response, review)?;
            check_patch(mutating, &patch, patch_type.as_deref())?;
        }
        // What v1beta1 did not check it still does not.
        Version::V1beta1 => patch_type = (!patch.is_empty()).then(|| "JSONPatch".to_owned()),
    }
    let texts = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let annotations = response.map("auditAnnotations").into_iter().flat_map(Map::iter);
    Ok(Answer {
        allowed: response.bool("allowed") == Some(true),
        annotations: annotations.map(|(key, value)| (key.to_string(), texts(value))).collect(),
        patch: if mutating { patch } else { Vec::new() },
        patch_type: patch_type.unwrap_or_default(),
        result: response.map("status").cloned(),
        warnings: response.list("warnings").iter().map(texts).collect(),
    })
}

fn check_identity(uid: &str, response: &Map, review: &Map) -> Result<(), String> {
    if response.str("uid") != uid {
        return Err(format!("expected response.uid={}, got {}", go_quote(uid), go_quote(response.str("uid"))));
    }
    let (api_version, kind) = (review.str("apiVersion"), review.str("kind"));
    let wanted = Version::V1.of_group(GROUP);
    if api_version != wanted || kind != KIND {
        let got = if api_version.is_empty() { "/" } else { api_version };
        return Err(format!("expected webhook response of {wanted}, Kind={KIND}, got {got}, Kind={kind}"));
    }
    Ok(())
}

fn check_patch(mutating: bool, patch: &[u8], patch_type: Option<&str>) -> Result<(), String> {
    let why = match (mutating, patch.is_empty(), patch_type) {
        (true, false, None) => "webhook returned response.patch but not response.patchType",
        (true, true, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, _, Some("")) => "webhook returned invalid response.patchType of \"\"",
        (false, false, _) => "validating webhook may not return response.patch",
        (false, _, Some(_)) => "validating webhook may not return response.patchType",
        _ => return Ok(()),
    };
    Err(why.into())
}

/// What a client is told of a denial: the webhook's Status, under its name (ToStatusErr).
pub(crate) fn denial(webhook: &str, result: Option<&Map>) -> Status {
    let result = result.unwrap_or(Map::EMPTY);
    let by = format!("admission webhook {} denied the request", go_quote(webhook));
    let message = match (result.str("message"), result.str("reason")) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    let code = result.i64("code").and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400).unwrap_or(400);
    let status = match result.str("status") {
        "" | "Success" => "Failure",
        other => other,
    };
    let meta = result.map("metadata").cloned().unwrap_or_default();
    let mut given = map! {
        "kind" => "Status", "apiVersion" => "v1", "metadata" => meta, "status" => status, "message" => message.as_str()
    };
    if !result.str("reason").is_empty() {
        given.set("reason", result.str("reason"));
    }
    if let Some(details) = result.map("details") {
        given.set("details", details.clone());
    }
    given.set("code", i64::from(code));
    Status { code, message, given: Some(Box::new(given)), ..Status::default() }
}

#[cfg(test)]
mod tests {
    use api::json::{Strictness, decode_any};

    use super::*;

    fn review(text: &str) -> Map {
        match decode_any(text.as_bytes(), Strictness::Lenient).expect("JSON").0 {
            Value::Map(map) => map,
            _ => Map::new(),
        }
    }

    fn check(version: Version, mutating: bool, response: &str, want: Result<bool, &str>) {
        let text = format!(r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{response}}}"#);
        let got = answered(version, "u", mutating, &review(&text)).map(|answer| answer.allowed);
        assert_eq!(got.as_ref().map_err(String::as_str), want.as_ref().map_err(|why| *why), "{response}");
    }

    #[test]
    fn answers_of_v1_are_checked() {
        let check = |mutating, response, want| check(Version::V1, mutating, response, want);
        check(true, r#"{"uid":"u","allowed":true}"#, Ok(true));
        check(true, r#"{"uid":"u"}"#, Ok(false));
        check(true, "null", Err("webhook response was absent"));
        check(true, r#"{"uid":"w"}"#, Err("expected response.uid=\"u\", got \"w\""));
        let patch = r#"{"uid":"u","allowed":true,"patch":"W10=","patchType":"JSONPatch"}"#;
        check(true, patch, Ok(true));
        check(false, patch, Err("validating webhook may not return response.patch"));
        let half = "webhook returned response.patch but not response.patchType";
        check(true, r#"{"uid":"u","patch":"W10="}"#, Err(half));
        let half = "webhook returned response.patchType but not response.patch";
        check(true, r#"{"uid":"u","patchType":"JSONPatch"}"#, Err(half));
        let only = r#"{"uid":"u","patchType":"JSONPatch"}"#;
        check(false, only, Err("validating webhook may not return response.patchType"));
    }

    #[test]
    fn answers_of_v1beta1_are_not() {
        check(Version::V1beta1, true, r#"{"uid":"other","allowed":true,"patch":"W10="}"#, Ok(true));
        check(Version::V1beta1, false, r#"{"allowed":true,"patch":"W10="}"#, Ok(true));
    }

    #[test]
    fn kinds_of_answers() {
        let of = |text: &str| undecodable(Version::V1, &review(text));
        assert_eq!(of("{}"), None);
        assert_eq!(of(r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#), None);
        let other = "converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion";
        assert_eq!(of(r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1"}"#).as_deref(), Some(other));
        let missing = answered(Version::V1, "u", true, &review(r#"{"response":{"uid":"u"}}"#)).err();
        let text = "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=";
        assert_eq!(missing.as_deref(), Some(text));
    }

    fn denied(result: &str, code: u16, message: &str) {
        let status = denial("w.example.com", Some(&review(result)));
        assert_eq!((status.code, status.message.as_str()), (code, message), "{result}");
        assert_eq!(status.to_object().i64("code"), Some(i64::from(code)));
    }

    #[test]
    fn denials() {
        let by = "admission webhook \"w.example.com\" denied the request";
        denied("{}", 400, &format!("{by} without explanation"));
        denied(r#"{"reason":"no"}"#, 400, &format!("{by}: no"));
        denied(r#"{"message":"never","code":403,"reason":"Forbidden"}"#, 403, &format!("{by}: never"));
        denied(r#"{"status":"Success","code":200,"message":"m"}"#, 400, &format!("{by}: m"));
    }

    #[test]
    fn what_is_asked() {
        let named = Name::new("", "v1", "Pod");
        let user = User { name: "me".into(), groups: vec!["g".into()], ..User::default() };
        let object = map! { "kind" => "Pod" };
        let question = Question {
            uid: "u",
            kind: named.clone(),
            resource: Name::new("", "v1", "pods"),
            request_kind: named,
            request_resource: Name::new("", "v1", "pods"),
            subresource: "",
            name: "p",
            namespace: "n",
            operation: "CREATE",
            user: &user,
            object: Some(&object),
            old: None,
            dry_run: false,
            options: &Value::Null,
        };
        let text = String::from_utf8(api::json::encode(&asked(Version::V1, &question))).expect("text");
        let want = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u","kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},"requestKind":{"group":"","version":"v1","kind":"Pod"},"requestResource":{"group":"","version":"v1","resource":"pods"},"name":"p","namespace":"n","operation":"CREATE","userInfo":{"username":"me","groups":["g"]},"object":{"kind":"Pod"},"oldObject":null,"dryRun":false,"options":null}}"#;
        assert_eq!(text.trim_end(), want);
    }
}
