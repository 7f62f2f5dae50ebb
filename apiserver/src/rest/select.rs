//! Selection: which objects of a resource a list, watch or deletecollection is about.

use api::selector::{fields, labels};
use api::status::Status;

use crate::cache::Item;
use crate::registry::{Entry, Storage};
use crate::request::Info;

/// Namespace, name and selectors of a request.
pub(crate) struct Selection {
    /// Key prefix in the cache: `namespace/`, or nothing.
    pub(crate) prefix: String,
    name: Option<String>,
    labels: labels::Selector,
    fields: fields::Selector,
}

impl Selection {
    pub(crate) fn of(entry: &Entry, info: &Info) -> Result<Self, Status> {
        let labels = labels::Selector::parse(info.query.get("labelSelector"))
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let fields = fields::Selector::parse(info.query.get("fieldSelector"))
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let (known, facts) = (entry.strategy.field_names(), entry.facts);
        for requirement in fields.requirements() {
            let field = requirement.field.as_str();
            let is_known = match field {
                "metadata.name" => true,
                "metadata.namespace" => known.is_empty() || facts.namespaced && entry.strategy.knows_namespace_field(),
                other => known.contains(&other),
            };
            if !is_known {
                return Err(Status::bad_request(unknown_field(entry, field)));
            }
        }
        let namespace = match info.namespace.as_str() {
            "" => fields.requires_exact_match("metadata.namespace").unwrap_or_default().to_string(),
            namespace if entry.facts.namespaced => namespace.to_string(),
            _ => String::new(),
        };
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let name = fields.requires_exact_match("metadata.name").map(str::to_string);
        Ok(Selection { prefix, name, labels, fields })
    }

    /// True when the selection is a whole namespace or everything.
    pub(crate) fn is_plain(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, item: &Item, storage: &Storage) -> bool {
        if !item.key.starts_with(&self.prefix) || self.name.as_ref().is_some_and(|name| item.name() != name) {
            return false;
        }
        if !self.labels.is_empty() {
            let labels = item.labels(storage);
            if !self.labels.matches(|key| labels.get(key).and_then(|value| value.as_str())) {
                return false;
            }
        }
        self.fields.is_empty() || self.matches_fields(item, storage)
    }

    /// Whether an object that has a name and nothing else is selected.
    pub(crate) fn matches_name(&self, name: &str) -> bool {
        self.labels.matches(|_| None)
            && self.fields.matches(|field| Some(if field == "metadata.name" { name } else { "" }))
    }

    fn matches_fields(&self, item: &Item, storage: &Storage) -> bool {
        self.fields.matches(|field| match field {
            "metadata.name" => Some(item.name()),
            "metadata.namespace" => Some(item.namespace()),
            field => {
                let fields = item.fields(storage);
                Some(fields.iter().find(|entry| entry.0 == field).map_or("", |entry| entry.1.as_str()))
            }
        })
    }
}

fn unknown_field(entry: &Entry, field: &str) -> String {
    let known = entry.strategy.field_names();
    match (entry.facts.group, known.is_empty()) {
        (_, true) => format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
        ("resource.k8s.io", _) => {
            let (version, kind) = (&entry.api_version, entry.facts.kind);
            format!("field label not supported for {version}, Kind={kind}: {field}")
        }
        ("batch", _) => format!("field label {field:?} not supported for {}", entry.facts.kind),
        _ => format!("field label not supported: {field}"),
    }
}
