//! Tables: what `kubectl get` shows (k8s.io/apiserver/pkg/registry/rest/table.go@v0.37.2,
//! pkg/printers/internalversion/printers.go@v1.37.2).
//!
//! Invariant: a row has a cell for every column, the wide ones included; the client leaves those out.
//! Objects come in the version that was asked for, so a printer may meet fields of several versions.

mod cells;
mod column;
mod core;
mod lifecycle;
mod networking;
mod pods;
mod policy;
mod scheduling;
mod storage;
mod workloads;

use api::facts;
use api::map;
use api::object::Meta;
use api::value::{Map, Value};
use structural::columns::Column as Printed;

use self::cells::Now;
use self::column::{Column, DEFAULT};
use crate::registry::Entry;
use crate::rest::show::partial;

/// TableOptions.
pub(crate) struct Options {
    /// includeObject: None, Metadata (default) or Object.
    pub(crate) include: String,
    pub(crate) headers: bool,
    /// The table is that of a list.
    pub(crate) list: bool,
}

/// How the objects of a resource are shown.
struct Printer {
    group: &'static str,
    plural: &'static str,
    columns: &'static [Column],
    cells: fn(&Map, Now) -> Vec<Value>,
    /// TableRowConditions of an object.
    conditions: fn(&Map) -> Vec<Value>,
    /// What is done with the rows of a list.
    listed: fn(&mut [Value], &[Map]),
}

/// A printer whose rows have no conditions, and are the same in lists.
const fn printer(
    group: &'static str,
    plural: &'static str,
    columns: &'static [Column],
    cells: fn(&Map, Now) -> Vec<Value>,
) -> Printer {
    Printer { group, plural, columns, cells, conditions: |_| Vec::new(), listed: |_, _| () }
}

/// Every printer there is.
fn printers() -> impl Iterator<Item = &'static Printer> {
    let all = [
        pods::PRINTERS,
        core::PRINTERS,
        workloads::PRINTERS,
        networking::PRINTERS,
        storage::PRINTERS,
        policy::PRINTERS,
        scheduling::PRINTERS,
        lifecycle::PRINTERS,
    ];
    all.into_iter().flatten()
}

const UNPRINTED: Printer =
    printer("", "", DEFAULT, |object, _| vec![object.name().into(), object.meta().str("creationTimestamp").into()]);

/// The table of some objects of one kind. `meta` is its ListMeta.
pub(crate) fn of(entry: &Entry, objects: &[Map], meta: Map, version: &str, options: Options, now: &str) -> Map {
    if let Some(columns) = entry.strategy.columns() {
        return custom(entry, columns, objects, meta, (version, &options), Now::of(now));
    }
    let (group, plural) = (entry.facts.group, entry.facts.plural);
    let found = printers().find(|printer| printer.plural == plural && printer.group == group);
    let printer = found.unwrap_or(&UNPRINTED);
    let now = Now::of(now);
    let mut rows: Vec<Value> =
        objects.iter().map(|object| row(entry, printer, object, version, &options, now)).collect();
    if options.list {
        (printer.listed)(&mut rows, objects);
    }
    let columns = match options.headers {
        true => printer.columns.iter().map(Column::definition).collect(),
        false => Vec::new(),
    };
    let api_version = facts::api_version("meta.k8s.io", version);
    map! { "kind" => "Table", "apiVersion" => api_version, "metadata" => meta, "columnDefinitions" => columns, "rows" => rows }
}

/// The description of the age of custom resources whose definition has no columns.
pub(crate) fn age_description() -> &'static str {
    column::described_meta("creationTimestamp")
}

/// A table whose columns come from a definition.
fn custom(
    entry: &Entry,
    columns: &[Printed],
    objects: &[Map],
    meta: Map,
    (version, options): (&str, &Options),
    now: Now,
) -> Map {
    let rows = objects.iter().map(|object| {
        let value = Value::Map(object.clone());
        let cells = columns.iter().map(|column| column.cell(&value, |time| now.since(time)));
        let cells: Vec<Value> = std::iter::once(Value::from(object.name())).chain(cells).collect();
        shown(entry, map! { "cells" => cells }, object, version, options)
    });
    let rows: Vec<Value> = rows.collect();
    let definition = |column: &Printed| {
        Value::Map(map! {
            "name" => column.name.as_str(), "type" => column.ty.as_str(), "format" => column.format.as_str(),
            "description" => column.description.as_str(), "priority" => column.priority,
        })
    };
    let definitions: Vec<Value> = match options.headers {
        true => std::iter::once(column::NAME.definition()).chain(columns.iter().map(definition)).collect(),
        false => Vec::new(),
    };
    let api_version = facts::api_version("meta.k8s.io", version);
    map! { "kind" => "Table", "apiVersion" => api_version, "metadata" => meta, "columnDefinitions" => definitions, "rows" => rows }
}

fn row(entry: &Entry, printer: &Printer, object: &Map, version: &str, options: &Options, now: Now) -> Value {
    let mut row = map! { "cells" => (printer.cells)(object, now) };
    let conditions = (printer.conditions)(object);
    if !conditions.is_empty() {
        row.set("conditions", conditions);
    }
    shown(entry, row, object, version, options)
}

/// A row with as much of its object as is asked for.
fn shown(entry: &Entry, mut row: Map, object: &Map, version: &str, options: &Options) -> Value {
    match options.include.as_str() {
        // Upstream writes the object that is left out as null.
        "None" => row.set("object", Value::Null),
        "Object" => row.set("object", object.clone()),
        _ => row.set("object", partial(entry, object, version)),
    }
    Value::Map(row)
}

#[cfg(test)]
mod tests;
