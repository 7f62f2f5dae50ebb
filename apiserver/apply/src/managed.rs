//! metadata.managedFields: its entries as owners of fields, and back
//! (k8s.io/apimachinery/pkg/util/managedfields/internal/{managedfields,conflict}.go@v0.37.2).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::{self, Display};

use api::field::go_quote;
use api::status::{Cause, Status};
use api::value::{Map, Str, Value};

use crate::fields;
use crate::updater::{Conflict, Managers, Owned};

pub const APPLY: &str = "Apply";
pub const UPDATE: &str = "Update";
const FIELDS_TYPE: &str = "FieldsV1";

/// What tells managers apart. Appliers have no version: they stay the same when they change it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    pub manager: Str,
    pub operation: Str,
    pub version: Str,
    pub subresource: Str,
}

impl Identity {
    pub fn new(manager: &str, operation: &str, version: &str, subresource: &str) -> Self {
        let manager = if manager.is_empty() { "unknown" } else { manager };
        let version = if operation == APPLY { "" } else { version };
        Identity {
            manager: manager.into(),
            operation: operation.into(),
            version: version.into(),
            subresource: subresource.into(),
        }
    }
}

/// `"kubectl" with subresource "status" using v1`.
impl Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&go_quote(&self.manager))?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {}", go_quote(&self.subresource))?;
        }
        if self.operation == UPDATE {
            write!(f, " using {}", self.version)?;
        }
        Ok(())
    }
}

/// Owners with the times of their last changes, as metav1.Time text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managed {
    pub managers: Managers,
    pub times: BTreeMap<Identity, Str>,
}

/// What is wrong with managedFields.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    #[error("apiVersion must not be empty")]
    Version,
    #[error("missing fieldsType in managed fields entry {0}")]
    NoFieldsType(usize),
    #[error("invalid fieldsType {} in managed fields entry {}", go_quote(.0), .1)]
    FieldsType(String, usize),
    #[error("error decoding versioned set: error decoding set: {0}")]
    Fields(#[from] crate::path::Malformed),
}

/// Reads entries.
pub fn decode(entries: &[Value]) -> Result<Managed, Malformed> {
    let mut managed = Managed::default();
    for (at, entry) in entries.iter().enumerate() {
        let entry = entry.as_map().unwrap_or(Map::EMPTY);
        let (operation, version) = (entry.str("operation"), entry.str("apiVersion"));
        if !matches!(operation, APPLY | UPDATE) {
            return Err(Malformed::Operation);
        }
        if version.is_empty() {
            return Err(Malformed::Version);
        }
        match entry.str("fieldsType") {
            FIELDS_TYPE => {}
            "" => return Err(Malformed::NoFieldsType(at)),
            other => return Err(Malformed::FieldsType(other.into(), at)),
        }
        let applied = operation == APPLY;
        let identity = Identity {
            manager: entry.str("manager").into(),
            operation: operation.into(),
            version: if applied { Str::default() } else { version.into() },
            subresource: entry.str("subresource").into(),
        };
        let set = fields::decode(entry.map("fieldsV1").unwrap_or(Map::EMPTY))?;
        match entry.get("time").and_then(Value::as_str) {
            Some(time) => drop(managed.times.insert(identity.clone(), time.into())),
            None => drop(managed.times.remove(&identity)),
        }
        managed.managers.insert(identity, Owned { set, version: version.into(), applied });
    }
    Ok(managed)
}

/// The entries, in upstream's order: operation, time, manager, version, subresource.
pub fn encode(managed: &Managed) -> Vec<Value> {
    let mut all: Vec<(&Identity, &Owned, Option<&Str>)> =
        managed.managers.iter().map(|(identity, owned)| (identity, owned, managed.times.get(identity))).collect();
    all.sort_by(|a, b| compare_entries(a, b));
    all.into_iter().map(|(identity, owned, time)| Value::Map(entry(identity, owned, time))).collect()
}

fn compare_entries(a: &(&Identity, &Owned, Option<&Str>), b: &(&Identity, &Owned, Option<&Str>)) -> Ordering {
    // Times are RFC 3339 in UTC: their order is that of their texts; none is before all.
    let key = |(identity, owned, time): &(&Identity, &Owned, Option<&Str>)| {
        let operation = if owned.applied { APPLY.into() } else { identity.operation.clone() };
        let time = time.cloned().unwrap_or_default();
        (operation, time, identity.manager.clone(), owned.version.clone(), identity.subresource.clone())
    };
    key(a).cmp(&key(b))
}

/// One entry, in schema order.
fn entry(identity: &Identity, owned: &Owned, time: Option<&Str>) -> Map {
    let mut entry = Map::with_capacity(7);
    let mut text = |name: &'static str, text: &Str| {
        if !text.is_empty() {
            entry.push(Str::const_new(name), Value::String(text.clone()));
        }
    };
    text("manager", &identity.manager);
    text("operation", if owned.applied { const { &Str::const_new(APPLY) } } else { &identity.operation });
    text("apiVersion", &owned.version);
    if let Some(time) = time {
        text("time", time);
    }
    text("fieldsType", const { &Str::const_new(FIELDS_TYPE) });
    entry.push(Str::const_new("fieldsV1"), Value::Map(fields::encode(&owned.set)));
    if !identity.subresource.is_empty() {
        entry.push(Str::const_new("subresource"), Value::String(identity.subresource.clone()));
    }
    entry
}

/// The answer to an apply that meets other managers' fields.
pub fn conflict_status(conflicts: &[Conflict]) -> Status {
    let causes = conflicts.iter().map(|conflict| Cause {
        reason: "FieldManagerConflict".into(),
        message: format!("conflict with {}", conflict.manager),
        field: conflict.path.to_string(),
    });
    let message = conflict_message(conflicts);
    Status { code: 409, reason: "Conflict", message, causes: causes.collect(), ..Status::default() }
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager, one.path);
    }
    let mut lines: Vec<String> = Vec::new();
    let mut last = None;
    for conflict in conflicts {
        if last != Some(&conflict.manager) {
            lines.push(format!("conflicts with {}:", conflict.manager));
            last = Some(&conflict.manager);
        }
        lines.push(format!("- {}", conflict.path));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}
