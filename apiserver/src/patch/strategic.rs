//! Strategic merge patch: lists merge by key where the facts say so, with directives
//! (k8s.io/apimachinery/pkg/util/strategicpatch/patch.go@v0.37.2).
//!
//! Invariant: what a patch makes, and the order of lists in it, is what upstream makes (`testdata/strategic.jsonl` holds
//! its answers). The order of a merged list: what the patch names in the patch's order, what it does not name in the
//! order it had, and the patch's first where the object does not say. Non-goal: making patches.

use api::facts::{Field, Struct, Type};
use api::status::Status;
use api::value::{Map, Value};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

/// Why a patch cannot be applied.
enum Wrong {
    /// The patch has a bad form: 400.
    Form(&'static str),
    /// 422, and the client is not told why.
    ListOfLists,
    /// What upstream gives no status: 500.
    Other(String),
}

type Merged<T> = Result<T, Wrong>;

/// Applies a patch to an object of a known type.
///
/// # Errors
/// 400 for directives of a bad form, 500 as upstream for what else does not fit.
pub(crate) fn apply(original: &Map, patch: &Map, ty: &'static Struct) -> Result<Map, Status> {
    merge(original, patch, Some(ty)).map_err(|wrong| match wrong {
        Wrong::Form(why) => Status::bad_request(why),
        Wrong::ListOfLists => Status::unprocessable(),
        Wrong::Other(message) => Status { code: 500, message, ..Status::default() },
    })
}

fn merge(original: &Map, patch: &Map, ty: Option<&'static Struct>) -> Merged<Map> {
    match patch.get(DIRECTIVE).map(|value| value.as_str().unwrap_or("")) {
        None => {}
        Some("replace") => return Ok(without(patch, DIRECTIVE)),
        Some("delete") => return Ok(Map::new()),
        Some(_) => return Err(unknown_type(patch)),
    }
    let mut result = original.clone();
    retain_keys(&mut result, patch)?;
    let ordered = set_orders(&mut result, patch, ty)?;
    for (name, value) in patch.iter().filter(|(name, _)| name.starts_with(DELETE_FROM)) {
        let list = after(name, DELETE_FROM, "invalid patch format of primitive list")?;
        if let (Some(items), Some(gone)) = (result.get_mut(list).and_then(Value::as_list_mut), value.as_list()) {
            items.retain(|item| !gone.contains(item));
        }
    }
    let is_directive = |name: &str| name == RETAIN_KEYS || name.starts_with(DELETE_FROM) || name.starts_with(SET_ORDER);
    for (name, value) in patch.iter().filter(|(name, _)| !is_directive(name) && !ordered.contains(&name.as_str())) {
        merge_field(&mut result, name, value, ty)?;
    }
    Ok(result)
}

fn merge_field(result: &mut Map, name: &str, value: &Value, ty: Option<&'static Struct>) -> Merged<()> {
    let merged = match (result.get(name), value) {
        (_, Value::Null) => {
            result.remove(name);
            return Ok(());
        }
        (Some(Value::Map(base)), Value::Map(inner)) => {
            let field = lookup(ty, name)?;
            if let (Some(Type::RawExtension), Some((name, _))) = (field.map(|field| &field.ty), inner.iter().next()) {
                let text = format!("unable to find api field in struct RawExtension for the json field {name:?}");
                return Err(Wrong::Other(text));
            }
            let replaces = field.is_some_and(|field| strategy(field) == "replace");
            if replaces { value.clone() } else { Value::Map(merge(base, inner, field.and_then(struct_of))?) }
        }
        (Some(Value::List(base)), Value::List(inner)) => {
            Value::List(merge_list(base.clone(), inner, lookup(ty, name)?)?)
        }
        _ => match plain(&without_nulls(value)) {
            Some(taken) => taken,
            None => {
                result.remove(name);
                return Ok(());
            }
        },
    };
    result.set(name, merged);
    Ok(())
}

/// The facts of a field; a type that is known has to have it.
fn lookup(ty: Option<&'static Struct>, name: &str) -> Merged<Option<&'static Field>> {
    let Some(ty) = ty else { return Ok(None) };
    ty.field(name).map(Some).ok_or_else(|| {
        let of = ty.name.rsplit('.').next().unwrap_or_default();
        Wrong::Other(format!("unable to find api field in struct {of} for the json field {name:?}"))
    })
}

/// `merge`, `replace` or nothing: `retainKeys` is for who makes patches.
fn strategy(field: &Field) -> &'static str {
    field.patch_strategy.split(',').find(|strategy| *strategy != "retainKeys").unwrap_or_default()
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
fn retain_keys(result: &mut Map, patch: &Map) -> Merged<()> {
    let Some(keys) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let bad = Wrong::Form("invalid patch format of retainKeys");
    let Some(keys) = keys.as_list() else { return Err(bad) };
    let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
    let counts = |name: &str, value: &Value| {
        name != RETAIN_KEYS && !value.is_null() && !name.starts_with(DELETE_FROM) && !name.starts_with(SET_ORDER)
    };
    if patch.iter().any(|(name, value)| counts(name, value) && !keys.contains(&name.as_str())) {
        return Err(bad);
    }
    result.retain(|name, _| keys.contains(&name));
    Ok(())
}

/// Merges the lists that `$setElementOrder` speaks of, and returns their names.
fn set_orders<'p>(result: &mut Map, patch: &'p Map, ty: Option<&'static Struct>) -> Merged<Vec<&'p str>> {
    let mut done = Vec::new();
    for (directive, order) in patch.iter().filter(|(name, _)| name.starts_with(SET_ORDER)) {
        let order = list(order)?;
        let name = after(directive, SET_ORDER, "invalid patch format of setElementOrder list")?;
        let original = result.get(name).map(list).transpose()?;
        let changes = patch.get(name).map(list).transpose()?;
        let field = lookup(ty, name)?;
        let key = field.map_or("", |field| field.patch_merge_key);
        validate_order(changes.unwrap_or_default(), order, key)?;
        let merged = match (original, changes) {
            (None, None) => continue,
            (Some(original), None) => original.to_vec(),
            (None, Some(changes)) => changes.iter().filter_map(plain).collect(),
            (Some(original), Some(changes)) => merge_list(original.to_vec(), changes, field)?,
        };
        same_kind(original.unwrap_or_default(), changes.unwrap_or_default())?;
        let arranged = arrange(merged, order, original.unwrap_or_default(), key);
        result.set(name, arranged);
        done.push(name);
    }
    Ok(done)
}

/// What a list patch names has to come in the order that is asked for.
fn validate_order(changes: &[Value], order: &[Value], key: &str) -> Merged<()> {
    if changes.is_empty() || order.is_empty() {
        return Ok(());
    }
    let is_directive = |item: &&Value| item.as_map().is_some_and(|item| item.contains(DIRECTIVE));
    let mut rest = order.iter();
    for item in changes.iter().filter(|item| !is_directive(item)) {
        if !rest.any(|wanted| id(wanted, key) == id(item, key)) {
            let (changes, order) = (go_list(changes), go_list(order));
            let text = format!("The order in patch list:\n{changes}\n doesn't match {SET_ORDER} list:\n{order}\n");
            return Err(Wrong::Other(text));
        }
    }
    Ok(())
}

fn merge_list(original: Vec<Value>, patch: &[Value], field: Option<&'static Field>) -> Merged<Vec<Value>> {
    if field.is_none_or(|field| strategy(field) != "merge") {
        return Ok(patch.to_vec());
    }
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let key = field.map_or("", |field| field.patch_merge_key);
    if same_kind(&original, patch)? {
        if key.is_empty() {
            return Err(Wrong::Other("cannot merge lists without merge key for struct".into()));
        }
        return merge_maps(original, patch, key, field.and_then(struct_of));
    }
    let mut merged: Vec<Value> = Vec::with_capacity(original.len() + patch.len());
    for item in original.iter().chain(patch) {
        if !merged.contains(item) {
            merged.push(item.clone());
        }
    }
    Ok(arrange(merged, patch, &original, ""))
}

fn merge_maps(mut original: Vec<Value>, patch: &[Value], key: &str, ty: Option<&'static Struct>) -> Merged<Vec<Value>> {
    let mut changes = Vec::new();
    let mut replaces = false;
    for item in patch.iter().filter_map(Value::as_map) {
        match item.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or("")) {
            None => changes.push(item),
            Some("delete") => {
                let gone = key_of(item, key)?;
                for other in original.iter().filter_map(Value::as_map) {
                    key_of(other, key)?;
                }
                original.retain(|other| other.as_map().and_then(|other| other.get(key)) != Some(gone));
            }
            Some("replace") => replaces = true,
            Some("merge") => return Err(Wrong::Other("merging lists cannot yet be specified in the patch".into())),
            Some(_) => return Err(unknown_type(item)),
        }
    }
    let changes_as_values = |changes: &[&Map]| changes.iter().map(|item| Value::Map((*item).clone())).collect();
    if replaces {
        return Ok(changes_as_values(&changes));
    }
    let mut merged = original.clone();
    for item in &changes {
        let wanted = key_of(item, key)?;
        let mut found = None;
        for (at, other) in merged.iter().enumerate() {
            if let Some(other) = other.as_map()
                && key_of(other, key)? == wanted
            {
                found = Some((at, merge(other, item, ty)?));
                break;
            }
        }
        match found {
            Some((at, changed)) => merged[at] = Value::Map(changed),
            None => merged.push(Value::Map((*item).clone())),
        }
    }
    let changes: Vec<Value> = changes_as_values(&changes);
    Ok(arrange(merged, &changes, &original, key))
}

/// Puts the items that `order` names in its order; the others stay as they are in `original`. Between the two, `original`
/// decides where it knows both, and else what is named comes first.
fn arrange(items: Vec<Value>, order: &[Value], original: &[Value], key: &str) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|other| id(other, key) == id(item, key));
    let (mut named, mut others): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    others.sort_by_key(|item| place(original, item));
    let mut arranged = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(name), Some(other)) = (named.peek(), others.peek()) {
        let stays = place(original, other).zip(place(original, name)).is_some_and(|(other, name)| other < name);
        arranged.extend(if stays { others.next() } else { named.next() });
    }
    arranged.extend(named);
    arranged.extend(others);
    arranged
}

