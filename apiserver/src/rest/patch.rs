//! PATCH: JSON patch, merge patch and strategic merge patch on the version that the path names
//! (k8s.io/apiserver/pkg/endpoints/handlers/patch.go@v0.37.2).

use api::facts::Struct;
use api::json::{self, Strictness};
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};
use bytes::Bytes;
use http::{Response, header};
use serde::de::IgnoredAny;

use super::write::Existing;
use super::{Call, managed, metadata, options};
use crate::audit::Level;
use crate::codec::{self, FieldValidation};
use crate::patch;
use crate::respond::Body;

/// Operations in one patch (k8s.io/apiserver/pkg/endpoints/handlers/patch.go@v0.37.2: maxJSONPatchOperations).
const OPERATIONS_MAX: usize = 10_000;

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
        let dry_run = options::dry_run(&self.info.query);
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
            metadata::match_namespace(&mut object, self.namespace())?;
            self.check_name(&object)?;
            Ok(object)
        };
        let done = self.change(&mut make, dry_run).await?;
        Ok(self.finish(done))
    }

    /// Applies a configuration; an object that is not there is created.
    async fn apply(&self, patch: &Patch, dry_run: bool) -> Result<Response<Body>, Status> {
        let config = patch.config()?;
        let duplicate = match patch.validation {
            FieldValidation::Ignore => None,
            _ => api::yaml::duplicate_keys(&patch.text).map(|error| error.to_string()),
        };
        let mut make = |existing: &Existing| {
            let mut object = self.applied(&existing.object, &config)?;
            if let Some(why) = duplicate.as_ref().filter(|_| patch.validation == FieldValidation::Strict) {
                return Err(Status::bad_request(format!("error strict decoding YAML: {why}")));
            }
            metadata::match_namespace(&mut object, self.namespace())?;
            self.check_name(&object)?;
            Ok(object)
        };
        self.warn(duplicate.iter().flat_map(|why| api::yaml::as_warnings(why)));
        let done = self.change_or_create(&mut make, dry_run, true).await?;
        Ok(self.finish(done))
    }

    pub(crate) async fn read_patch(&self, body: Body) -> Result<Patch, Status> {
        let kind = self.patch_kind()?;
        let text = codec::read_body(body).await?;
        options::check_write(&self.info.query, "PatchOptions", Some(kind == Kind::Apply))?;
        if kind != Kind::Apply && json::scan::check(&text).is_err() {
            return Err(Status::bad_request("invalid JSON patch"));
        }
        if let Some(record) = self.audit.filter(|record| record.level() >= Level::Request)
            && let Some(json) = as_json(kind, &text)
        {
            record.patched(&json);
        }
        Ok(Patch { kind, text, validation: FieldValidation::of(&self.info.query) })
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
            _ => Err(Status::no_route_consumes()),
        }
    }

    /// An object with the patch applied, canonical, and the warnings that field validation makes of the patch.
    pub(crate) fn patched_object(
        &self,
        patch: &Patch,
        object: &Map,
        ty: &'static Struct,
    ) -> Result<(Map, Vec<String>), Status> {
        let is_told = patch.validation != FieldValidation::Ignore;
        let patched = match patch.kind {
            Kind::Strategic => self.merged_strategically(patch, object, ty)?,
            _ => self.patched_text(patch, object, ty)?,
        };
        let Patched { object: mut decoded, mut strict, shown } = patched;
        if ty.open {
            let unknown = self.entry.strategy.settle(&mut decoded).map_err(|why| unpatchable(&shown, &why))?;
            strict.extend(unknown.into_iter().filter(|_| is_told));
        }
        if patch.validation == FieldValidation::Strict && !strict.is_empty() {
            return Err(unpatchable(&shown, &format!("strict decoding error: {}", strict.join(", "))));
        }
        Ok((decoded, if is_told { strict } else { Vec::new() }))
    }

    /// The outcome of a JSON patch or merge patch, which are patches of texts (jsonPatcher).
    fn patched_text(&self, patch: &Patch, object: &Map, ty: &'static Struct) -> Result<Patched, Status> {
        let mut strict = strict_errors(patch)?;
        // An error shows the text, in which the resourceVersion has its place.
        let mut ordered = object.clone();
        metadata::order(ordered.meta_mut());
        let before = String::from_utf8_lossy(&json::encode(&ordered)).into_owned();
        let text = match patch.kind {
            Kind::Json => apply_operations(&before, &patch.text)?,
            _ => patch::merge::apply(&before, &String::from_utf8_lossy(&patch.text)).map_err(Status::bad_request)?,
        };
        let shown = String::from_utf8_lossy(&text).into_owned();
        let outcome = json::decode(&text, ty, patch.validation.strictness());
        let is_moved = |decoded: &json::Decoded| {
            ["kind", "apiVersion"].iter().any(|name| decoded.value.get(name) != object.get(name))
        };
        let kind = if outcome.as_ref().map_or(true, is_moved) { of_kind(&text, object, ty) } else { Ok(true) };
        let mut decoded = match kind.map_err(|why| unpatchable(&shown, &why))? {
            true => outcome.map_err(|error| unpatchable(&shown, &error.to_string()))?,
            // What has no version is read as upstream's internal type, which has none of the names.
            false => json::Decoded { value: Map::new(), strict: unknown_names(&text), empty: Vec::new() },
        };
        if shown.contains("\"managedFields\":[]")
            && let Ok((Value::Map(tree), _)) = json::decode_any(&text, Strictness::Lenient)
        {
            managed::copy_reset(&tree, &mut decoded.value);
        }
        self.keep_empty(decoded.empty);
        self.entry.strategy.convert(&decoded.value).map_err(|why| unpatchable(&shown, &why))?;
        strict.append(&mut decoded.strict);
        Ok(Patched { object: decoded.value, strict, shown })
    }

    /// The outcome of a strategic merge patch, which is one of trees (strategicPatchObject).
    fn merged_strategically(&self, patch: &Patch, object: &Map, ty: &'static Struct) -> Result<Patched, Status> {
        let strictness = patch.validation.strictness();
        let (value, mut strict) =
            json::decode_any(&patch.text, strictness).map_err(|error| Status::bad_request(error.to_string()))?;
        let changes = match value {
            Value::Map(changes) => changes,
            Value::Null => Map::new(),
            _ => return Err(Status::bad_request(no_map(&patch.text))),
        };
        let mut merged = patch::strategic::apply(object, &changes, ty)?;
        let shown = patch::strategic::go_map(&changes);
        patch::unstructured::fit(&mut merged, ty).map_err(|why| unpatchable(&shown, &why))?;
        let strictness = if strictness == Strictness::Strict { Strictness::Tree } else { strictness };
        let decoded = json::decode(&json::encode(&merged), ty, strictness);
        let mut decoded = decoded.map_err(|error| unpatchable(&shown, &error.to_string()))?;
        managed::copy_reset(&merged, &mut decoded.value);
        // This patcher leaves the conversion for the end, where nobody gives its error a status.
        let converted = self.entry.strategy.convert(&decoded.value);
        converted.map_err(|message| Status { code: 500, message, ..Status::default() })?;
        decoded.strict.sort();
        self.keep_empty(decoded.empty);
        strict.append(&mut decoded.strict);
        Ok(Patched { object: decoded.value, strict, shown })
    }
}

