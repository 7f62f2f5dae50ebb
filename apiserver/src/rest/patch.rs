//! PATCH: JSON patch, merge patch and strategic merge patch on the version that the path names
//! (k8s.io/apiserver/pkg/endpoints/handlers/patch.go@v0.37.2).

use api::facts::Struct;
use api::json;
use api::object::Meta;
use api::status::Status;
use api::value::Map;
use bytes::Bytes;
use http::{Response, header};
use serde::de::IgnoredAny;

use super::write::Existing;
use super::{Call, managed, metadata, options};
use crate::audit::Level;
use crate::codec::{self, FieldValidation};
use crate::patch;
use crate::respond::Body;

/// How a patch body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Merge,
    Strategic,
    /// A configuration to apply.
    Apply,
}

/// A patch body, read but not applied.
pub(crate) struct Patch {
    kind: Kind,
    text: Bytes,
    validation: FieldValidation,
}

impl Call<'_> {
    pub(crate) async fn patch(&self, body: Body) -> Result<Response<Body>, Status> {
        let patch = self.read_patch(body).await?;
        let dry_run = options::dry_run(&self.info.query, "PatchOptions")?;
        if patch.is_apply() {
            return self.apply(&patch, dry_run).await;
        }
        let mut make = |existing: &Existing| {
            if existing.object.is_empty() {
                return Err(self.not_found());
            }
            let (mut object, strict) = self.patched_object(&patch, &existing.object, self.entry.facts.ty)?;
            api::object::set_kind(&mut object, &self.entry.api_version, self.entry.facts.kind);
            self.default(&mut object);
            self.track(&existing.object, &mut object);
            self.warn(strict);
            Ok(object)
        };
        let done = self.change(&mut make, dry_run).await?;
        Ok(self.finish(done))
    }

    /// Applies a configuration; an object that is not there is created.
    async fn apply(&self, patch: &Patch, dry_run: bool) -> Result<Response<Body>, Status> {
        let config = patch.config()?;
        let name = &self.info.name;
        let duplicate = match patch.validation {
            FieldValidation::Ignore => None,
            _ => api::yaml::duplicate_key(&patch.text).map(|error| error.to_string()),
        };
        let mut make = |existing: &Existing| {
            let mut object = self.applied(&existing.object, &config)?;
            if let Some(why) = duplicate.as_ref().filter(|_| patch.validation == FieldValidation::Strict) {
                return Err(Status::bad_request(format!("error strict decoding YAML: {why}")));
            }
            if object.name().is_empty() {
                let text =
                    format!("the name of the object ({name} based on URL) was undeterminable: name must be provided");
                return Err(Status::bad_request(text));
            }
            metadata::match_namespace(&mut object, self.namespace())?;
            if object.name() != name {
                let own = object.name();
                let text = format!("the name of the object ({own}) does not match the name on the URL ({name})");
                return Err(Status::bad_request(text));
            }
            Ok(object)
        };
        self.warn(duplicate.clone());
        let done = self.change_or_create(&mut make, dry_run, true).await?;
        Ok(self.finish(done))
    }

    pub(crate) async fn read_patch(&self, body: Body) -> Result<Patch, Status> {
        let kind = self.patch_kind()?;
        let text = codec::read_body(body).await?;
        managed::check_options(&self.info.query, "PatchOptions", Some(kind == Kind::Apply))?;
        if let Some(record) = self.audit.filter(|record| record.level() >= Level::Request)
            && let Some(json) = as_json(kind, &text)
        {
            record.patched(&json);
        }
        Ok(Patch { kind, text, validation: FieldValidation::of(&self.info.query)? })
    }

    fn patch_kind(&self) -> Result<Kind, Status> {
        let content_type = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(Kind::Json),
            "application/merge-patch+json" => Ok(Kind::Merge),
            // Without the facts nobody knows how the lists of a kind merge.
            "application/strategic-merge-patch+json" if !self.entry.facts.ty.open => Ok(Kind::Strategic),
            "application/apply-patch+yaml" => Ok(Kind::Apply),
            // Upstream's router refuses what the route does not take, in its own words.
            _ => Err(Status {
                code: 415,
                reason: "UnsupportedMediaType",
                message: "415: Unsupported Media Type".into(),
                ..Status::default()
            }),
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
        let mut decoded = decoded.map_err(|error| self.unpatchable(&error.to_string()))?;
        managed::copy_reset(&patched, &mut decoded.value);
        strict.extend(decoded.strict);
        if ty.open {
            let unknown = self.entry.strategy.settle(&mut decoded.value).map_err(|why| self.unpatchable(&why))?;
            strict.extend(unknown.into_iter().filter(|_| patch.validation != FieldValidation::Ignore));
        }
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

impl Patch {
    pub(crate) fn is_apply(&self) -> bool {
        self.kind == Kind::Apply
    }

    /// The configuration that is to be applied.
    pub(crate) fn config(&self) -> Result<Map, Status> {
        managed::read_config(&self.text)
    }
}

/// A patch as the audit log has it; one that is no JSON or YAML is refused without being told.
fn as_json(kind: Kind, text: &Bytes) -> Option<Bytes> {
    match kind {
        Kind::Apply => api::yaml::to_json(text).ok().map(Bytes::from),
        _ => serde_json::from_slice::<IgnoredAny>(text).ok().map(|_| text.clone()),
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
