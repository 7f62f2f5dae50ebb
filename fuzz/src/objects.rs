//! What holds of objects on their way through a write: patches, apply, defaults, validation, schemas.

use std::borrow::Cow;

use ::apply::fields;
use ::apply::managed;
use ::apply::manager::{FieldManager, set_managed};
use ::apply::schema::Ref;
use ::apply::updater::Versions;
use api::facts::{self, Struct};
use api::json::{self, Strictness};
use api::value::{Map, Value};
use apiserver::fuzzing::{self, Resource};
use rules::compile::Cel;
use rules::evaluate::Compiled;
use structural::meta::Malformed;
use structural::publish::{self, Flavor, Words};
use structural::resource::{self, Decoding, Version};
use structural::schema::Schema;
use structural::{columns, conditions, default, definition};

use crate::{parsed, parts, said_type};

type Json = serde_json::Value;

/// A document and a patch. A JSON patch that another library can apply, too, makes the same of the document; so does a merge
/// patch without arrays. From the second time on a merge patch changes nothing. What a strategic merge patch makes of
/// an object is one of its kind.
pub fn patches(data: &[u8]) {
    let Some([document, patch]) = parts(data) else { return };
    if !matches!(json::decode_any(document.as_bytes(), Strictness::Lenient), Ok((Value::Map(_), _))) {
        return;
    }
    let other: Option<Json> = serde_json::from_str(document).ok();
    if let Some(patched) = fuzzing::json_patch(document, patch.as_bytes()) {
        json::scan::check(&patched).expect("JSON");
        if let (Some(mut other), Ok(patch)) = (other.clone(), serde_json::from_str::<json_patch::Patch>(patch))
            && json_patch::patch(&mut other, &patch).is_ok()
            && let Ok(patched) = serde_json::from_slice::<Json>(&patched)
        {
            assert_eq!(patched, other);
        }
    }
    let merged =
        |document: &str| fuzzing::merge_patch(document, patch).map(|merged| String::from_utf8(merged).expect("text"));
    if let Some(once) = merged(document) {
        json::scan::check(once.as_bytes()).expect("JSON");
        if let (Some(mut other), Ok(Json::Object(patch))) = (other, serde_json::from_str(patch))
            && !data.contains(&b'[')
        {
            json_patch::merge(&mut other, &Json::Object(patch));
            assert_eq!(serde_json::from_str::<Json>(&once).expect("JSON"), other);
        }
        // Nulls in arrays stay the first time.
        if let Some(twice) = merged(&once) {
            assert_eq!(merged(&twice).as_ref(), Some(&twice));
        }
    }
    strategic(document, patch);
}

fn strategic(document: &str, patch: &str) {
    let (Some(document), Some(patch)) = (parsed(document), parsed(patch)) else { return };
    let Some(ty) = said_type(&document) else { return };
    let Ok(object) = json::decode(&json::encode(&document), ty, Strictness::Lenient) else { return };
    if let Some(patched) = fuzzing::strategic_patch(&object.value, &patch, ty) {
        crate::object(&patched, ty);
    }
}

/// A kind in one version, of which the facts know or do not.
struct Kind<'a> {
    version: &'a str,
    kind: &'a str,
    ty: Option<&'static Struct>,
}

impl Versions for Kind<'_> {
    fn schema(&self, version: &str) -> Option<Ref<'_>> {
        (version == self.version).then(|| self.ty.map_or(Ref::Deduced, Ref::Struct))
    }

    fn convert<'o>(&self, object: &'o Map, from: &str, to: &str) -> Option<Cow<'o, Map>> {
        (from == to).then_some(Cow::Borrowed(object))
    }
}

impl Kind<'_> {
    fn canonical(&self, object: &Map) -> Option<Map> {
        let mut object = match self.ty {
            Some(ty) => json::decode(&json::encode(object), ty, Strictness::Lenient).ok()?.value,
            None => object.clone(),
        };
        api::object::set_kind(&mut object, self.version, self.kind);
        Some(object)
    }

    /// The object after an apply by force.
    fn applied(&self, live: &Map, config: &Map, manager: &str) -> Option<Map> {
        let now = "2026-01-01T00:00:00Z";
        let fields = FieldManager {
            versions: self,
            version: self.version,
            kind: self.kind,
            subresource: "",
            ignored: None,
            now,
        };
        let _ = fields.apply(live, config, manager, false);
        let applied = fields.apply(live, config, manager, true).ok()?;
        let mut object = self.canonical(applied.object.as_ref().unwrap_or(live))?;
        set_managed(&mut object, applied.managed);
        Some(object)
    }
}

