//! PATCH: JSON patch, merge patch and strategic merge patch on the version that the path names
//! (k8s.io/apiserver/pkg/endpoints/handlers/patch.go@v0.37.2).

use api::facts::Struct;
use api::json;
use api::status::Status;
use api::value::Map;
use bytes::Bytes;
use http::{Response, header};

use super::write::Existing;
use super::{Call, options};
use crate::codec::{self, FieldValidation};
use crate::patch;
use crate::respond::Body;

/// How a patch body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Merge,
    Strategic,
}

/// In the order in which upstream lists them.
const MEDIA_TYPES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];

/// A patch body, read but not applied.
pub(crate) struct Patch {
    kind: Kind,
    text: Bytes,
    validation: FieldValidation,
}

impl Call<'_> {
    pub(crate) async fn patch(&self, body: Body) -> Result<Response<Body>, Status> {
        let dry_run = options::dry_run(&self.info.query, "PatchOptions")?;
        let patch = self.read_patch(body).await?;
        let mut warnings = Vec::new();
        let mut make = |existing: &Existing| {
            if existing.object.is_empty() {
                return Err(self.not_found());
            }
            let (mut object, strict) = self.patched_object(&patch, &existing.object, self.entry.facts.ty)?;
            api::object::set_kind(&mut object, &self.entry.api_version, self.entry.facts.kind);
            self.default(&mut object);
            warnings = strict;
            Ok(object)
        };
        let mut done = self.change(&mut make, dry_run).await?;
        done.warnings.splice(0..0, warnings);
        Ok(self.finish(done))
    }

    pub(crate) async fn read_patch(&self, body: Body) -> Result<Patch, Status> {
        let (kind, validation) = (self.patch_kind()?, FieldValidation::of(&self.info.query)?);
        Ok(Patch { kind, text: codec::read_body(body).await?, validation })
    }

    fn patch_kind(&self) -> Result<Kind, Status> {
        let content_type = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(Kind::Json),
            "application/merge-patch+json" => Ok(Kind::Merge),
            "application/strategic-merge-patch+json" => Ok(Kind::Strategic),
            _ => Err(Status::unsupported_media_type(&MEDIA_TYPES)),
        }
    }

    /// An object with the patch applied, canonical, and the warnings that field validation makes of the patch.
    pub(crate) fn patched_object(
        &self,
        patch: &Patch,
        object: &Map,
        ty: &'static Struct,
    ) -> Result<(Map, Vec<String>), Status> {
        let (patched, mut strict) = apply(patch, object, ty)?;
        let decoded = json::decode(&json::encode(&patched), ty, patch.validation.strictness());
        let decoded = decoded.map_err(|error| self.unpatchable(&error.to_string()))?;
        strict.extend(decoded.strict);
        if patch.validation == FieldValidation::Strict && !strict.is_empty() {
            return Err(self.unpatchable(&format!("strict decoding error: {}", strict.join(", "))));
        }
        Ok((decoded.value, if patch.validation == FieldValidation::Warn { strict } else { Vec::new() }))
    }

    /// What does not decode after patching is the patch's fault: 422 as upstream's applyPatchToObject.
    fn unpatchable(&self, why: &str) -> Status {
        let path = api::field::Path::new("patch");
        let error = api::field::invalid(&path, "", why);
        Status::invalid("", "", "", &[error])
    }
}

fn apply(patch: &Patch, object: &Map, ty: &'static Struct) -> Result<(Map, Vec<String>), Status> {
    if patch.kind == Kind::Json {
        return Ok((patch::json::apply(object, &patch.text)?, Vec::new()));
    }
    let (value, strict) = json::decode_any(&patch.text, patch.validation.strictness())
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    let Some(map) = value.as_map() else {
        let text = "error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}";
        return Err(Status::bad_request(text));
    };
    let patched = match patch.kind {
        Kind::Merge => patch::merge::apply(object, map),
        _ => patch::strategic::apply(object, map, ty)?,
    };
    Ok((patched, strict))
}
