//! The conditions of a definition and the names it has been given, as upstream's controllers work them out
//! (k8s.io/apiextensions-apiserver/pkg/controller/{status,establish,nonstructuralschema,apiapproval}@v0.37.2,
//! pkg/apihelpers/helpers.go).
//!
//! Invariant: each function returns what to write, or nothing when nothing changes. Non-goal: when they run.

use std::collections::HashSet;

use api::field::{self, Path, go_quote};
use api::object::Meta as _;
use api::value::{Map, Value};

use crate::definition::{aggregated, structure, webhook};
use crate::props::Props;
use crate::schema::Schema;

/// Tells that the API of a protected group was approved: a URL, or a reason that starts with `unapproved`.
pub const APPROVED_ANNOTATION: &str = "api-approved.kubernetes.io";

/// One condition, without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub ty: String,
    pub status: String,
    pub reason: String,
    pub message: String,
}

/// What the naming controller writes.
#[derive(Debug, PartialEq)]
pub struct Naming {
    pub accepted: Map,
    pub names_accepted: Condition,
    pub established: Condition,
}

/// What a protected group's annotation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    Invalid,
    Approved,
    Bypassed,
    Missing,
}

impl Condition {
    fn new(ty: &str, status: &str, reason: &str, message: impl Into<String>) -> Condition {
        Condition { ty: ty.into(), status: status.into(), reason: reason.into(), message: message.into() }
    }

    fn of(map: &Map) -> Condition {
        Condition::new(map.str("type"), map.str("status"), map.str("reason"), map.str("message"))
    }
}

/// The condition of a type.
pub fn find(definition: &Map, ty: &str) -> Option<Condition> {
    let mut conditions = definition.map("status")?.maps("conditions");
    conditions.find(|condition| condition.str("type") == ty).map(Condition::of)
}

pub fn is_true(definition: &Map, ty: &str) -> bool {
    find(definition, ty).is_some_and(|condition| condition.status == "True")
}

/// Writes a condition; the time changes with the status.
pub fn set(definition: &mut Map, condition: &Condition, now: &str) {
    let conditions = definition.map_mut("status").list_mut("conditions");
    let found = conditions.iter_mut().filter_map(Value::as_map_mut).find(|map| map.str("type") == condition.ty);
    let mut fresh = Map::new();
    let map = match found {
        Some(map) => map,
        None => &mut fresh,
    };
    if map.str("status") != condition.status || map.str("lastTransitionTime").is_empty() {
        map.set("lastTransitionTime", now);
    }
    for (name, text) in [
        ("type", &condition.ty),
        ("status", &condition.status),
        ("reason", &condition.reason),
        ("message", &condition.message),
    ] {
        map.set(name, text.as_str());
    }
    if !fresh.is_empty() {
        conditions.push(Value::Map(fresh));
    }
}

/// Takes a condition away.
pub fn remove(definition: &mut Map, ty: &str) {
    let conditions = definition.map_mut("status").list_mut("conditions");
    conditions.retain(|condition| condition.as_map().is_none_or(|map| map.str("type") != ty));
}

/// Names of resources and of kinds that definitions of a group have been given.
#[derive(Debug, Default)]
struct Taken<'a> {
    resources: HashSet<&'a str>,
    kinds: HashSet<&'a str>,
}

/// The names a definition gets, among all definitions (itself included or not). `None` when all names were accepted
/// before, or nothing would change.
pub fn naming<'a>(definition: &'a Map, all: impl Iterator<Item = &'a Map>) -> Option<Naming> {
    let spec = definition.map("spec").unwrap_or(Map::EMPTY);
    let wanted = spec.map("names").unwrap_or(Map::EMPTY);
    let had = definition.at(&["status", "acceptedNames"]).unwrap_or(Map::EMPTY);
    if same_names(wanted, had) {
        return None;
    }
    let mut taken = Taken::default();
    for other in all.filter(|other| other.at(&["spec"]).is_some_and(|other| other.str("group") == spec.str("group"))) {
        let Some(names) = other.at(&["status", "acceptedNames"]) else { continue };
        taken.resources.extend([names.str("plural"), names.str("singular")]);
        taken.resources.extend(names.list("shortNames").iter().filter_map(Value::as_str));
        taken.kinds.extend([names.str("kind"), names.str("listKind")]);
    }
    let (accepted, conflict) = accept(wanted, had, &taken);
    let names_accepted = match conflict {
        Some((reason, message)) => Condition::new("NamesAccepted", "False", reason, message),
        None => Condition::new("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
    };
    let before = find(definition, "Established");
    let established = match before {
        Some(before) if before.status == "True" || names_accepted.status != "True" => before,
        None if names_accepted.status != "True" => {
            Condition::new("Established", "False", "NotAccepted", "not all names are accepted")
        }
        _ => Condition::new("Established", "False", "Installing", "the initial names have been accepted"),
    };
    let unchanged = same_names(&accepted, had) && find(definition, "NamesAccepted").as_ref() == Some(&names_accepted);
    (!unchanged).then_some(Naming { accepted, names_accepted, established })
}

fn same_names(a: &Map, b: &Map) -> bool {
    let texts = ["plural", "singular", "kind", "listKind"];
    texts.into_iter().all(|name| a.str(name) == b.str(name))
        && ["shortNames", "categories"].into_iter().all(|name| a.list(name) == b.list(name))
}

