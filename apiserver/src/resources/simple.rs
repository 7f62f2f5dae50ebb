//! Kinds whose strategy is a row of facts and plain functions: generation, deletion answer, selectable
//! fields, name rule, defaults, checks.

use api::field::Errors;
use api::value::Map;

use crate::strategy::{Context, Generation, MetaCheck, StatusMetadata, Strategy};

/// A strategy as data.
pub(crate) struct Simple {
    pub(crate) generation: bool,
    /// See [`Strategy::counts_empty`].
    pub(crate) counts_empty: bool,
    /// Upstream's ReturnDeletedObject.
    pub(crate) returns_deleted: bool,
    pub(crate) unconditional: bool,
    /// Old versions, for which both are so although they are not any more.
    pub(crate) lenient_in: &'static [&'static str],
    /// PUT may create.
    pub(crate) creates: bool,
    /// See [`Strategy::deletes_unread`].
    pub(crate) deletes_unread: bool,
    /// Selectable fields: names, each the path of a text, number or flag.
    pub(crate) fields: &'static [&'static str],
    /// See [`Strategy::knows_namespace_field`].
    pub(crate) knows_namespace_field: bool,
    /// See [`Strategy::meta_checks`], of the resource itself.
    pub(crate) meta: &'static [MetaCheck],
    /// See [`Strategy::repeats_errors`].
    pub(crate) repeats: bool,
    /// See [`Strategy::knows_finalizers`].
    pub(crate) knows_finalizers: bool,
    /// What is wrong with a name, or with a generateName prefix.
    pub(crate) name: fn(&str, bool) -> Vec<String>,
    /// See [`Strategy::generates_names`].
    pub(crate) generates_names: bool,
    /// See [`Strategy::name_errors_in`].
    pub(crate) name_in: Option<fn(&Map, &str, bool) -> Vec<String>>,
    pub(crate) default: fn(&mut Map),
    /// Upstream stores objects without all of their defaults.
    pub(crate) completes_on_read: bool,
    /// Before a create: what a client may not set goes.
    pub(crate) create: fn(&Context, &mut Map),
    /// Before an update, with the old object.
    pub(crate) update: fn(&Context, &mut Map, &Map),
    pub(crate) update_status: fn(&Context, &mut Map, &Map),
    pub(crate) status_metadata: StatusMetadata,
    pub(crate) check: fn(&Map) -> Errors,
    /// An update is checked as a new object is, beside what is wrong with the change.
    pub(crate) recheck: bool,
    /// What is wrong with a change beside what is wrong with the new object.
    pub(crate) check_change: fn(&Map, &Map) -> Errors,
    pub(crate) check_status: fn(&Map, &Map) -> Errors,
    /// What a client is told beside the answer, with the old object on update.
    pub(crate) warn: fn(&Map, Option<&Map>) -> Vec<String>,
    pub(crate) warn_status: fn(&Map) -> Vec<String>,
}

fn nothing_wrong(_: &Map, _: &Map) -> Errors {
    Errors::new()
}

impl Simple {
    pub(crate) const BASE: Simple = Simple {
        generation: false,
        counts_empty: false,
        returns_deleted: false,
        unconditional: true,
        lenient_in: &[],
        creates: false,
        deletes_unread: true,
        fields: &[],
        knows_namespace_field: true,
        meta: &[MetaCheck::Update],
        repeats: false,
        knows_finalizers: true,
        name: api::names::name_is_dns_subdomain,
        generates_names: true,
        name_in: None,
        default: |_| {},
        completes_on_read: false,
        create: |_, _| {},
        update: |_, _, _| {},
        update_status: |_, _, _| {},
        status_metadata: StatusMetadata::Taken,
        check: |_| Errors::new(),
        recheck: true,
        check_change: nothing_wrong,
        check_status: nothing_wrong,
        warn: |_, _| Vec::new(),
        warn_status: |_| Vec::new(),
    };

    /// As [`Simple::BASE`], with a status that comes with nothing of its object's metadata.
    pub(crate) const OWN_STATUS: Simple = Simple { status_metadata: StatusMetadata::Kept, ..Simple::BASE };

    /// An address in its canonical form is a name, and no prefix is one
    /// (pkg/apis/networking/validation/validation.go@v1.37.2: ValidateIPAddressName).
    pub(crate) fn ip(name: &str, _prefix: bool) -> Vec<String> {
        api::names::is_valid_ip(name)
    }

    /// A subdomain is a name, and what it is generated from is not looked at
    /// (k8s.io/apimachinery/pkg/api/validation/objectmeta.go@v0.37.2: ValidateObjectMetaAccessorWithOpts).
    pub(crate) fn generated(name: &str, prefix: bool) -> Vec<String> {
        if prefix { Vec::new() } else { api::names::name_is_dns_subdomain(name, false) }
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
    fn default(&self, object: &mut Map) {
        (self.default)(object);
    }

    fn completes_on_read(&self) -> bool {
        self.completes_on_read
    }

    fn prepare_for_create(&self, cx: &Context, object: &mut Map) {
        (self.create)(cx, object);
    }

    fn prepare_for_update(&self, cx: &Context, object: &mut Map, old: &Map) {
        (self.update)(cx, object, old);
    }

    fn prepare_for_status_update(&self, cx: &Context, object: &mut Map, old: &Map) {
        (self.update_status)(cx, object, old);
    }

    fn status_metadata(&self) -> StatusMetadata {
        self.status_metadata
    }

    fn validate(&self, object: &Map) -> Errors {
        (self.check)(object)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = if self.recheck { (self.check)(object) } else { Errors::new() };
        errors.extend((self.check_change)(object, old));
        errors
    }

    fn validate_status_update(&self, object: &Map, old: &Map) -> Errors {
        (self.check_status)(object, old)
    }

    fn warnings(&self, object: &Map, old: Option<&Map>) -> Vec<String> {
        (self.warn)(object, old)
    }

    fn meta_checks(&self, subresource: &str) -> &'static [MetaCheck] {
        if subresource.is_empty() { self.meta } else { &[MetaCheck::Update] }
    }

    fn repeats_errors(&self) -> bool {
        self.repeats
    }

    fn knows_finalizers(&self) -> bool {
        self.knows_finalizers
    }

    fn status_warnings(&self, object: &Map) -> Vec<String> {
        (self.warn_status)(object)
    }

    fn generation(&self) -> Generation {
        if self.generation { Generation::Spec } else { Generation::None }
    }

    fn returns_deleted_object(&self, version: &str) -> bool {
        self.returns_deleted || self.lenient_in.contains(&version)
    }

    fn allow_unconditional_update(&self, version: &str) -> bool {
        self.unconditional || self.lenient_in.contains(&version)
    }

    fn allow_create_on_update(&self) -> bool {
        self.creates
    }

    fn knows_namespace_field(&self) -> bool {
        self.knows_namespace_field
    }

    fn generates_names(&self) -> bool {
        self.generates_names
    }

    fn deletes_unread(&self) -> bool {
        self.deletes_unread
    }

    fn counts_empty(&self) -> bool {
        self.counts_empty
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

    fn name_errors_in(&self, object: &Map, name: &str, prefix: bool) -> Vec<String> {
        self.name_in.map_or_else(|| (self.name)(name, prefix), |rule| rule(object, name, prefix))
    }
}
