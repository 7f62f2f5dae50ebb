//! How much of a device there is, and how it may be asked for
//! (pkg/apis/resource/validation/validation.go@v1.37.2: validateRequestPolicy).

use api::field::{self, Errors, Path};
use api::quantity::Quantity;
use api::value::{Map, Value};

use super::shared;
use crate::resources::common;

const VALUES_MAX: usize = 10;

/// The capacities of a device; how one may be asked for is said only where more than one may have the device.
pub(super) fn all(device: &Map, path: &Path, errors: &mut Errors) {
    let shared_device = device.bool("allowMultipleAllocations").unwrap_or(false);
    for (key, value) in device.map("capacity").into_iter().flat_map(Map::iter) {
        let at = path.child("capacity");
        shared::qualified_name(key, &at, errors);
        let path = at.key(&shared::shown_key(key, shared::QUALIFIED_BYTES_MAX)).child("requestPolicy");
        let capacity = value.as_map().unwrap_or(Map::EMPTY);
        let Some(policy) = capacity.map("requestPolicy") else { continue };
        if shared_device {
            let max = capacity.get("value").and_then(common::quantity).unwrap_or_else(zero);
            self::policy(policy, &max, &path, errors);
        } else {
            errors.push(field::forbidden(&path, "allowMultipleAllocations must be true"));
        }
    }
}

fn zero() -> Quantity {
    Quantity::from_i64(0, api::quantity::Format::DecimalSI)
}

fn policy(policy: &Map, max: &Quantity, path: &Path, errors: &mut Errors) {
    let (values, range) = (!policy.list("validValues").is_empty(), policy.map("validRange"));
    let default = policy.get("default").and_then(common::quantity);
    match (values, range) {
        (true, Some(_)) => {
            let why = r#"exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time"#;
            errors.push(field::forbidden(path, why));
        }
        (true, None) => match default {
            None => errors.push(field::required(&path.child("default"), "required when validValues is defined")),
            Some(default) => {
                let values: Vec<Quantity> = policy.list("validValues").iter().filter_map(common::quantity).collect();
                one_of(&values, &default, max, &path.child("validValues"), errors);
            }
        },
        (false, Some(range)) => match default {
            None => errors.push(field::required(&path.child("default"), "required when validRange is defined")),
            Some(default) => self::range(range, &default, max, &path.child("validRange"), errors),
        },
        (false, None) => {}
    }
}

fn one_of(values: &[Quantity], default: &Quantity, max: &Quantity, path: &Path, errors: &mut Errors) {
    for (at, pair) in values.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        let why = "values must be sorted in ascending order";
        errors.push(field::invalid(&path.index(at + 1), pair[1].to_string(), why));
    }
    if values.len() > VALUES_MAX {
        errors.push(field::too_many(path, values.len(), VALUES_MAX));
    } else {
        for (at, value) in values.iter().enumerate().filter(|(_, value)| *value > max) {
            let why = format!("option is larger than capacity value: {max}");
            errors.push(field::invalid(&path.index(at), value.to_string(), why));
        }
        let keys: Vec<String> = values.iter().map(|value| value.value().to_string()).collect();
        shared::unique(keys.iter().map(String::as_str), path, errors);
        if values.contains(default) {
            return;
        }
    }
    let why = "default value is not valid according to the requestPolicy";
    errors.push(field::invalid(path, default.to_string(), why));
}

fn range(range: &Map, default: &Quantity, capacity: &Quantity, path: &Path, errors: &mut Errors) {
    let [min, max, step] = ["min", "max", "step"].map(|name| range.get(name).and_then(common::quantity));
    let Some(min) = min else {
        return errors.push(field::required(&path.child("min"), "required when validRange is defined"));
    };
    let mut wrong = |name: &str, value: &Quantity, why: String| {
        errors.push(field::invalid(&path.child(name), value.to_string(), why));
    };
    if min > *capacity {
        wrong("min", &min, format!("min is larger than capacity value: {capacity}"));
    }
    if *default < min {
        wrong("default", default, format!("default is less than min: {min}"));
    }
    if let Some(max) = &max {
        if min > *max {
            wrong("max", &min, format!("min is larger than max: {max}"));
        }
        if max > capacity {
            wrong("max", max, format!("max is larger than capacity value: {capacity}"));
        }
        if default > max {
            wrong("default", default, format!("default is more than max: {max}"));
        }
    }
    let Some(step) = step else { return };
    if step.sign() <= 0 {
        return wrong("step", &step, "must be greater than zero".to_string());
    }
    let mut added = min.clone();
    added.add(&step);
    if added > *capacity {
        wrong("step", &step, format!("one step {added} is larger than capacity value: {capacity}"));
    }
    steps(&Steps { default, min: &min, max: max.as_ref(), step: &step }, path, errors);
}

struct Steps<'q> {
    default: &'q Quantity,
    min: &'q Quantity,
    max: Option<&'q Quantity>,
    step: &'q Quantity,
}

/// From the least in steps, everything a whole number.
fn steps(steps: &Steps, path: &Path, errors: &mut Errors) {
    let Steps { default, min, max, step } = steps;
    let largest = Quantity::from_i64(i64::MAX, api::quantity::Format::DecimalSI);
    let all = [("default", Some(*default)), ("min", Some(*min)), ("max", *max), ("step", Some(*step))];
    let before = errors.len();
    for (name, value) in all.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        let why = match value.sign() < 0 {
            true => common::NEGATIVE.to_string(),
            false if *value > largest => format!("must not be larger than {}", i64::MAX),
            false => continue,
        };
        errors.push(field::invalid(&path.child(name), value.to_string(), why));
    }
    if errors.len() > before {
        return;
    }
    for value in [Some(*default), *max].into_iter().flatten() {
        if step.value() != 0 && value.value().wrapping_sub(min.value()) % step.value() != 0 {
            let why = format!("value is not a multiple of a given step ({step}) from ({min})");
            errors.push(field::invalid(&path.child("step"), Value::from(value.to_string().as_str()), why));
        }
    }
}
