//! Who owns which field: every write keeps metadata.managedFields, and apply merges by it
//! (k8s.io/apiserver/pkg/endpoints/{installer.go,handlers/{create,update,patch}.go}@v0.37.2).
//!
//! Invariant: owners are computed from what the client sent, before admission. Non-goal: the merge
//! itself, which is the `apply` crate's.

use std::borrow::Cow;
use std::sync::Arc;

use api::facts::split_api_version;
use api::json::{self, Strictness};
use api::object::{Meta, set_kind};
use api::status::Status;
use api::value::{Map, Value};
use apply::manager::{self, FieldManager};
use apply::schema::Ref;
use apply::set::{Filter, Set};
use apply::updater::Versions;
use http::{HeaderMap, header};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::{Call, options};
use crate::hub::Hub;
use crate::negotiate::Format;
use crate::registry::Entry;
use crate::request::Query;
use crate::strategy::StatusMetadata;

/// The versions of a resource, for owners that wrote through another than the request's.
struct Kinds<'a> {
    hub: &'a Hub,
    entry: &'a Arc<Entry>,
}

impl Kinds<'_> {
    fn entry(&self, version: &str) -> Option<Arc<Entry>> {
        if version == self.entry.api_version {
            return Some(self.entry.clone());
        }
        let (group, version) = split_api_version(version);
        self.hub.registry.get(group, version, self.entry.facts.plural)
    }
}

impl Versions for Kinds<'_> {
    fn schema(&self, version: &str) -> Option<Ref<'_>> {
        if version == self.entry.api_version
            && let Some(owners) = self.entry.strategy.owners()
        {
            return Some(Ref::Custom(owners, 0));
        }
        let entry = self.entry(version)?;
        match entry.facts.ty.open {
            // Of another version nothing is known for as long as this borrow; its sets are read without a schema.
            true => Some(Ref::Deduced),
            false => Some(Ref::Struct(entry.facts.ty)),
        }
    }

    fn convert<'o>(&self, object: &'o Map, from: &str, to: &str) -> Option<Cow<'o, Map>> {
        if from == to {
            return Some(Cow::Borrowed(object));
        }
        let (from, to) = (self.entry(from)?, self.entry(to)?);
        let converted = from.converted_here(&to, object).or_else(|| waited(&from, &to, object, self.hub));
        converted.map(Cow::Owned)
    }
}

/// Asks a conversion webhook where the merge of owners has to have the object: the merge is a computation, as
/// upstream's is, and waits for its answer. Other requests go on meanwhile.
fn waited(from: &Entry, to: &Entry, object: &Map, hub: &Hub) -> Option<Map> {
    let runtime = Handle::try_current().ok()?;
    // With one thread nobody would be left to answer.
    if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return None;
    }
    let converted = tokio::task::block_in_place(|| runtime.block_on(from.converted(to, object, hub)));
    converted.inspect_err(|status| tracing::warn!(why = status.message, "owners of another version are dropped")).ok()
}

/// One version of one type: the kind of a subresource.
pub(crate) struct One<'v> {
    pub(crate) version: &'v str,
    pub(crate) ty: &'static api::facts::Struct,
}

impl Versions for One<'_> {
    fn schema(&self, version: &str) -> Option<Ref<'_>> {
        (version == self.version).then_some(Ref::Struct(self.ty))
    }

    fn convert<'o>(&self, object: &'o Map, from: &str, to: &str) -> Option<Cow<'o, Map>> {
        (from == to).then_some(Cow::Borrowed(object))
    }
}

impl Call<'_> {
    /// Calls `act` with the field manager of the request's path.
    fn with_manager<T>(&self, act: impl FnOnce(&FieldManager<'_>) -> T) -> T {
        let expected = self.entry.expected(&self.info.subresource);
        let own = Kinds { hub: self.hub(), entry: self.entry };
        let version = api::facts::api_version(expected.group, expected.version);
        let other = One { version: &version, ty: expected.ty };
        let is_own = expected.kind == self.entry.facts.kind;
        let ignored = reset(self.entry, &self.info.subresource).filter(|_| is_own);
        act(&FieldManager {
            versions: if is_own { &own as &dyn Versions } else { &other },
            version: &version,
            kind: expected.kind,
            subresource: &self.info.subresource,
            ignored: ignored.as_ref(),
            now: &self.now,
        })
    }

    /// An object of the kind that the path takes, with nothing but what Go always writes.
    fn new_object(&self) -> Map {
        let expected = self.entry.expected(&self.info.subresource);
        empty(expected.ty, &api::facts::api_version(expected.group, expected.version), expected.kind)
    }

    /// Sets the managedFields of an object that is about to be written; an empty `live` is none.
    pub(crate) fn track(&self, live: &Map, object: &mut Map) {
        let manager = manager_name(&self.info.query, self.headers);
        let blank = live.is_empty().then(|| self.new_object());
        let update = |object: &mut Map| {
            self.with_manager(|fields| fields.update(blank.as_ref().unwrap_or(live), object, &manager))
        };
        // Lists that are taken as a whole are compared as Go does, to which an empty list is not none
        // (sigs.k8s.io/structured-merge-diff/v6/value/listreflect.go@v6.4.2: EqualsUsing).
        let exact = self.restored(object, |empty| empty.is_in_atomic_list(self.entry.facts.ty));
        let Some(mut exact) = exact else { return update(object) };
        update(&mut exact);
        match exact.meta_mut().remove("managedFields") {
            Some(managed) => object.meta_mut().set("managedFields", managed),
            None => drop(object.meta_mut().remove("managedFields")),
        }
    }

    /// What becomes of the object when the configuration is applied; canonical, with its managedFields.
    pub(crate) fn applied(&self, live: &Map, config: &Map) -> Result<Map, Status> {
        let blank = live.is_empty().then(|| self.new_object());
        let live = blank.as_ref().unwrap_or(live);
        let (manager, force) = (self.info.query.get("fieldManager"), self.info.query.flag("force"));
        let applied = self.with_manager(|fields| fields.apply(live, config, manager, force))?;
        let mut object = match applied.object {
            Some(merged) => self.structured(config, &merged)?,
            None => live.clone(),
        };
        manager::set_managed(&mut object, applied.managed);
        Ok(object)
    }

    /// The merged tree as an object of the kind, with its defaults.
    fn structured(&self, config: &Map, merged: &Map) -> Result<Map, Status> {
        let mut merged = merged.clone();
        let facts = self.entry.facts;
        let fits = match facts.ty.open {
            true => Ok(()),
            false => crate::patch::unstructured::fit(&mut merged, facts.ty).map_err(|why| {
                let of = format!("{}/{}, Kind={}", facts.group, facts.version, facts.kind);
                format!("unable to convert unstructured object to {of}: {why}")
            }),
        };
        let decoded = fits.and_then(|()| {
            let decoded = json::decode(&json::encode(&merged), facts.ty, Strictness::Lenient);
            decoded.map_err(|error| error.to_string())
        });
        let decoded = decoded.map_err(|error| {
            let (meta, kind) = (config.map("metadata").unwrap_or(Map::EMPTY), self.entry.facts.kind);
            let (group, version) = (self.entry.facts.group, self.entry.facts.version);
            let about = format!("{}/{}; {group}/{version}, Kind={kind}", meta.str("namespace"), meta.str("name"));
            let message = format!("failed to convert new object ({about}) to proper version: {error}");
            Status { code: 500, message, ..Status::default() }
        })?;
        self.keep_empty(decoded.empty);
        let mut object = decoded.value;
        set_kind(&mut object, &self.entry.api_version, self.entry.facts.kind);
        self.default(&mut object);
        Ok(object)
    }
}

