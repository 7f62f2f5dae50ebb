//! Event (pkg/registry/core/event/strategy.go, pkg/apis/core/validation/events.go@v1.37.2), and its two forms:
//! core/v1, which is stored, and events.k8s.io/v1.

use api::field::{self, Errors, Path, Shown};
use api::object::Meta;
use api::value::{Map, Value};

use crate::resources::common::internal::Plain;
use crate::resources::common::{self, workload};
use crate::resources::simple::field_text;
use crate::strategy::{MetaCheck, Strategy};

pub(crate) struct Event;

/// Selectable fields, as paths of the stored form (pkg/apis/core/v1/conversion.go@v1.37.2: AddFieldLabelConversionsForEvent).
const FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// The same of events.k8s.io (pkg/apis/events/v1/conversion.go@v1.37.2: AddFieldLabelConversionsForEvent).
const NEW_FIELDS: &[&str] = &[
    "reason",
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reportingController",
    "type",
];

/// events.k8s.io/v1: the same objects, selected by the names of that form as well.
pub(crate) struct NewEvent;

impl Strategy for NewEvent {
    fn validate(&self, object: &Map) -> Errors {
        strict(&to_core(object))
    }

    fn validate_before_meta(&self, object: &Map) -> Errors {
        legacy(&to_core(object), "reportingController")
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let (object, old) = (to_core(object), to_core(old));
        let mut errors = legacy(&object, "reportingController");
        strict_change(&object, &old, &mut errors);
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn is_garbage_collected(&self) -> bool {
        false
    }

    fn field_names(&self) -> &'static [&'static str] {
        NEW_FIELDS
    }
}

/// Most bytes of texts that new events have.
const LIMITS: [(&str, usize); 3] = [("action", 128), ("reason", 128), ("message", 1024)];
const INSTANCE_BYTES_MAX: usize = 128;

fn is_set(object: &Map, name: &str) -> bool {
    object.get(name).is_some_and(|value| !value.is_zero())
}

/// legacyValidateEvent; `controller` is how the request's version calls that field.
fn legacy(object: &Map, controller: &str) -> Errors {
    let mut errors = Errors::new();
    let about = object.map("involvedObject").map_or("", |about| about.str("namespace"));
    let (namespace, timed) = (object.namespace(), is_set(object, "eventTime"));
    let fits = match (about, timed) {
        ("", false) => matches!(namespace, "" | "default"),
        ("", true) => matches!(namespace, "default" | "kube-system"),
        (about, timed) => timed || about == namespace,
    };
    if !fits {
        let path = Path::new("involvedObject").child("namespace");
        errors.push(field::invalid(&path, about, "does not match event.namespace"));
    }
    if !timed {
        return errors;
    }
    let (reporter, path) = (object.str("reportingComponent"), Path::new(controller));
    if reporter.is_empty() {
        errors.push(field::required(&path, ""));
    }
    common::qualified_name(reporter, &path, &mut errors);
    for (name, limit) in [("reportingInstance", INSTANCE_BYTES_MAX)].into_iter().chain(LIMITS) {
        let (text, path) = (object.str(name), Path::new(name));
        if text.is_empty() && name != "message" {
            errors.push(field::required(&path, ""));
        }
        if text.len() > limit {
            errors.push(field::invalid(&path, "", format!("can have at most {limit} characters")));
        }
    }
    errors
}

/// What events.k8s.io asks of a new event besides.
fn strict(object: &Map) -> Errors {
    let mut errors = Errors::new();
    series(object, &mut errors);
    if !is_set(object, "eventTime") {
        errors.push(field::required(&Path::new("eventTime"), ""));
    }
    let kind = object.str("type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(field::invalid(&Path::new("type"), "", format!("has invalid value: {kind}")));
    }
    for name in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        if is_set(object, name) {
            errors.push(field::invalid(&Path::new(name), "", "needs to be unset"));
        }
    }
    errors
}

fn series(object: &Map, errors: &mut Errors) {
    let Some(series) = object.map("series") else { return };
    if series.i64("count").unwrap_or(0) < 2 {
        errors.push(field::invalid(&Path::new("series.count"), "", "should be at least 2"));
    }
    if !is_set(series, "lastObservedTime") {
        errors.push(field::required(&Path::new("series.lastObservedTime"), ""));
    }
}