/// Every name at the top of an object but those of its kind, as what nobody knows.
fn unknown_names(text: &[u8]) -> Vec<String> {
    let Ok((Value::Map(tree), _)) = json::decode_any(text, Strictness::Lenient) else { return Vec::new() };
    let mut names: Vec<&str> = tree.iter().map(|(name, _)| &**name).collect();
    names.retain(|name| !matches!(*name, "kind" | "apiVersion"));
    names.sort_unstable();
    names.iter().map(|name| format!("unknown field {}", api::field::go_quote(name))).collect()
}

/// Why a text is not of the kind of `object` at all, if that is so; a custom resource has to say its kind.
/// Otherwise whether it says its version, too.
fn of_kind(text: &[u8], object: &Map, ty: &'static Struct) -> Result<bool, String> {
    let missing = |what: &str| Err(format!("Object '{what}' is missing in '{}'", String::from_utf8_lossy(text)));
    let (wanted, of) = (object.str("kind"), object.str("apiVersion"));
    let (api_version, kind) = codec::type_meta(text)?;
    if ty.open && kind.is_empty() {
        return missing("Kind");
    }
    if ty.open && api_version.is_empty() {
        return missing("apiVersion");
    }
    let kind = if kind.is_empty() { wanted } else { kind.as_str() };
    let group = api::facts::split_api_version(of).0;
    let why = match api_version.as_str() {
        version if (kind, version) == (wanted, of) => None,
        "" if kind == wanted => None,
        "" => {
            let unknown = codec::not_registered_internally(kind, of);
            unknown.or_else(|| codec::unconvertible(kind, of, group, wanted))
        }
        version => codec::unconvertible(kind, version, group, wanted),
    };
    why.map_or(Ok(!api_version.is_empty()), Err)
}

