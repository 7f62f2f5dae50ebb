//! Request bodies -> objects of the version that the path names.

use api::facts::{self, Struct};
use api::field::go_quote;
use api::json::{self, Strictness};
use api::status::Status;
use api::value::{Map, Value};
use api::{object, proto, yaml};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::negotiate::Format;
use crate::request::Query;
use crate::respond::Body;
use crate::strategy::Strategy;

/// Largest body of a write, in bytes (k8s.io/apiserver/pkg/server/config.go@v0.37.2: MaxRequestBodyBytes).
pub(crate) const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// `fieldValidation` of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    /// Of a query that was checked (`rest::options::check_write`).
    pub(crate) fn of(query: &Query) -> Self {
        match query.get("fieldValidation") {
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            _ => FieldValidation::Warn,
        }
    }

    pub(crate) fn strictness(self) -> Strictness {
        if self == FieldValidation::Ignore { Strictness::Lenient } else { Strictness::Strict }
    }
}

/// Reads a whole body, at most [`BODY_BYTES_MAX`].
pub(crate) async fn read_body(mut body: Body) -> Result<Bytes, Status> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(format!("unable to read the request body: {error}")))?;
        if let Ok(data) = frame.into_data() {
            if all.len() + data.len() > BODY_BYTES_MAX {
                return Err(Status::request_entity_too_large(&format!("limit is {BODY_BYTES_MAX}")));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

/// The kind that a body is expected to be.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) ty: &'static Struct,
    /// Brings the object into a schema that is not among the facts (`Strategy::settle`).
    pub(crate) hooks: &'a dyn Strategy,
}

impl Expected<'_> {
    fn api_version(&self) -> String {
        facts::api_version(self.group, self.version)
    }

    /// What the body says it is cannot be had as this kind (handlers/rest.go: transformDecodeError).
    fn failed(&self, kind: &str, version: &str, why: &str) -> Status {
        let (kind, version) =
            (if kind.is_empty() { self.kind } else { kind }, if version.is_empty() { self.version } else { version });
        Status::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {}: {why}", self.kind))
    }

    /// A body that does not say what it is.
    fn unrecognized(&self, body: &[u8], why: &str) -> Status {
        let (kind, begins) = (self.kind, summary(body));
        Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why} ({begins})"))
    }

    /// What is wrong with a text that is not of the type.
    fn undecodable(&self, body: &[u8], text: &[u8], why: &str) -> Status {
        let (api_version, kind) = match type_meta(text) {
            Ok(named) => named,
            Err(why) => return self.unrecognized(body, &why),
        };
        let (wanted, version) = (self.api_version(), facts::split_api_version(&api_version).1);
        let api_version = if api_version.is_empty() { &wanted } else { &api_version };
        let shown = if kind.is_empty() { self.kind } else { kind.as_str() };
        let unknown = not_registered(shown, api_version).filter(|_| !self.ty.open);
        self.failed(&kind, version, unknown.as_deref().unwrap_or(why))
    }
}

/// How a body begins (handlers/rest.go: summarizeData).
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let (begin, more) = (&body[..body.len().min(SHOWN)], if body.len() > SHOWN { " ..." } else { "" });
    match body.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(begin)),
        Some(_) => format!("{}{more}", begin.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

/// The apiVersion and kind of a JSON text (k8s.io/apimachinery/pkg/runtime/serializer/json/meta.go@v0.37.2: Interpret).
pub(crate) fn type_meta(text: &[u8]) -> Result<(String, String), String> {
    const TYPE: &str =
        r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    let wrong = |why: String| format!("couldn't get version/kind; json parse error: {why}");
    let found = |value: &Value| match value {
        Value::Bool(_) => "bool",
        Value::List(_) => "array",
        Value::Map(_) => "object",
        Value::String(_) => "string",
        _ => "number",
    };
    json::scan::check(text).map_err(wrong)?;
    let (value, _) = json::decode_any(text, Strictness::Lenient).map_err(|error| wrong(error.to_string()))?;
    let object = match value {
        Value::Map(object) => object,
        Value::Null => Map::new(),
        other => return Err(wrong(format!("json: cannot unmarshal {} into Go value of type {TYPE}", found(&other)))),
    };
    let field = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.to_string()),
        Some(other) => {
            let of = format!("json: cannot unmarshal {} into Go struct field .{name} of type string", found(other));
            Err(wrong(of))
        }
    };
    let (api_version, kind) = (field("apiVersion")?, field("kind")?);
    if api_version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {api_version}"));
    }
    Ok((api_version, kind))
}