/// What shows a field that may not change.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Number,
    Time,
    Struct(&'static str),
    /// A struct that may be missing.
    Pointer(&'static str),
}

/// Fields of an event that stay, in the order of their errors.
const FIXED: &[(&str, Form)] = &[
    ("involvedObject", Form::Struct("core.v1.ObjectReference")),
    ("reason", Form::Text),
    ("message", Form::Text),
    ("source", Form::Struct("core.v1.EventSource")),
    ("firstTimestamp", Form::Time),
    ("lastTimestamp", Form::Time),
    ("count", Form::Number),
    ("reason", Form::Text),
    ("type", Form::Text),
    ("eventTime", Form::Time),
    ("action", Form::Text),
    ("related", Form::Pointer("core.v1.ObjectReference")),
    ("reportingComponent", Form::Text),
    ("reportingInstance", Form::Text),
];

fn strict_change(object: &Map, old: &Map, errors: &mut Errors) {
    if object.get("series") != old.get("series") {
        series(object, errors);
    }
    for (name, form) in FIXED {
        let present = |object: &Map| {
            let pointer = matches!(form, Form::Pointer(_));
            object.get(name).filter(|value| pointer || !value.is_zero()).cloned()
        };
        if present(object) == present(old) {
            continue;
        }
        let shown = match *form {
            Form::Struct(ty) => workload::shown(object.map(name), ty),
            Form::Pointer(ty) if object.contains(name) => workload::shown(object.map(name), ty),
            Form::Text => Plain(object.str(name).shown()),
            Form::Number => Plain(object.i64(name).unwrap_or(0).shown()),
            Form::Time | Form::Pointer(_) => Plain(object.get(name).unwrap_or(&Value::Null).shown()),
        };
        let name = if *name == "reportingComponent" { "reportingController" } else { name };
        errors.push(field::invalid(&Path::new(name), shown, common::IMMUTABLE));
    }
}

impl Strategy for Event {
    fn validate(&self, object: &Map) -> Errors {
        legacy(object, "reportingComponent")
    }

    fn meta_checks(&self, _: &str) -> &'static [MetaCheck] {
        &[]
    }

    fn checks_new_meta(&self) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn is_garbage_collected(&self) -> bool {
        false
    }

    fn field_names(&self) -> &'static [&'static str] {
        FIELDS
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        let value = |name: &'static str| match name {
            "source" => {
                let source = object.map("source").map_or("", |source| source.str("component"));
                if source.is_empty() { field_text(object, "reportingComponent") } else { source.to_string() }
            }
            "reportingController" => field_text(object, "reportingComponent"),
            name => match name.strip_prefix("regarding.") {
                Some(rest) => field_text(object, &format!("involvedObject.{rest}")),
                None => field_text(object, name),
            },
        };
        FIELDS.iter().chain(NEW_FIELDS).map(|name| (*name, value(name))).collect()
    }
}

/// Fields of the two forms that are the same under other names: core/v1, events.k8s.io/v1.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(object: &Map, name: impl Fn(&str) -> Option<&'static str>) -> Map {
    object.iter().map(|(key, value)| (name(key).map_or_else(|| key.clone(), Into::into), value.clone())).collect()
}

/// events.k8s.io/v1 to core/v1.
pub(crate) fn to_core(object: &Map) -> Map {
    rename(object, |key| RENAMED.iter().find(|row| row.1 == key).map(|row| row.0))
}

/// core/v1 to events.k8s.io/v1.
pub(crate) fn from_core(object: &Map) -> Map {
    let mut object = rename(object, |key| RENAMED.iter().find(|row| row.0 == key).map(|row| row.1));
    if !object.contains("eventTime") {
        object.set("eventTime", Value::Null);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::common::given::map;

    /// A good event of events.k8s.io, with these fields instead.
    fn event(more: &str) -> Map {
        let mut event = map(
            r#"{"metadata":{"name":"e","namespace":"default"},"eventTime":"2026-01-01T00:00:00.000000Z","type":"Normal",
                "reportingController":"a.b/c","reportingInstance":"i","action":"act","reason":"why"}"#,
        );
        for (name, value) in map(more) {
            event.set(name, value);
        }
        event
    }

    fn texts(errors: &Errors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_wrong_with_new_events() {
        let cases: [(&str, &[&str]); 6] = [
            ("{}", &[]),
            (r#"{"eventTime":null}"#, &["eventTime: Required value"]),
            (
                r#"{"reportingController":"","action":""}"#,
                &[
                    "reportingController: Required value",
                    "reportingController: Invalid value: \"\": name part must be non-empty",
                    "reportingController: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                    "action: Required value",
                ],
            ),
            (
                r#"{"type":"Odd","deprecatedCount":3,"deprecatedSource":{"host":"h"}}"#,
                &[
                    "type: Invalid value: \"\": has invalid value: Odd",
                    "count: Invalid value: \"\": needs to be unset",
                    "source: Invalid value: \"\": needs to be unset",
                ],
            ),
            (
                r#"{"series":{"count":1}}"#,
                &["series.count: Invalid value: \"\": should be at least 2", "series.lastObservedTime: Required value"],
            ),
            (r#"{"regarding":{"namespace":"other"}}"#, &[]),
        ];
        for (more, expect) in cases {
            let mut errors = NewEvent.validate_before_meta(&event(more));
            errors.extend(NewEvent.validate(&event(more)));
            assert_eq!(texts(&errors), expect, "{more}");
        }
        let old = to_core(&event(r#"{"eventTime":null,"regarding":{"namespace":"other"}}"#));
        let why = "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace";
        assert_eq!(texts(&Event.validate(&old)), [why]);
    }

    #[test]
    fn what_may_not_change() {
        let cases: [(&str, &[&str]); 5] = [
            ("{}", &[]),
            (r#"{"series":{"count":2,"lastObservedTime":"2026-01-01T00:00:00.000000Z"}}"#, &[]),
            (
                r#"{"reason":"other"}"#,
                &[
                    "reason: Invalid value: \"other\": field is immutable",
                    "reason: Invalid value: \"other\": field is immutable",
                ],
            ),
            (
                r#"{"related":{"kind":"Pod","uid":"u"}}"#,
                &[
                    r#"related: Invalid value: {"Kind":"Pod","Namespace":"","Name":"","UID":"u","APIVersion":"","ResourceVersion":"","FieldPath":""}: field is immutable"#,
                ],
            ),
            (r#"{"deprecatedCount":2}"#, &["count: Invalid value: 2: field is immutable"]),
        ];
        for (more, expect) in cases {
            assert_eq!(texts(&NewEvent.validate_update(&event(more), &event("{}"))), expect, "{more}");
        }
    }
}