fn owners(object: &Map) -> Vec<Value> {
    let entries = object.map("metadata").map(|meta| meta.list("managedFields")).unwrap_or_default();
    let managed = managed::decode(entries).expect("our own entries");
    assert_eq!(managed::encode(&managed), entries);
    entries.to_vec()
}

/// Two configurations that two managers apply in turn: from the second time on an apply changes nothing, and owners
/// are read as they were written.
pub fn apply(data: &[u8]) {
    let Some([first, second]) = parts(data) else { return };
    let (Some(first), Some(second)) =
        (fuzzing::apply_configuration(first.as_bytes()), fuzzing::apply_configuration(second.as_bytes()))
    else {
        return;
    };
    let kind = Kind { version: first.str("apiVersion"), kind: first.str("kind"), ty: said_type(&first) };
    // A path of the API always has a version.
    let Some(mut live) = kind.canonical(&Map::new()).filter(|_| !kind.version.is_empty()) else { return };
    for (config, manager) in [(&first, "a"), (&second, "b"), (&first, "a"), (&second, "a")] {
        let Some(object) = kind.applied(&live, config, manager) else { return };
        if kind.canonical(config).is_none_or(|canonical| text(&canonical) != text(config)) {
            // Keys of lists are not what was said: 0 is stored of null, and that is another item.
            live = object;
            continue;
        }
        // A map that loses its last entry is gone the first time, even when the configuration has it empty.
        let again = kind.applied(&object, config, manager).expect("it was applied before");
        let owned = owners(&again);
        let more = kind.applied(&again, config, manager).expect("it was applied before");
        assert_eq!(owners(&more), owned);
        assert_eq!(text(&more), text(&again));
        live = object;
    }
}

/// In the order of names.
fn text(object: &Map) -> String {
    serde_json::from_slice::<Json>(&json::encode(object)).expect("our own text").to_string()
}

/// Sets of fields come back as they are written; what sets have in common, and not, is what they are.
pub fn field_sets(data: &[u8]) {
    let Ok((Value::Map(object), _)) = json::decode_any(data, Strictness::Lenient) else { return };
    if let Ok(managed) = managed::decode(object.list("managedFields")) {
        let written = managed::encode(&managed);
        assert_eq!(managed::encode(&managed::decode(&written).expect("our own entries")), written);
    }
    let Ok(set) = fields::decode(&object) else { return };
    let written = fields::encode(&set);
    let read = crate::parsed(&String::from_utf8(json::encode(&written)).expect("text")).expect("our own text");
    assert_eq!(fields::encode(&fields::decode(&read).expect("our own set")), written);
    let leaves = set.leaves();
    assert_eq!(fields::encode(&set.union(&set)), written);
    assert!(set.difference(&set).is_empty() && set.recursive_difference(&set).is_empty());
    assert_eq!(fields::encode(&set.intersection(&leaves)), fields::encode(&leaves));
    assert_eq!(fields::encode(&set.difference(&leaves).union(&leaves)), written);
}

/// An object of a built-in kind: defaults are filled in once, what is stored stays what it is, a table has cells for all
/// of its columns.
pub fn objects(data: &[u8]) {
    let Ok((Value::Map(document), _)) = json::decode_any(data, Strictness::Lenient) else { return };
    let (group, version) = facts::split_api_version(document.str("apiVersion"));
    let Some(resource) = Resource::of(group, version, document.str("kind")) else { return };
    let Some(mut object) = resource.decode(data) else { return };
    resource.default(&mut object);
    let mut again = object.clone();
    resource.default(&mut again);
    assert_eq!(text(&again), text(&object));
    let (mut created, _) = resource.create(&object);
    created.map_mut("metadata").remove("resourceVersion");
    let _ = (resource.update(&object, &created), resource.update(&created, &created));
    let _ = fuzzing::delete_options(data);
    let table = resource.table(&created);
    let cells = table.maps("rows").map(|row| row.list("cells").len());
    // Upstream shows one cell more of an IPAddress.
    assert!(cells.into_iter().all(|cells| cells >= table.list("columnDefinitions").len()));
    let again = |stored: &Vec<u8>| {
        let mut loaded = resource.load(stored).expect("our own bytes");
        // It is not stored.
        loaded.map_mut("metadata").remove("resourceVersion");
        resource.store(&loaded).expect("it was stored before")
    };
    let Some(stored) = resource.store(&created) else { return };
    // What an older version says in annotations is not always what it was made of.
    let second = again(&stored);
    assert_eq!(again(&second), second);
}