/// An object that was sent.
pub(crate) struct Received {
    pub(crate) object: Map,
    /// What the client is told of it.
    pub(crate) warnings: Vec<String>,
    pub(crate) empty: Vec<json::Empty>,
}

/// Decodes a body; gives the object with kind and apiVersion set, and the warnings that field validation makes.
pub(crate) fn decode(
    body: &[u8],
    format: Format,
    expected: Expected<'_>,
    validation: FieldValidation,
) -> Result<Received, Status> {
    let json::Decoded { value: mut object, mut strict, empty } = match format {
        Format::Json => decode_json(body, body, expected, validation)?,
        Format::Yaml => {
            let text = yaml::to_json(body).map_err(|error| expected.unrecognized(body, &error.to_string()))?;
            let mut decoded = decode_json(body, &text, expected, validation)?;
            if validation != FieldValidation::Ignore
                && let Some(duplicate) = yaml::duplicate_keys(body)
            {
                decoded.strict.insert(0, duplicate.to_string());
            }
            decoded
        }
        Format::Protobuf => {
            json::Decoded { value: decode_protobuf(body, expected)?, strict: Vec::new(), empty: Vec::new() }
        }
    };
    check_kind(body, &object, expected)?;
    object::set_kind(&mut object, &facts::api_version(expected.group, expected.version), expected.kind);
    if expected.ty.open {
        let unknown = expected.hooks.settle(&mut object).map_err(|why| expected.failed("", "", &why))?;
        strict.extend(unknown.into_iter().filter(|_| validation != FieldValidation::Ignore));
    }
    expected.hooks.convert(&object).map_err(|why| expected.failed("", "", &why))?;
    if !strict.is_empty() && validation == FieldValidation::Strict {
        let why = format!("strict decoding error: {}", strict.join(", "));
        return Err(expected.failed("", "", &why));
    }
    let warned = validation == FieldValidation::Warn;
    let warnings = strict.iter().filter(|_| warned).flat_map(|why| yaml::as_warnings(why)).collect();
    Ok(Received { object, warnings, empty })
}

fn decode_json(
    body: &[u8],
    text: &[u8],
    expected: Expected<'_>,
    validation: FieldValidation,
) -> Result<json::Decoded, Status> {
    let decoded = json::decode(text, expected.ty, validation.strictness());
    decoded.map_err(|error| expected.undecodable(body, text, &error.to_string()))
}

fn decode_protobuf(body: &[u8], expected: Expected<'_>) -> Result<Map, Status> {
    let unknown = match proto::unwrap(body) {
        Ok(Some(unknown)) => unknown,
        Ok(None) => {
            let why = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";
            return Err(expected.unrecognized(body, why));
        }
        Err(error) => return Err(expected.failed("", "", &error.to_string())),
    };
    let mut object =
        proto::decode(unknown.raw, expected.ty).map_err(|error| expected.failed("", "", &error.to_string()))?;
    object::set_kind(&mut object, unknown.api_version, unknown.kind);
    Ok(object)
}

/// A body may leave its kind out, but not be of another.
fn check_kind(body: &[u8], object: &Map, expected: Expected<'_>) -> Result<(), Status> {
    let (mut kind, mut api_version) = (object.str("kind"), object.str("apiVersion"));
    let wanted = expected.api_version();
    if kind.is_empty() {
        kind = expected.kind;
    }
    if api_version.is_empty() {
        api_version = &wanted;
    }
    if (kind, api_version) == (expected.kind, wanted.as_str()) {
        return Ok(());
    }
    if api_version.matches('/').count() > 1 {
        let why = format!("unexpected GroupVersion string: {api_version}");
        return Err(expected.unrecognized(body, &why));
    }
    let version = facts::split_api_version(api_version).1;
    // Of custom kinds the facts know nothing, and their versions differ in name only here.
    let is_own = expected.ty.open && kind == expected.kind;
    match unconvertible(kind, api_version, expected.group, expected.kind).filter(|_| !is_own) {
        Some(why) => Err(expected.failed(kind, version, &why)),
        None => Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        ))),
    }
}

/// Why what says to be of one kind cannot become another: it is not known, or something else
/// (k8s.io/apimachinery/pkg/{runtime/error.go,conversion/converter.go}@v0.37.2).
pub(crate) fn unconvertible(kind: &str, api_version: &str, wanted_group: &str, wanted_kind: &str) -> Option<String> {
    if let Some(why) = not_registered(kind, api_version) {
        return Some(why);
    }
    let (group, version) = facts::split_api_version(api_version);
    let (package, wanted) = (internal_package(group), internal_package(wanted_group));
    let is_it = kind == wanted_kind && package == wanted;
    (!is_it).then(|| format!("converting ({version}.{kind}) to ({wanted}.{wanted_kind}): unknown conversion"))
}

