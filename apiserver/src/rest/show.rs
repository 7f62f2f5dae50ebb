//! Objects, lists and events in the representation that the client accepts.
//!
//! Invariant: stored objects in the storage version are shown from their shared bytes; everything else
//! (tables, partial metadata, other versions, YAML) is made from the value.

use std::borrow::Cow;

use api::facts;
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};
use api::{object, proto};
use bytes::BytesMut;
use http::Response;

use super::Call;
use crate::cache::{Item, put_object};
use crate::negotiate::{Format, Shape};
use crate::registry::{Entry, Storage};
use crate::respond::{self, Body, full};
use crate::table;

/// One stored object as an answer.
pub(crate) async fn item(call: &Call<'_>, storage: &Storage, item: &Item) -> Result<Response<Body>, Status> {
    let accepted = &call.accepted;
    let plain = accepted.shape == Shape::Whole && call.entry.is_storage_version() && !accepted.pretty;
    let shown = match accepted.format {
        Format::Json if plain => {
            let body = item.json(storage);
            let mut out = BytesMut::with_capacity(body.len() + 64);
            put_object(&mut out, &call.entry.api_version, call.entry.facts.kind, body);
            out.extend_from_slice(b"\n");
            respond::response(200, &accepted.content_type(false), full(out.freeze()))
        }
        Format::Protobuf if plain => {
            let bytes = proto::wrap(&call.entry.api_version, call.entry.facts.kind, &item.message(storage));
            respond::response(200, &accepted.content_type(false), full(bytes))
        }
        _ => {
            let read = call.entry.read(item.object(storage), call.hub()).await;
            value(call, 200, &read.map_err(|status| call.corrupt(&item.key, item.revision, status))?)
        }
    };
    Ok(shown)
}

/// An object of the entry's version as an answer.
pub(crate) fn value(call: &Call<'_>, code: u16, object: &Map) -> Response<Body> {
    respond::object(code, &shaped(call, object), &call.accepted)
}

/// The object in the shape that the client asked for.
pub(crate) fn shaped<'o>(call: &Call<'_>, object: &'o Map) -> Cow<'o, Map> {
    match &call.accepted.shape {
        Shape::Whole => Cow::Borrowed(object),
        Shape::Table(version) => {
            let mut meta = Map::new();
            let revision = object.meta().str("resourceVersion");
            // What was only tried has none.
            if !revision.is_empty() {
                meta.set("resourceVersion", revision);
            }
            let rows = std::slice::from_ref(object);
            Cow::Owned(table::of(call.entry, rows, meta, version, table_options(call, false), &call.now))
        }
        Shape::Partial(version) | Shape::PartialList(version) => Cow::Owned(partial(call.entry, object, version)),
    }
}

pub(crate) fn table_options(call: &Call<'_>, list: bool) -> table::Options {
    table::Options {
        include: call.info.query.get("includeObject").to_string(),
        headers: !call.info.query.flag("noHeaders"),
        list,
    }
}

/// `PartialObjectMetadata` of an object: the metadata of upstream's internal type.
pub(crate) fn partial(entry: &Entry, object: &Map, version: &str) -> Map {
    let mut partial = Map::new();
    object::set_kind(&mut partial, &facts::api_version("meta.k8s.io", version), "PartialObjectMetadata");
    let mut metadata = object.meta().clone();
    without_annotations(&mut metadata, entry.strategy.annotations_of_fields());
    partial.set("metadata", metadata);
    partial
}

fn without_annotations(metadata: &mut Map, names: &[&str]) {
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_map_mut) else { return };
    annotations.retain(|name, _| !names.contains(&name));
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
}

#[cfg(test)]
mod tests {
    use api::map;

    use super::*;

    #[test]
    fn annotations_that_stand_for_fields_are_no_metadata() {
        let metadata = |annotations: Map| map! { "name" => "x", "annotations" => annotations };
        let check = |annotations: Map, expect: Map| {
            let mut metadata = metadata(annotations);
            without_annotations(&mut metadata, &["field"]);
            assert_eq!(metadata, expect);
        };
        check(map! { "a" => "1", "field" => "2" }, metadata(map! { "a" => "1" }));
        check(map! { "field" => "2" }, map! { "name" => "x" });
    }
}