/// The names given, and the last conflict.
fn accept(wanted: &Map, had: &Map, taken: &Taken<'_>) -> (Map, Option<(&'static str, String)>) {
    let mut accepting = Accepting { wanted, had, accepted: had.clone(), conflict: None };
    accepting.one("plural", "PluralConflict", &taken.resources);
    accepting.one("singular", "SingularConflict", &taken.resources);
    accepting.short_names(&taken.resources);
    accepting.one("kind", "KindConflict", &taken.kinds);
    accepting.one("listKind", "ListKindConflict", &taken.kinds);
    put(&mut accepting.accepted, "categories", Value::List(wanted.list("categories").to_vec()));
    (accepting.accepted, accepting.conflict)
}

struct Accepting<'a> {
    wanted: &'a Map,
    had: &'a Map,
    accepted: Map,
    conflict: Option<(&'static str, String)>,
}

fn in_use(name: &str) -> String {
    format!("{} is already in use", go_quote(name))
}

/// Sets what is not empty.
fn put(map: &mut Map, name: &'static str, value: Value) {
    if value.is_zero() {
        map.remove(name);
    } else {
        map.set(name, value);
    }
}

impl Accepting<'_> {
    fn one(&mut self, name: &'static str, reason: &'static str, taken: &HashSet<&str>) {
        let text = self.wanted.str(name);
        if text != self.had.str(name) && taken.contains(text) {
            self.conflict = Some((reason, in_use(text)));
        } else {
            put(&mut self.accepted, name, Value::from(text));
        }
    }

    /// All or none.
    fn short_names(&mut self, taken: &HashSet<&str>) {
        let (wanted, had) = (self.wanted.list("shortNames"), self.had.list("shortNames"));
        let new = wanted.iter().filter(|name| !had.contains(name)).filter_map(Value::as_str);
        let mut used: Vec<String> = Vec::new();
        for text in new.filter(|name| taken.contains(name)).map(in_use) {
            if !used.contains(&text) {
                used.push(text);
            }
        }
        match used.len() {
            0 => put(&mut self.accepted, "shortNames", Value::List(wanted.to_vec())),
            1 => self.conflict = Some(("ShortNamesConflict", used.remove(0))),
            _ => self.conflict = Some(("ShortNamesConflict", format!("[{}]", used.join(", ")))),
        }
    }
}

/// What the establishing controller writes, once the names are accepted.
pub fn established(definition: &Map) -> Option<Condition> {
    if !is_true(definition, "NamesAccepted") || is_true(definition, "Established") {
        return None;
    }
    let conversion = definition.at(&["spec", "conversion"]);
    Some(if webhook::has_bad_ca_bundle(conversion) {
        let message = "The conversion webhook CABundle is invalid";
        Condition::new("Established", "False", "InvalidCABundle", message)
    } else {
        Condition::new("Established", "True", "InitialNamesAccepted", "the initial names have been accepted")
    })
}

/// The condition NonStructuralSchema; `None` when all schemas are structural and the condition is to go.
pub fn non_structural(definition: &Map) -> Option<Condition> {
    const TYPE: &str = "NonStructuralSchema";
    let spec = definition.map("spec")?;
    let mut errors = Vec::new();
    if spec.bool("preserveUnknownFields") == Some(true) {
        errors.push(field::invalid(&Path::new("spec").child("preserveUnknownFields"), true, "must be false"));
    }
    for (at, version) in spec.maps("versions").enumerate() {
        let Some(schema) = version.at(&["schema", "openAPIV3Schema"]) else { continue };
        if let Err(error) = Schema::parse(schema) {
            let message = format!("failed to check validation schema for version {}: {error}", version.str("name"));
            return Some(Condition::new(TYPE, "Unknown", "StructuralError", message));
        }
        let path = Path::new("spec").child("versions").index(at).child("schema").child("openAPIV3Schema");
        errors.extend(structure::validate(&path, Props(schema)));
    }
    (!errors.is_empty()).then(|| Condition::new(TYPE, "True", "Violations", aggregated(&errors)))
}

/// Groups of the community: `k8s.io`, `kubernetes.io` and those below.
pub fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .into_iter()
        .any(|suffix| group.strip_suffix(suffix).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

/// What the annotation of a definition of a protected group says, and why.
pub fn approval(definition: &Map) -> (Approval, String) {
    const KEP: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let annotation = definition.annotation(APPROVED_ANNOTATION).unwrap_or("");
    let quoted = go_quote(APPROVED_ANNOTATION);
    if annotation.is_empty() {
        let reason = format!("protected groups must have approval annotation {quoted}, {KEP}");
        return (Approval::Missing, reason);
    }
    if annotation.starts_with("unapproved") {
        return (Approval::Bypassed, format!("not approved: {}", go_quote(annotation)));
    }
    match api::gourl::parse_request_uri(annotation) {
        Ok(url) if !url.host.is_empty() && !url.scheme.is_empty() => {
            (Approval::Approved, format!("approved in {annotation}"))
        }
        _ => {
            let reason = format!(
                "protected groups must have approval annotation {quoted} with either a URL or a reason starting with \"unapproved\", {KEP}"
            );
            (Approval::Invalid, reason)
        }
    }
}

/// The condition KubernetesAPIApprovalPolicyConformant; `None` for groups that are not protected.
pub fn approval_condition(definition: &Map) -> Option<Condition> {
    if !is_protected(definition.map("spec")?.str("group")) {
        return None;
    }
    let (approval, message) = approval(definition);
    let (status, reason) = match approval {
        Approval::Invalid => ("False", "InvalidAnnotation"),
        Approval::Missing => ("False", "MissingAnnotation"),
        Approval::Approved => ("True", "ApprovedAnnotation"),
        Approval::Bypassed => ("False", "UnapprovedAnnotation"),
    };
    Some(Condition::new("KubernetesAPIApprovalPolicyConformant", status, reason, message))
}