/// What tells an item of a list from others.
fn id<'v>(item: &'v Value, key: &str) -> &'v Value {
    match item {
        Value::Map(map) if !key.is_empty() => map.get(key).unwrap_or(&Value::Null),
        item => item,
    }
}

fn key_of<'m>(item: &'m Map, key: &str) -> Merged<&'m Value> {
    item.get(key)
        .ok_or_else(|| Wrong::Other(format!("map: {} does not contain declared merge key: {key}", go_map(item))))
}

/// Whether the items of both lists are maps; all have to be of one kind.
fn same_kind(original: &[Value], patch: &[Value]) -> Merged<bool> {
    let mut kinds = original.iter().chain(patch).map(std::mem::discriminant);
    let Some(first) = original.first().or(patch.first()) else {
        return Err(Wrong::Other("no elements in any of the given slices".into()));
    };
    if matches!(first, Value::List(_)) {
        return Err(Wrong::ListOfLists);
    }
    if kinds.any(|kind| kind != std::mem::discriminant(first)) {
        let lists = format!("[{} {}]", go_list(original), go_list(patch));
        return Err(Wrong::Other(format!("list element types are not identical: {lists}")));
    }
    Ok(matches!(first, Value::Map(_)))
}

fn list(value: &Value) -> Merged<&[Value]> {
    let text = || format!("expected a []interface {{}}, but received a {}", value.go_type());
    value.as_list().ok_or_else(|| Wrong::Other(text()))
}

