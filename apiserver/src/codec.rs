//! Request bodies -> objects of the version that the path names.

use api::facts::{self, Struct};
use api::json::{self, Strictness};
use api::status::Status;
use api::value::Map;
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
    pub(crate) fn of(query: &Query) -> Result<Self, Status> {
        match query.get("fieldValidation") {
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Ignore" => Ok(FieldValidation::Ignore),
            "Strict" => Ok(FieldValidation::Strict),
            other => {
                let path = api::field::Path::new("fieldValidation");
                let error = api::field::not_supported(&path, other, &["Ignore", "Strict", "Warn"]);
                Err(Status::invalid("meta.k8s.io", "CreateOptions", "", &[error]))
            }
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
    fn failed(&self, kind: &str, version: &str, why: &str) -> Status {
        let (kind, version) =
            (if kind.is_empty() { self.kind } else { kind }, if version.is_empty() { self.version } else { version });
        Status::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {}: {why}", self.kind))
    }
}

/// Decodes a body; gives the object with kind and apiVersion set, and the warnings that field validation makes.
pub(crate) fn decode(
    body: &[u8],
    format: Format,
    expected: Expected<'_>,
    validation: FieldValidation,
) -> Result<(Map, Vec<String>), Status> {
    let (mut object, mut strict) = match format {
        Format::Json => decode_json(body, expected, validation)?,
        Format::Yaml => {
            let text = yaml::to_json(body).map_err(|error| Status::bad_request(error.to_string()))?;
            let (object, mut strict) = decode_json(&text, expected, validation)?;
            if validation != FieldValidation::Ignore
                && let Some(duplicate) = yaml::duplicate_key(body)
            {
                let why = duplicate.to_string();
                strict.insert(0, why.trim_start_matches("error converting YAML to JSON: ").to_owned());
            }
            (object, strict)
        }
        Format::Protobuf => (decode_protobuf(body, expected)?, Vec::new()),
    };
    check_kind(&object, expected)?;
    object::set_kind(&mut object, &facts::api_version(expected.group, expected.version), expected.kind);
    if expected.ty.open {
        let unknown = expected.hooks.settle(&mut object).map_err(|why| expected.failed("", "", &why))?;
        strict.extend(unknown.into_iter().filter(|_| validation != FieldValidation::Ignore));
    }
    if !strict.is_empty() && validation == FieldValidation::Strict {
        let why = format!("strict decoding error: {}", strict.join(", "));
        return Err(expected.failed("", "", &why));
    }
    Ok((object, if validation == FieldValidation::Warn { strict } else { Vec::new() }))
}

fn decode_json(body: &[u8], expected: Expected<'_>, validation: FieldValidation) -> Result<(Map, Vec<String>), Status> {
    match json::decode(body, expected.ty, validation.strictness()) {
        Ok(decoded) => Ok((decoded.value, decoded.strict)),
        Err(error) => Err(expected.failed("", "", &error.to_string())),
    }
}

fn decode_protobuf(body: &[u8], expected: Expected<'_>) -> Result<Map, Status> {
    let unknown = match proto::unwrap(body) {
        Ok(Some(unknown)) => unknown,
        Ok(None) => {
            let why = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";
            return Err(expected.failed("", "", why));
        }
        Err(error) => return Err(expected.failed("", "", &error.to_string())),
    };
    let mut object =
        proto::decode(unknown.raw, expected.ty).map_err(|error| expected.failed("", "", &error.to_string()))?;
    object::set_kind(&mut object, unknown.api_version, unknown.kind);
    Ok(object)
}

/// A body may leave its kind out, but not be of another.
fn check_kind(object: &Map, expected: Expected<'_>) -> Result<(), Status> {
    let (kind, api_version) = (object.str("kind"), object.str("apiVersion"));
    let wanted = facts::api_version(expected.group, expected.version);
    if !kind.is_empty() && kind != expected.kind {
        let (group, version) = facts::split_api_version(api_version);
        if !api_version.is_empty() && facts::kind(group, version, kind).is_none() {
            return Err(Status::bad_request(format!(
                "no kind \"{kind}\" is registered for version \"{api_version}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""
            )));
        }
        let why = format!("the object provided is unrecognized (must be of type {})", expected.kind);
        return Err(expected.failed(kind, version, &why));
    }
    if !api_version.is_empty() && api_version != wanted {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        )));
    }
    Ok(())
}