const WORDS: Words<'_> = Words { api_version: "", kind: "", metadata: "", list_metadata: "" };

/// A definition with one version.
fn definition_of(version: &Map) -> Option<Map> {
    let mut version = version.clone();
    for (name, value) in [("name", Value::from("v1")), ("served", true.into()), ("storage", true.into())] {
        version.set(name, value);
    }
    let names = api::map! { "plural" => "foos", "singular" => "foo", "kind" => "Foo", "listKind" => "FooList" };
    let definition = api::map! {
        "metadata" => api::map! { "name" => "foos.example.io" },
        "spec" => api::map! {
            "group" => "example.io", "scope" => "Namespaced", "names" => names,
            "versions" => Value::List(vec![version.into()]),
        },
        "status" => api::map! { "storedVersions" => Value::List(vec!["v1".into()]) },
    };
    let ty = facts::kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")?;
    let mut definition = json::decode(&json::encode(&definition), ty, Strictness::Lenient).ok()?.value;
    definition::apply_defaults(&mut definition);
    Some(definition)
}

/// A version of a definition, and an object of it. What is valid compiles; an object that was pruned and has its
/// defaults is left alone from then on.
pub fn schemas(data: &[u8]) {
    let Some([version, object]) = parts(data) else { return };
    let Some(definition) = parsed(version).as_ref().and_then(definition_of) else { return };
    let errors = definition::validate_create(&definition, &Cel);
    let _ = (definition::warnings(&definition, None), conditions::non_structural(&definition));
    let _ = definition::validate_update(&definition, &definition, &Cel);
    if !errors.is_empty() {
        return;
    }
    for flavor in [Flavor::V2, Flavor::V3] {
        publish::definitions(&definition, "v1", flavor, WORDS).expect("it has the version");
    }
    let version = definition::version(&definition, "v1").expect("it has the version");
    let schema = version.map("schema").and_then(|schema| schema.map("openAPIV3Schema")).expect("it is required");
    let schema = Schema::parse(schema).expect("a valid schema");
    let (columns, error) = columns::of(version, "");
    assert_eq!(error, None);
    let selectable = columns::selectable(version).expect("a valid definition");
    let Some(mut object) = parsed(object) else { return };
    let decoding = Decoding { malformed: Malformed::Refuse, preserve_unknown_fields: false, repair_generation: false };
    if resource::coerce(&mut object, Some(&schema), decoding).is_err() {
        return;
    }
    let mut object = defaulted(object, &schema);
    let before = text(&object);
    assert_eq!(resource::coerce(&mut object, Some(&schema), decoding), Ok(Vec::new()));
    let object = defaulted(object, &schema);
    assert_eq!(text(&object), before);
    let compiled = Compiled::of(&schema);
    let version = Version {
        api_version: "example.io/v1",
        kind: "Foo",
        schema: Some(&schema),
        scale: None,
        rules: Some(&compiled),
    };
    let mut named = object.clone();
    api::object::set_kind(&mut named, "example.io/v1", "Foo");
    for verdict in [
        resource::validate_create(&version, &named, Vec::new()),
        resource::validate_update(&version, &named, &named, Vec::new()),
        resource::validate_status_update(&version, &named, &named, Vec::new()),
    ] {
        let _: Vec<String> = verdict.errors.iter().map(ToString::to_string).collect();
    }
    let value = Value::Map(named);
    for column in &columns {
        column.cell(&value, |_| String::new());
    }
    for (_, path) in &selectable {
        let _ = columns::selected(path, &value);
    }
}

fn defaulted(object: Map, schema: &Schema) -> Map {
    let mut value = Value::Map(object);
    default::apply(&mut value, schema);
    match value {
        Value::Map(object) => object,
        other => panic!("defaults made {other:?} of an object"),
    }
}
