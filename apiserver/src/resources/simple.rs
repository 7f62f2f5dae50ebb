//! Kinds whose strategy is a row of facts: generation, deletion answer, selectable fields, name rule.
//! Their own validation rules are a later issue; metadata is checked for every kind.

use api::value::Map;

use crate::strategy::{Generation, Strategy};

/// A strategy as data.
pub(crate) struct Simple {
    pub(crate) generation: bool,
    /// Upstream's ReturnDeletedObject.
    pub(crate) returns_deleted: bool,
    pub(crate) unconditional: bool,
    /// PUT may create.
    pub(crate) creates: bool,
    /// Selectable fields: names, each the path of a text, number or flag.
    pub(crate) fields: &'static [&'static str],
    /// What is wrong with a name, or with a generateName prefix.
    pub(crate) name: fn(&str, bool) -> Vec<String>,
}

impl Simple {
    pub(crate) const BASE: Simple = Simple {
        generation: false,
        returns_deleted: false,
        unconditional: true,
        creates: false,
        fields: &[],
        name: api::names::name_is_dns_subdomain,
    };

    /// An address in its canonical form is a name.
    pub(crate) fn ip(name: &str, prefix: bool) -> Vec<String> {
        if prefix { Vec::new() } else { api::names::is_valid_ip(name) }
    }

    /// A path segment is a name.
    pub(crate) fn any_segment(name: &str, prefix: bool) -> Vec<String> {
        if prefix { api::names::is_path_segment_prefix(name) } else { api::names::is_path_segment_name(name) }
    }
}

/// The text of a field at a dotted path; numbers and flags as Go prints them.
pub(crate) fn field_text(object: &Map, path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match object.value_at(&parts) {
        Some(value) => match value.as_str() {
            Some(text) => text.to_string(),
            None => {
                let mut out = Vec::new();
                api::json::encode_value(&mut out, value);
                String::from_utf8_lossy(&out).into_owned()
            }
        },
        None => String::new(),
    }
}

impl Strategy for Simple {
    fn generation(&self) -> Generation {
        if self.generation { Generation::Spec } else { Generation::None }
    }

    fn returns_deleted_object(&self) -> bool {
        self.returns_deleted
    }

    fn allow_unconditional_update(&self) -> bool {
        self.unconditional
    }

    fn allow_create_on_update(&self) -> bool {
        self.creates
    }

    fn field_names(&self) -> &'static [&'static str] {
        self.fields
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        self.fields.iter().map(|name| (*name, field_text(object, name))).collect()
    }

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        (self.name)(name, prefix)
    }
}