const SCHEME: &str = "in scheme \"pkg/api/legacyscheme/scheme.go:30\"";

fn not_registered(kind: &str, api_version: &str) -> Option<String> {
    let (group, version) = facts::split_api_version(api_version);
    facts::kind(group, version, kind)
        .is_none()
        .then(|| format!("no kind {} is registered for version {} {SCHEME}", go_quote(kind), go_quote(api_version)))
}

/// The same of what names no version where `api_version` is meant: it is looked for among the internal types.
pub(crate) fn not_registered_internally(kind: &str, api_version: &str) -> Option<String> {
    let group = go_quote(facts::split_api_version(api_version).0);
    let told =
        |_| format!("no kind {} is registered for the internal version of group {group} {SCHEME}", go_quote(kind));
    not_registered(kind, api_version).map(told)
}

/// The Go package of a group's internal types; events of both groups are one kind there.
pub(crate) fn internal_package(group: &str) -> &str {
    match facts::package_of(group) {
        "events" => "core",
        package => package,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Plain;

    fn check(body: &str, format: Format, want: &str) {
        let ty = facts::kind("", "v1", "Pod").expect("a kind");
        let expected = Expected { group: "", version: "v1", kind: "Pod", ty, hooks: &Plain };
        let got = decode(body.as_bytes(), format, expected, FieldValidation::Strict);
        assert_eq!(got.err().map(|status| status.message).unwrap_or_default(), want, "{body}");
    }

    #[test]
    fn a_custom_resource_of_another_version() {
        static TY: Struct = facts::custom("io.a.v1.Thing");
        let expected = Expected { group: "a.io", version: "v1", kind: "Thing", ty: &TY, hooks: &Plain };
        let told = |version: &str| {
            let body = format!("{{\"apiVersion\":\"{version}\",\"kind\":\"Thing\"}}");
            let got = decode(body.as_bytes(), Format::Json, expected, FieldValidation::Warn);
            got.err().map(|status| status.message).unwrap_or_default()
        };
        assert_eq!(told("a.io/v1"), "");
        let text = "the API version in the data (a.io/v2) does not match the expected API version (a.io/v1)";
        assert_eq!(told("a.io/v2"), text);
    }

    /// Answers of upstream's server.
    #[test]
    fn bodies_that_are_no_pod() {
        check("{}", Format::Json, "");
        check("null", Format::Json, "");
        let unrecognized = |why: &str| format!("the object provided is unrecognized (must be of type Pod): {why}");
        let parse = "couldn't get version/kind; json parse error: ";
        check("", Format::Json, &unrecognized(&format!("{parse}unexpected end of JSON input (<empty>)")));
        check("{", Format::Json, &unrecognized(&format!("{parse}unexpected end of JSON input ({{)")));
        check(
            "[]",
            Format::Json,
            &unrecognized(&format!(
                "{parse}json: cannot unmarshal array into Go value of type struct {{ APIVersion string \
                 \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }} (5b5d)"
            )),
        );
        check(
            r#"{"kind":"Pod","apiVersion":"a/b/c"}"#,
            Format::Json,
            &unrecognized("unexpected GroupVersion string: a/b/c ({\"kind\":\"Pod\",\"apiVersion\":\"a/ ...)"),
        );
        check(
            r#"{"kind":"Service","apiVersion":"v1"}"#,
            Format::Json,
            "Service in version \"v1\" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): \
             unknown conversion",
        );
        check(
            r#"{"kind":"Other"}"#,
            Format::Json,
            "Other in version \"v1\" cannot be handled as a Pod: no kind \"Other\" is registered for version \"v1\" \
             in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        );
        check(
            r#"{"spec":{"restartPolicy":7,"priority":1.50}}"#,
            Format::Json,
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field \
             PodSpec.spec.restartPolicy of type v1.RestartPolicy",
        );
        check(
            r#"{"spec":{"priority":1.50}}"#,
            Format::Json,
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number 1.50 into Go struct field \
             PodSpec.spec.priority of type int32",
        );
        check(
            r#"{"spec":{"volumes":[{"hostPath":{"path":7}}]}}"#,
            Format::Json,
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field \
             HostPathVolumeSource.spec.volumes.VolumeSource.hostPath.path of type string",
        );
    }

    /// What Go only notes comes after what ends its decoding, and of the former the first counts.
    #[test]
    fn a_type_that_reads_itself_has_the_last_word() {
        let field = "json: cannot unmarshal number 1.5 into Go struct field ObjectMeta.metadata";
        for (meta, want) in [
            (
                r#""generation":1.5,"deletionTimestamp":"x""#,
                "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": \
              cannot parse \"x\" as \"2006\""
                    .to_owned(),
            ),
            (r#""generation":1.5,"deletionGracePeriodSeconds":"x""#, format!("{field}.generation of type int64")),
            (
                r#""deletionGracePeriodSeconds":1.5,"generation":[7]"#,
                format!("{field}.deletionGracePeriodSeconds of type int64"),
            ),
        ] {
            let body = format!(r#"{{"metadata":{{{meta}}}}}"#);
            check(&body, Format::Json, &format!("Pod in version \"v1\" cannot be handled as a Pod: {want}"));
        }
    }

    #[test]
    fn what_was_sent_empty_can_be_put_back() {
        let ty = facts::kind("networking.k8s.io", "v1", "NetworkPolicy").expect("a kind");
        let check = |body: &str, own: &str, in_list: &[bool]| {
            let decoded = json::decode(body.as_bytes(), ty, Strictness::Lenient).expect("an object");
            let got: Vec<bool> = decoded.empty.iter().map(|empty| empty.is_in_atomic_list(ty)).collect();
            assert_eq!(got, in_list, "{body}");
            let mut object = decoded.value;
            decoded.empty.iter().for_each(|empty| empty.restore(&mut object));
            assert_eq!(String::from_utf8(json::encode(&object)).expect("text").trim_end(), own);
        };
        let plain = r#"{"metadata":{},"spec":{"podSelector":{}}}"#;
        check(plain, plain, &[]);
        let labels = r#"{"metadata":{"labels":{}},"spec":{"podSelector":{},"egress":[]}}"#;
        check(labels, labels, &[false, false]);
        let peers = r#"{"metadata":{},"spec":{"podSelector":{},"egress":[{"ports":[]},{"to":[{"podSelector":{"matchLabels":{}}}]}]}}"#;
        check(peers, peers, &[true, true]);
        // Nothing is put where something else came to be.
        let decoded = json::decode(labels.as_bytes(), ty, Strictness::Lenient).expect("an object");
        let mut object = decoded.value;
        object.map_mut("metadata").map_mut("labels").set("a", "b");
        decoded.empty.iter().for_each(|empty| empty.restore(&mut object));
        assert_eq!(object.at(&["metadata", "labels"]).map(|labels| labels.str("a")), Some("b"));
    }

    /// What reads JSON for itself.
    #[test]
    fn any_value_is_raw_and_a_schema_may_be_a_flag() {
        let told = |ty: &'static Struct, body: &str| {
            json::decode(body.as_bytes(), ty, Strictness::Strict).err().map(|error| error.to_string())
        };
        let class = facts::kind("resource.k8s.io", "v1", "DeviceClass").expect("a kind");
        let definition = facts::kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition").expect("a kind");
        for value in ["7", "1.5", "\"x\"", "[1]", "true", "{}"] {
            let body = format!(r#"{{"spec":{{"config":[{{"opaque":{{"driver":"d","parameters":{value}}}}}]}}}}"#);
            assert_eq!(told(class, &body), None, "{value}");
        }
        // What is neither one schema nor several is none.
        for value in ["7", "\"x\"", "true", "[]"] {
            let schema = format!(r#"{{"openAPIV3Schema":{{"items":{value}}}}}"#);
            let body = format!(r#"{{"spec":{{"versions":[{{"name":"v1","schema":{schema}}}]}}}}"#);
            let decoded = json::decode(body.as_bytes(), definition, Strictness::Strict).expect("a definition");
            assert!(!String::from_utf8_lossy(&json::encode(&decoded.value)).contains("items"), "{value}");
        }
        for (value, want) in [("true", None), ("{}", None), ("[]", Some("boolean or JSON schema expected"))] {
            let schema = format!(r#"{{"openAPIV3Schema":{{"additionalItems":{value}}}}}"#);
            let body = format!(r#"{{"spec":{{"versions":[{{"name":"v1","schema":{schema}}}]}}}}"#);
            assert_eq!(told(definition, &body).as_deref(), want, "{value}");
        }
    }
}
