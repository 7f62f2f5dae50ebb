//! Tables: what `kubectl get` shows (k8s.io/apiserver/pkg/registry/rest/table.go@v0.37.2,
//! pkg/printers/internalversion/printers.go@v1.37.2).

use api::facts;
use api::map;
use api::object::Meta;
use api::value::{Map, Value};

use crate::registry::Entry;
use crate::rest::show::partial;

/// TableOptions.
pub(crate) struct Options {
    /// includeObject: None, Metadata (default) or Object.
    pub(crate) include: String,
    pub(crate) headers: bool,
}

/// The table of some objects of one kind. `meta` is its ListMeta.
pub(crate) fn of(entry: &Entry, objects: &[Map], meta: Map, version: &str, options: Options, _now: &str) -> Map {
    let columns = vec![
        column("Name", "string", "name", "Name must be unique within a namespace."),
        column("Created At", "date", "", "CreationTimestamp is a timestamp representing the server time when this object was created."),
    ];
    let rows = objects.iter().map(|object| {
        let cells = vec![Value::from(object.name()), Value::from(object.meta().str("creationTimestamp"))];
        row(cells, object, version, &options)
    });
    let rows: Vec<Value> = rows.collect();
    let columns = if options.headers { Value::List(columns) } else { Value::List(Vec::new()) };
    let api_version = facts::api_version("meta.k8s.io", version);
    let _ = entry;
    map! { "kind" => "Table", "apiVersion" => api_version, "metadata" => meta, "columnDefinitions" => columns, "rows" => rows }
}

fn column(name: &str, ty: &str, format: &str, description: &str) -> Value {
    Value::Map(map! { "name" => name, "type" => ty, "format" => format, "description" => description, "priority" => 0i64 })
}

fn row(cells: Vec<Value>, object: &Map, version: &str, options: &Options) -> Value {
    let mut row = map! { "cells" => cells };
    match options.include.as_str() {
        "None" => {}
        "Object" => row.set("object", object.clone()),
        _ => row.set("object", partial(object, version)),
    }
    Value::Map(row)
}
