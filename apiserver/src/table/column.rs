//! Columns of tables: their definitions as data, their descriptions from the API's own.

use std::collections::HashMap;
use std::sync::OnceLock;

use api::map;
use api::value::Value;

use crate::openapi::words::Words;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

pub(super) struct Column {
    name: &'static str,
    ty: &'static str,
    format: &'static str,
    priority: i64,
    description: Description,
}

enum Description {
    Text(&'static str),
    /// The description of a field of a type.
    Field(&'static str, &'static str),
}

/// A column with words of its own.
pub(super) const fn column(name: &'static str, description: &'static str) -> Column {
    Column { name, ty: "string", format: "", priority: 0, description: Description::Text(description) }
}

/// A column that shows a field.
pub(super) const fn of(name: &'static str, ty: &'static str, field: &'static str) -> Column {
    Column { name, ty: "string", format: "", priority: 0, description: Description::Field(ty, field) }
}

impl Column {
    pub(super) const fn name(mut self) -> Self {
        self.format = "name";
        self
    }

    pub(super) const fn integer(mut self) -> Self {
        self.ty = "integer";
        self
    }

    pub(super) const fn boolean(mut self) -> Self {
        self.ty = "boolean";
        self
    }

    pub(super) const fn date(mut self) -> Self {
        self.ty = "date";
        self
    }

    /// Only shown by `-o wide`.
    pub(super) const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    /// As a TableColumnDefinition.
    pub(super) fn definition(&self) -> Value {
        let description = match self.description {
            Description::Text(text) => text,
            Description::Field(ty, field) => described(ty, field),
        };
        Value::Map(map! {
            "name" => self.name, "type" => self.ty, "format" => self.format, "description" => description,
            "priority" => self.priority,
        })
    }
}

pub(super) const NAME: Column = of("Name", META, "name").name();
pub(super) const AGE: Column = of("Age", META, "creationTimestamp");
pub(super) const CONTAINERS: Column = column("Containers", "Names of each container in the template.").wide();
pub(super) const IMAGES: Column = column("Images", "Images referenced by each container in the template.").wide();

pub(super) const CREATED_AT: Column = of("Created At", META, "creationTimestamp").date();

/// What kinds without a printer show.
pub(super) const DEFAULT: &[Column] = &[NAME, CREATED_AT];

type Descriptions = HashMap<(&'static str, &'static str), String>;

/// The description of a field of metadata.
pub(super) fn described_meta(field: &'static str) -> &'static str {
    described(META, field)
}

/// Only the descriptions that columns use are kept of all there are.
fn described(ty: &'static str, field: &'static str) -> &'static str {
    static KEPT: OnceLock<Descriptions> = OnceLock::new();
    let kept = KEPT.get_or_init(|| {
        let words = Words::new();
        let columns = super::printers().flat_map(|printer| printer.columns).chain(DEFAULT);
        let fields = columns.filter_map(|column| match column.description {
            Description::Field(ty, field) => Some((ty, field)),
            Description::Text(_) => None,
        });
        fields.map(|key| (key, words.of_field(key.0, key.1).to_string())).collect()
    });
    kept.get(&(ty, field)).map_or("", String::as_str)
}
