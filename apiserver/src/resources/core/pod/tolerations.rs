//! Tolerations (pkg/apis/core/validation/validation.go@v1.37.2: ValidateTolerations).

use api::field::{self, Errors, Path};
use api::names;
use api::value::Map;

use super::options::Options;
use crate::resources::common;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
/// Upstream names the comparisons even where it does not take them.
const OPERATORS: [&str; 4] = ["Equal", "Exists", "Lt", "Gt"];

pub(crate) fn check<'a>(
    tolerations: impl Iterator<Item = &'a Map>,
    path: &Path,
    options: &Options,
    errors: &mut Errors,
) {
    for (at, toleration) in tolerations.enumerate() {
        let path = path.index(at);
        let (key, effect) = (toleration.str("key"), toleration.str("effect"));
        if !key.is_empty() {
            common::qualified_name(key, &path.child("key"), errors);
        } else if toleration.str("operator") != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(field::invalid(&path.child("operator"), toleration.str("operator"), why));
        }
        if toleration.contains("tolerationSeconds") && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(field::invalid(&path.child("effect"), effect, why));
        }
        operator(toleration, &path, options, errors);
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.push(field::not_supported(&path.child("effect"), effect, &EFFECTS));
        }
    }
}

fn operator(toleration: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    let (operator, value) = (toleration.str("operator"), toleration.str("value"));
    let at = path.child("operator");
    match operator {
        "" | "Equal" => {
            let wrong = names::is_valid_label_value(value);
            if !wrong.is_empty() {
                errors.push(field::invalid(&at, value, wrong.join(";")));
            }
        }
        "Exists" if value.is_empty() => {}
        "Exists" => errors.push(field::invalid(&at, value, "value must be empty when `operator` is 'Exists'")),
        "Lt" | "Gt" if options.compared_tolerations => {
            let at = path.child("value");
            common::each(&at, value, names::is_decimal_integer(value), errors);
        }
        "Lt" | "Gt" => errors.push(field::not_supported(&at, operator, &OPERATORS)),
        _ => errors.push(field::not_supported(&at, operator, &["Equal", "Exists"])),
    }
}
