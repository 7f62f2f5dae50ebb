//! Strategic merge patch: lists merge by key where the facts say so, with directives
//! (k8s.io/apimachinery/pkg/util/strategicpatch/patch.go@v0.37.2).

use api::facts::{Field, Struct, Type};
use api::status::Status;
use api::value::{Map, Value};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// Applies a patch to an object of a known type.
pub(crate) fn apply(original: &Map, patch: &Map, ty: &'static Struct) -> Result<Map, Status> {
    merge(original, patch, Some(ty)).map_err(|why| Status {
        code: 422,
        reason: "Invalid",
        message: why,
        ..Status::default()
    })
}

fn merge(original: &Map, patch: &Map, ty: Option<&'static Struct>) -> Result<Map, String> {
    match patch.get(DIRECTIVE).map(|value| value.as_str().unwrap_or("")) {
        None | Some("merge") => {}
        Some("replace") => return Ok(without_directives(patch)),
        Some("delete") => return Ok(Map::new()),
        Some(other) => return Err(format!("unknown patch type: {other}")),
    }
    let mut result = original.clone();
    retain_keys(&mut result, patch)?;
    for (name, value) in patch.iter() {
        if let Some(list) = name.strip_prefix(DELETE_FROM) {
            delete_from(&mut result, list, value);
        }
    }
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        let field = ty.and_then(|ty| ty.field(name));
        match value {
            Value::Null => drop(result.remove(name)),
            Value::Map(inner) => {
                let replaces = field.is_some_and(|field| strategies(field).any(|s| s == "replace"));
                let base = if replaces { Map::EMPTY } else { result.map(name).unwrap_or(Map::EMPTY) };
                let deletes = inner.str(DIRECTIVE) == "delete";
                let merged = merge(base, inner, field.and_then(struct_of))?;
                if deletes { drop(result.remove(name)) } else { result.set(name.clone(), merged) }
            }
            Value::List(inner) => {
                let order = patch.get(&format!("{SET_ORDER}{name}")).and_then(Value::as_list);
                let merged = merge_list(result.list(name), inner, field, order)?;
                result.set(name.clone(), merged);
            }
            other => result.set(name.clone(), other.clone()),
        }
    }
    reorder_untouched(&mut result, patch, ty);
    Ok(result)
}

/// A patch may only say in which order a list is to be.
fn reorder_untouched(result: &mut Map, patch: &Map, ty: Option<&'static Struct>) {
    for (name, order) in patch.iter() {
        let Some(list) = name.strip_prefix(SET_ORDER) else { continue };
        if patch.contains(list) {
            continue;
        }
        let key = ty.and_then(|ty| ty.field(list)).map_or("", |field| field.patch_merge_key);
        if let (Some(items), Some(order)) = (result.get_mut(list).and_then(Value::as_list_mut), order.as_list()) {
            sort(items, order, key);
        }
    }
}

fn strategies(field: &Field) -> impl Iterator<Item = &'static str> {
    field.patch_strategy.split(',')
}

