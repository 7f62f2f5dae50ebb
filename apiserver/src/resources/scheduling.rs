//! PriorityClass (pkg/registry/scheduling/priorityclass/strategy.go, pkg/apis/scheduling/validation@v1.37.2).

use api::field::{self, Errors, Path};
use api::object::Meta;
use api::value::{Map, Value};

use super::{check, common};
use crate::strategy::{Generation, Strategy};

/// Names with this prefix are the system's.
const SYSTEM_PREFIX: &str = "system-";
/// The system's classes with their values.
const SYSTEM: &[(&str, i64)] = &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
/// The highest value of a class that is not the system's.
const USER_MAX: i64 = 1_000_000_000;
const POLICIES: &[&str] = &["PreemptLowerPriority", "Never"];

pub(crate) struct PriorityClass;

/// Why a class with a system's name is not the system's.
fn unlike_the_system(object: &Map) -> Option<String> {
    let name = object.name();
    match SYSTEM.iter().find(|row| row.0 == name) {
        None => Some(format!("{name} is not a known system priority class")),
        Some((_, value)) if object.i64("value").unwrap_or(0) != *value => {
            Some(format!("value of {name} PriorityClass must be {value}"))
        }
        Some(_) if object.bool("globalDefault") == Some(true) => {
            Some(format!("globalDefault of {name} PriorityClass must be false"))
        }
        Some(_) => None,
    }
}

impl Strategy for PriorityClass {
    fn default(&self, object: &mut Map) {
        if !object.contains("preemptionPolicy") {
            object.set("preemptionPolicy", "PreemptLowerPriority");
        }
    }

    fn validate(&self, object: &Map) -> Errors {
        let mut errors = Errors::new();
        let (name, value) = (object.name(), object.i64("value").unwrap_or(0));
        if name.starts_with(SYSTEM_PREFIX) {
            if let Some(why) = unlike_the_system(object) {
                let why = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
                );
                errors.push(field::forbidden(&Path::new("metadata").child("name"), why));
            }
        } else if value > USER_MAX {
            let why = format!("maximum allowed value of a user defined priority is {USER_MAX}");
            errors.push(field::forbidden(&Path::new("value"), why));
        }
        let (policy, path) = (object.get("preemptionPolicy").and_then(Value::as_str), Path::new("preemptionPolicy"));
        match policy {
            Some("") => errors.push(field::required(&path, "")),
            policy => check::pointed_one_of(policy, POLICIES, &path, &mut errors),
        }
        errors
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = Errors::new();
        if object.i64("value").unwrap_or(0) != old.i64("value").unwrap_or(0) {
            errors.push(field::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        common::immutable(object, old, "preemptionPolicy", &Path::default(), &mut errors);
        errors
    }

    fn generation(&self) -> Generation {
        Generation::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::map;

    fn check(name: &str, value: i64, old_value: i64, expect: &[&str]) {
        let class = |value: i64| map! { "metadata" => map! { "name" => name }, "value" => value };
        let mut errors = PriorityClass.validate(&class(value));
        errors.extend(PriorityClass.validate_update(&class(value), &class(old_value)));
        let got: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(got, expect, "{name} {value}");
    }

    #[test]
    fn values_are_bounded_and_fixed() {
        check("a", 5, 5, &[]);
        check("a", 5, 6, &["value: Forbidden: may not be changed in an update."]);
        check(
            "a",
            1_000_000_001,
            1_000_000_001,
            &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        );
        check("system-node-critical", 2_000_001_000, 2_000_001_000, &[]);
        let why = "priority class names with 'system-' prefix are reserved for system use only. error:";
        check(
            "system-node-critical",
            5,
            5,
            &[&format!(
                "metadata.name: Forbidden: {why} value of system-node-critical PriorityClass must be 2000001000"
            )],
        );
        check(
            "system-x",
            1,
            1,
            &[
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class",
            ],
        );
    }
}