/// An object of a type with nothing but what Go always writes.
pub(crate) fn empty(ty: &'static api::facts::Struct, version: &str, kind: &str) -> Map {
    let mut object = json::zero(ty);
    set_kind(&mut object, version, kind);
    object
}

/// The parameter, else what the client calls itself.
pub(crate) fn manager_name(query: &Query, headers: &HeaderMap) -> String {
    match query.get("fieldManager") {
        "" => prefix_of_agent(headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("")),
        name => name.to_string(),
    }
}

/// The printable part of a User-Agent before its first slash.
fn prefix_of_agent(agent: &str) -> String {
    let mut name = String::new();
    for character in agent.split('/').next().unwrap_or("").chars().filter(|c| options::is_print(*c)) {
        if name.len() + character.len_utf8() > options::MANAGER_BYTES_MAX {
            break;
        }
        name.push(character);
    }
    name
}

/// An empty list of managedFields, which resets them, is lost in a canonical object: it is put back.
pub(crate) fn keep_reset(body: &[u8], format: Format, object: &mut Map) {
    let named =
        format != Format::Protobuf && std::str::from_utf8(body).is_ok_and(|text| text.contains("managedFields"));
    if !named || object.meta().contains("managedFields") {
        return;
    }
    let text = match format {
        Format::Yaml => api::yaml::to_json(body).unwrap_or_default(),
        _ => body.to_vec(),
    };
    if let Ok((Value::Map(raw), _)) = json::decode_any(&text, Strictness::Lenient) {
        copy_reset(&raw, object);
    }
}

/// As [`keep_reset`] for a tree that is not canonical yet.
pub(crate) fn copy_reset(raw: &Map, object: &mut Map) {
    if matches!(raw.meta().get("managedFields"), Some(Value::List(entries)) if entries.is_empty()) {
        object.meta_mut().set("managedFields", Vec::new());
    }
}

/// An apply configuration: YAML (or JSON), any object.
pub(crate) fn read_config(text: &[u8]) -> Result<Map, Status> {
    let failed = |why: String| Status::bad_request(format!("error decoding patch: {why}"));
    let text = api::yaml::to_json(text).map_err(|error| {
        // Upstream meets bad YAML first when it makes JSON of the patch for the audit log.
        Status::bad_request(format!("error encoding patch: {error}"))
    })?;
    let (value, _) = json::decode_any(&text, Strictness::Lenient).map_err(|error| failed(error.to_string()))?;
    match value {
        Value::Map(config) => Ok(config),
        Value::Null => Ok(Map::new()),
        other => {
            let found = match other {
                Value::List(_) => "array",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            let why = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
            Err(failed(format!("error unmarshaling JSON: while decoding JSON: {why}")))
        }
    }
}

/// Fields that a path resets, so that nobody owns them through it.
fn reset(entry: &Entry, subresource: &str) -> Option<Filter> {
    let fields: Option<&[&[&str]]> = entry.strategy.reset_fields(subresource).or_else(|| match subresource {
        "status" if entry.strategy.status_metadata() == StatusMetadata::Taken => Some(&[&["spec"]]),
        "status" => Some(&[&["metadata"], &["spec"]]),
        "" if entry.has_status() => Some(&[&["status"]]),
        // Others have strategies that reset fields, but their storage does not tell the field manager.
        _ => None,
    });
    fields.map(|paths| Filter::Exclude(Set::of_fields(paths)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_are_named_after_the_client() {
        for (agent, want) in [("kubectl/v1.37.2 (linux/amd64)", "kubectl"), ("", ""), ("a\u{7}b", "ab")] {
            assert_eq!(prefix_of_agent(agent), want);
        }
        assert_eq!(prefix_of_agent(&"é".repeat(100)).len(), 128);
    }
}
