//! What a request is thought to cost, from what it is about and what this server knows of that.

use api::selector::fields;
use flow::estimate::{self, List, Stored, Work};
use flow::watches::Watches;
use parking_lot::Mutex;

use crate::hub::Hub;
use crate::request::Info;

/// The work of a request, and for a change the watches that are told.
pub(super) fn work(watches: &Mutex<Watches>, hub: &Hub, info: &Info, level_max: Option<u64>) -> (Work, Option<u64>) {
    match info.verb {
        "list" | "watch" => (list(info).work(stored(hub, info), level_max), None),
        // A token is an answer, not a change.
        "create" if info.resource == "serviceaccounts" && info.subresource == "token" => (estimate::other(), None),
        "create" | "update" | "patch" | "delete" => {
            let count = watches.lock().interested(&info.group, &info.resource, &info.namespace, &info.name);
            (estimate::change(count, level_max), Some(count))
        }
        _ => (estimate::other(), None),
    }
}

fn list(info: &Info) -> List<'_> {
    let query = &info.query;
    List {
        watch: info.verb == "watch",
        single: !info.name.is_empty(),
        send_initial_events: query.flag("sendInitialEvents"),
        revision: query.get("resourceVersion"),
        matching: query.get("resourceVersionMatch"),
        limit: query.get("limit").parse().unwrap_or(0),
        goes_on: !query.get("continue").is_empty(),
        selects: !query.get("fieldSelector").is_empty() || !query.get("labelSelector").is_empty(),
    }
}

fn stored(hub: &Hub, info: &Info) -> Option<Stored> {
    let entry = hub.registry.get(&info.group, &info.version, &info.resource)?;
    let (objects, bytes) = entry.storage.as_ref()?.cache.stats();
    Some(Stored { objects, bytes })
}

/// What a request's field selector wants a field to be.
pub(super) fn exact_field(info: &Info, field: &str) -> Option<String> {
    let selector = fields::Selector::parse(info.query.get("fieldSelector")).ok()?;
    selector.requires_exact_match(field).map(str::to_string)
}