/// What a patch made of an object.
struct Patched {
    object: Map,
    strict: Vec<String>,
    /// The patch or the patched object as an error shows it.
    shown: String,
}

/// What does not decode after patching is the patch's fault: 422 as upstream's applyPatchToObject.
fn unpatchable(shown: &str, why: &str) -> Status {
    let error = api::field::invalid(&api::field::Path::new("patch"), shown, why);
    Status::invalid("", "", "", &[error])
}

/// What field validation has against the text of the patch itself (applyJSPatch).
fn strict_errors(patch: &Patch) -> Result<Vec<String>, Status> {
    if patch.validation == FieldValidation::Ignore {
        return Ok(Vec::new());
    }
    let failed = |why: String| Status::bad_request(format!("error decoding patch: {why}"));
    if patch.kind == Kind::Json {
        let strict = patch::json::strict_errors(&patch.text).map_err(failed)?;
        return Ok(strict.into_iter().map(|why| format!("json patch {why}")).collect());
    }
    let (value, strict) =
        json::decode_any(&patch.text, Strictness::Strict).map_err(|error| failed(error.to_string()))?;
    match value {
        Value::Map(_) | Value::Null => Ok(strict),
        _ => Err(failed(no_map(&patch.text))),
    }
}

fn no_map(text: &[u8]) -> String {
    let found = json::scan::kind(std::str::from_utf8(text).unwrap_or_default());
    format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}")
}

pub(crate) fn apply_operations(before: &str, text: &[u8]) -> Result<Vec<u8>, Status> {
    let operations = patch::json::operations(text).map_err(Status::bad_request)?;
    if operations.len() > OPERATIONS_MAX {
        let text =
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", operations.len());
        return Err(Status::request_entity_too_large(&text));
    }
    // Why one cannot be made is not told.
    patch::json::apply_to_text(before, &operations).map_err(|_| Status::unprocessable())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::common::given::map;

    #[test]
    fn what_says_no_version_is_of_the_kind_and_yet_unread() {
        let lease = map(r#"{"kind":"Lease","apiVersion":"coordination.k8s.io/v1"}"#);
        let ty = api::facts::kind("coordination.k8s.io", "v1", "Lease").expect("a kind");
        let check = |text: &str, want: Result<bool, &str>| {
            assert_eq!(of_kind(text.as_bytes(), &lease, ty), want.map_err(str::to_owned), "{text}");
        };
        check(r#"{"kind":"Lease","apiVersion":"coordination.k8s.io/v1"}"#, Ok(true));
        check(r#"{"apiVersion":"coordination.k8s.io/v1"}"#, Ok(true));
        check(r#"{"kind":"Lease","apiVersion":""}"#, Ok(false));
        let scheme = "in scheme \"pkg/api/legacyscheme/scheme.go:30\"";
        let internal =
            format!("no kind \"Odd\" is registered for the internal version of group \"coordination.k8s.io\" {scheme}");
        check(r#"{"kind":"Odd"}"#, Err(&internal));
        let odd = format!("no kind \"Odd\" is registered for version \"coordination.k8s.io/v1\" {scheme}");
        check(r#"{"kind":"Odd","apiVersion":"coordination.k8s.io/v1"}"#, Err(&odd));
    }
}
