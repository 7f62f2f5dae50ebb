//! What clients are told of resources with objects that cannot be read
//! (k8s.io/apiserver/pkg/storage/{etcd3/corrupt_obj_deleter.go,cacher/cacher.go}@v0.37.2).

use api::status::{Status, qualified};

use super::corrupt_text;
use crate::cache::Unreadable;
use crate::hub::untransformable;
use crate::registry::Storage;

/// When a client may try again what a cache does not have yet.
const REINITIALIZING_SECONDS: u32 = 1;
/// Objects that one error tells of (corrupt_obj_deleter.go: maxCorruptObjErrsToAggregate).
const TOLD_MAX: usize = 100;

fn text(storage: &Storage, one: &Unreadable) -> String {
    corrupt_text(&format!("{}{}", storage.prefix, one.key), &untransformable(&one.why))
}

/// The error of a list; `first` of `count` objects is told of.
pub(super) fn not_read(group: &str, resource: &str, first: &str, count: usize) -> String {
    let what = qualified(group, resource);
    let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
    format!("failed to read one or more {what} from the storage: {first}{more}")
}

/// Upstream's cache serves nothing before its list has succeeded.
pub(super) fn not_ready(why: &str) -> Status {
    let text = format!("storage is (re)initializing: failed to list <unspecified>: {why}");
    Status::too_many_requests(text, REINITIALIZING_SECONDS)
}

/// A resource whose cache lacks what cannot be read.
pub(super) fn reinitializing(storage: &Storage) -> Status {
    let unreadable = storage.cache.unreadable();
    match unreadable.first() {
        Some(first) => {
            let count = unreadable.len().min(TOLD_MAX);
            not_ready(&not_read(storage.group, storage.plural, &text(storage, first), count))
        }
        // It was read meanwhile.
        None => Status::too_many_requests("storage is (re)initializing", REINITIALIZING_SECONDS),
    }
}

/// A list from the store met objects that cannot be read.
pub(super) fn unlisted(storage: &Storage, unreadable: &[Unreadable]) -> Status {
    let told = &unreadable[..unreadable.len().min(TOLD_MAX)];
    let texts: Vec<String> = told.iter().map(|one| text(storage, one)).collect();
    let first = texts.first().map_or("", String::as_str);
    let mut status = Status {
        code: 500,
        reason: "StorageReadError",
        message: not_read(storage.group, storage.plural, first, texts.len()),
        group: storage.group.into(),
        kind: storage.plural.into(),
        name: "list".into(),
        ..Status::default()
    };
    for (one, text) in told.iter().zip(&texts) {
        let key = format!("{}{}", storage.prefix, one.key);
        status = status.with_cause("UnexpectedServerResponse", text, &key);
    }
    match told.len() {
        TOLD_MAX => status.with_cause("FieldValueTooMany", "too many errors, the list is truncated", ""),
        _ => status,
    }
}
