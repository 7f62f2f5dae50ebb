//! PriorityClass (pkg/registry/scheduling/priorityclass/strategy.go, pkg/apis/scheduling/validation@v1.37.2).

use api::field::{self, Errors, Path};
use api::object::Meta;
use api::value::{Map, Value};

use crate::strategy::{Generation, Strategy};

/// Names with this prefix are the system's.
const SYSTEM_PREFIX: &str = "system-";
/// The system's classes with their values.
const SYSTEM: &[(&str, i64)] = &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
/// The highest value of a class that is not the system's.
const USER_MAX: i64 = 1_000_000_000;
const POLICIES: &[&str] = &["PreemptLowerPriority", "Never"];

pub(crate) struct PriorityClass;

impl Strategy for PriorityClass {
    fn default(&self, object: &mut Map) {
        if object.str("preemptionPolicy").is_empty() {
            object.set("preemptionPolicy", "PreemptLowerPriority");
        }
    }

    fn validate(&self, object: &Map) -> Errors {
        let mut errors = Errors::new();
        let (name, value) = (object.name(), object.i64("value").unwrap_or(0));
        let known =
            SYSTEM.iter().any(|row| row.0 == name && row.1 == value && object.bool("globalDefault") != Some(true));
        if name.starts_with(SYSTEM_PREFIX) && !known {
            let why = format!(
                "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {name} is not a known system priority class"
            );
            errors.push(field::forbidden(&Path::new("metadata").child("name"), why));
        } else if !name.starts_with(SYSTEM_PREFIX) && value > USER_MAX {
            let why = format!("maximum allowed value of a user defined priority is {USER_MAX}");
            errors.push(field::forbidden(&Path::new("value"), why));
        }
        match object.str("preemptionPolicy") {
            "" => {}
            policy if !POLICIES.contains(&policy) => {
                errors.push(field::not_supported(&Path::new("preemptionPolicy"), policy, POLICIES));
            }
            _ => {}
        }
        errors
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = Errors::new();
        if object.i64("value").unwrap_or(0) != old.i64("value").unwrap_or(0) {
            errors.push(field::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        if object.str("preemptionPolicy") != old.str("preemptionPolicy") {
            let shown = Value::from(object.str("preemptionPolicy"));
            errors.push(field::invalid(&Path::new("preemptionPolicy"), shown, "field is immutable"));
        }
        errors
    }

    fn generation(&self) -> Generation {
        Generation::Spec
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