/// What follows the slash of a directive.
fn after<'n>(name: &'n str, directive: &str, bad: &'static str) -> Merged<&'n str> {
    name.strip_prefix(directive).and_then(|rest| rest.strip_prefix('/')).ok_or(Wrong::Form(bad))
}

fn unknown_type(patch: &Map) -> Wrong {
    let directive = patch.get(DIRECTIVE).map_or_else(String::new, go_value);
    Wrong::Other(format!("unknown patch type: {directive} in map: {}", go_map(patch)))
}

fn without(map: &Map, name: &str) -> Map {
    let mut rest = map.clone();
    rest.remove(name);
    rest
}

/// A value that is new to the object; nothing of what has a directive.
fn plain(value: &Value) -> Option<Value> {
    match value {
        Value::Map(map) if map.contains(DIRECTIVE) => None,
        Value::Map(map) => {
            let mut kept = Map::new();
            for (name, value) in map.iter() {
                if let Some(value) = plain(value) {
                    kept.set(name.clone(), value);
                }
            }
            Some(Value::Map(kept))
        }
        Value::List(items) => Some(Value::List(items.iter().filter_map(plain).collect())),
        other => Some(other.clone()),
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Map(map) => {
            let mut kept = Map::new();
            for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                kept.set(name.clone(), without_nulls(value));
            }
            Value::Map(kept)
        }
        Value::List(items) => Value::List(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

/// As Go's `%v` shows it.
fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(is) => is.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => api::field::go_float(*number),
        Value::String(text) => text.to_string(),
        Value::List(items) => go_list(items),
        Value::Map(map) => go_map(map),
    }
}

fn go_list(items: &[Value]) -> String {
    format!("[{}]", items.iter().map(go_value).collect::<Vec<_>>().join(" "))
}

/// As Go's `%v` shows a map.
pub(crate) fn go_map(map: &Map) -> String {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
    let entries: Vec<_> = entries.iter().map(|(name, value)| format!("{name}:{}", go_value(value))).collect();
    format!("map[{}]", entries.join(" "))
}