fn struct_of(field: &'static Field) -> Option<&'static Struct> {
    element(&field.ty)
}

fn element(ty: &'static Type) -> Option<&'static Struct> {
    match ty {
        Type::Struct(inner) => Some(inner),
        Type::List(inner) | Type::Map(inner) | Type::Wrapped(inner) => element(inner),
        _ => None,
    }
}

/// `$retainKeys` lists the fields that may stay.
fn retain_keys(result: &mut Map, patch: &Map) -> Result<(), String> {
    let Some(keys) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let keys: Vec<&str> =
        keys.as_list().ok_or("invalid patch format of $retainKeys")?.iter().filter_map(Value::as_str).collect();
    for name in patch.keys().filter(|name| !name.starts_with('$')) {
        if patch.get(name).is_some_and(|value| !value.is_null()) && !keys.contains(&name.as_str()) {
            return Err("retainKeys list doesn't contain all fields present in the patch".into());
        }
    }
    result.retain(|name, _| keys.contains(&name));
    Ok(())
}

fn delete_from(result: &mut Map, list: &str, gone: &Value) {
    let gone = gone.as_list().unwrap_or(&[]);
    if let Some(items) = result.get_mut(list).and_then(Value::as_list_mut) {
        items.retain(|item| !gone.contains(item));
    }
}

fn without_directives(patch: &Map) -> Map {
    let mut plain = patch.clone();
    plain.retain(|name, _| !name.starts_with('$'));
    plain
}

fn merge_list(
    original: &[Value],
    patch: &[Value],
    field: Option<&'static Field>,
    order: Option<&[Value]>,
) -> Result<Vec<Value>, String> {
    let merges = field.is_some_and(|field| strategies(field).any(|strategy| strategy == "merge"));
    if !merges {
        let plain = patch
            .iter()
            .map(|item| item.as_map().map_or_else(|| item.clone(), |map| Value::Map(without_directives(map))));
        return Ok(plain.collect());
    }
    let key = field.map_or("", |field| field.patch_merge_key);
    if patch.iter().chain(original).all(|item| item.as_map().is_none()) {
        let mut merged = original.to_vec();
        for item in patch {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        if let Some(order) = order {
            sort(&mut merged, order, "");
        }
        return Ok(merged);
    }
    merge_maps(original, patch, key, field.and_then(struct_of), order)
}

fn merge_maps(
    original: &[Value],
    patch: &[Value],
    key: &str,
    ty: Option<&'static Struct>,
    order: Option<&[Value]>,
) -> Result<Vec<Value>, String> {
    let replaces =
        |item: &Value| item.as_map().is_some_and(|map| map.str(DIRECTIVE) == "replace" && !map.contains(key));
    if patch.iter().any(replaces) {
        let kept = patch.iter().filter(|item| !replaces(item)).filter_map(Value::as_map);
        return Ok(kept.map(|map| Value::Map(without_directives(map))).collect());
    }
    let mut merged = original.to_vec();
    for item in patch.iter().filter_map(Value::as_map) {
        let Some(id) = item.get(key) else {
            return Err(format!("map: {} does not contain declared merge key: {key}", shown(item)));
        };
        let at = merged.iter().position(|other| other.as_map().and_then(|other| other.get(key)) == Some(id));
        match (item.str(DIRECTIVE), at) {
            ("delete", _) => merged.retain(|other| other.as_map().and_then(|other| other.get(key)) != Some(id)),
            ("replace", Some(at)) => merged[at] = Value::Map(without_directives(item)),
            (_, Some(at)) => {
                let base = merged[at].as_map().cloned().unwrap_or_default();
                merged[at] = Value::Map(merge(&base, item, ty)?);
            }
            (_, None) => merged.push(Value::Map(merge(Map::EMPTY, item, ty)?)),
        }
    }
    if let Some(order) = order {
        sort(&mut merged, order, key);
    }
    Ok(merged)
}

fn shown(map: &Map) -> String {
    let names: Vec<_> = map.iter().map(|(name, value)| format!("{name}:{}", value.as_str().unwrap_or("..."))).collect();
    format!("map[{}]", names.join(" "))
}

/// Items named in `order` come in that order; the others keep their place relative to what precedes them.
fn sort(items: &mut Vec<Value>, order: &[Value], key: &str) {
    let id = |item: &Value| match (key, item) {
        ("", item) => item.clone(),
        (key, Value::Map(map)) => map.get(key).cloned().unwrap_or_default(),
        (_, item) => item.clone(),
    };
    let wanted: Vec<Value> = order.iter().map(id).collect();
    let rank = |item: &Value| wanted.iter().position(|w| *w == id(item));
    let (mut named, others): (Vec<_>, Vec<_>) =
        std::mem::take(items).into_iter().enumerate().partition(|(_, item)| rank(item).is_some());
    named.sort_by_key(|(_, item)| rank(item));
    let mut others = others.into_iter().peekable();
    for (at, item) in named {
        while let Some((_, other)) = others.next_if(|(other_at, _)| *other_at < at) {
            items.push(other);
        }
        items.push(item);
    }
    items.extend(others.map(|(_, item)| item));
}
