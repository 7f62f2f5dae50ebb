//! Client-side apply's annotation: who moves from it to server-side apply meets no conflicts with themselves
//! (k8s.io/apimachinery/pkg/util/managedfields/internal/lastapplied*.go@v0.37.2).

use api::json::{self, Strictness};
use api::object::Meta;
use api::value::{Map, Value};

use crate::schema::Ref;
use crate::set::Set;
use crate::typed::Typed;
use crate::typed::validate::Duplicates;

/// The manager that client-side apply belongs to.
pub(crate) const MANAGER: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// All annotations together, in bytes (k8s.io/apimachinery/pkg/api/validation/objectmeta.go: TotalAnnotationSizeLimitB).
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// The fields of the annotation that the live object still has as they were applied.
pub(crate) fn unchanged_fields(live: &Map, version: &str, ty: Ref<'_>) -> Option<Set> {
    let text = live.annotation(ANNOTATION).filter(|text| !text.is_empty())?;
    let typed = |value| Typed { value, ty };
    typed(live).validate(Duplicates::Refuse).ok()?;
    let (applied, _) = json::decode_any(text.as_bytes(), Strictness::Lenient).ok()?;
    let applied = applied.as_map().filter(|applied| applied.str("apiVersion") == version)?;
    typed(applied).validate(Duplicates::Refuse).ok()?;
    let set = typed(applied).to_field_set().ok()?;
    let now = typed(applied).compare(typed(live)).ok()?;
    Some(set.difference(&now.modified).difference(&now.added).difference(&now.removed))
}

/// Brings the annotation up to date, when the object has it.
pub(crate) fn refresh(live: &Map, config: &Map, object: &mut Option<Map>) {
    let present = object.as_ref().unwrap_or(live);
    if present.annotation(ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    let meta = config.map_mut("metadata");
    if let Some(Value::Map(annotations)) = meta.get_mut("annotations") {
        annotations.remove(ANNOTATION);
        if annotations.is_empty() {
            meta.remove("annotations");
        }
    }
    sort(&mut config);
    let text = String::from_utf8_lossy(&json::encode(&config)).into_owned();
    let target = object.get_or_insert_with(|| live.clone());
    let annotations = target.map_mut("metadata").map_mut("annotations");
    annotations.set(ANNOTATION, text);
    let bytes: usize = annotations.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        annotations.remove(ANNOTATION);
    }
}

/// Orders the names at every depth, as Go writes maps.
fn sort(map: &mut Map) {
    map.sort();
    map.iter_mut().for_each(|(_, value)| sort_value(value));
}

fn sort_value(value: &mut Value) {
    match value {
        Value::Map(map) => sort(map),
        Value::List(list) => list.iter_mut().for_each(sort_value),
        _ => {}
    }
}
