//! LimitRange (pkg/registry/core/limitrange/strategy.go, pkg/apis/core/v1/defaults.go,
//! pkg/apis/core/validation/validation.go@v1.37.2: ValidateLimitRange).

use std::collections::BTreeSet;

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::quantity::{Format, Quantity};
use api::value::Map;

use super::pod::resources::{self, Amounts};
use crate::resources::check::said;
use crate::resources::simple::Simple;
use crate::strategy::MetaCheck;

pub(in crate::resources) const LIMIT_RANGE: Simple = Simple {
    creates: true,
    meta: &[MetaCheck::Whole],
    default,
    create: |_, object| {
        if object.name().is_empty() {
            object.meta_mut().set("name", uuid::Uuid::new_v4().to_string());
        }
    },
    check,
    ..Simple::BASE
};

const TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];
/// The largest value that has an exact number of thousandths (resource.MaxMilliValue).
const MAX_MILLI_VALUE: i64 = i64::MAX / 1000;

/// Of containers, the default limit is the maximum, and the default request is the limit, or else the minimum.
fn default(object: &mut Map) {
    let containers = |limit: &&mut Map| limit.str("type") == "Container";
    for limit in object.map_mut("spec").maps_mut("limits").filter(containers) {
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            let source = limit.map(from).cloned().unwrap_or_default();
            let target = limit.map_mut(to);
            for (name, amount) in source.iter() {
                if !target.contains(name) {
                    target.set(name.clone(), amount.clone());
                }
            }
            target.sort();
            if target.is_empty() {
                limit.remove(to);
            }
        }
    }
    for limit in object.map_mut("spec").maps_mut("limits") {
        for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            resources::round_up_at(limit, &[list]);
        }
    }
}

fn check(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec").child("limits");
    let mut seen: Vec<&str> = Vec::new();
    let limits = object.map("spec").into_iter().flat_map(|spec| spec.maps("limits"));
    for (at, limit) in limits.enumerate() {
        let (path, kind) = (path.index(at), limit.str("type"));
        limit_type(kind, &path.child("type"), &mut errors);
        if seen.contains(&kind) {
            errors.push(field::duplicate(&path.child("type"), kind));
        }
        seen.push(kind);
        one(limit, kind, &path, &mut errors);
    }
    errors
}

fn limit_type(kind: &str, path: &Path, errors: &mut Errors) {
    let wrong = names::is_qualified_name(kind);
    if wrong.is_empty() && !kind.contains('/') && !TYPES.contains(&kind) {
        errors.push(field::invalid(path, kind, "must be a standard limit type or fully qualified"));
    }
    errors.extend(said(path, kind, &wrong));
}

fn one(limit: &Map, kind: &str, path: &Path, errors: &mut Errors) {
    let mut keys: BTreeSet<String> = BTreeSet::new();
    let mut part = |name: &'static str| {
        let amounts = resources::amounts(Some(limit), name);
        for resource in amounts.keys() {
            let at = path.child(name).key(resource);
            match kind {
                "Pod" | "Container" => resources::container_resource_name(resource, &at, errors),
                _ => drop(resources::resource_name(resource, &at, errors)),
            }
            keys.insert(resource.clone());
        }
        amounts
    };
    let (max, min) = (part("max"), part("min"));
    let (mut limits, mut requests) = (Amounts::new(), Amounts::new());
    if kind != "Pod" {
        (limits, requests) = (part("default"), part("defaultRequest"));
    }
    let ratios = part("maxLimitRequestRatio");
    if kind == "Pod" {
        for name in ["default", "defaultRequest"].iter().filter(|name| limit.map(name).is_some_and(|m| !m.is_empty())) {
            errors.push(field::forbidden(&path.child(name), "may not be specified when `type` is 'Pod'"));
        }
    }
    if kind == "PersistentVolumeClaim" && !max.contains_key("storage") && !min.contains_key("storage") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(field::required(&path.child("limits"), why));
    }
    for name in &keys {
        let [max, min, limit, request, ratio] = [&max, &min, &limits, &requests, &ratios].map(|list| list.get(name));
        bounds(name, [max, min, limit, request], path, errors);
        self::ratio(name, ratio, min, max, path, errors);
    }
}

/// Of each pair that is there, the first may not exceed the second.
fn bounds(name: &str, [max, min, limit, request]: [Option<&Quantity>; 4], path: &Path, errors: &mut Errors) {
    let rules = [
        (min, max, "min", min, "min value {} is greater than max value {}"),
        (min, request, "defaultRequest", request, "min value {} is greater than default request value {}"),
        (request, max, "defaultRequest", request, "default request value {} is greater than max value {}"),
        (request, limit, "defaultRequest", request, "default request value {} is greater than default limit value {}"),
        (min, limit, "default", min, "min value {} is greater than default value {}"),
        (limit, max, "default", max, "default value {} is greater than max value {}"),
    ];
    for (low, high, place, shown, words) in rules {
        if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
            && low > high
        {
            let why = words.replacen("{}", &low.to_string(), 1).replacen("{}", &high.to_string(), 1);
            errors.push(field::invalid(&path.child(place).key(name), shown.to_string(), why));
        }
    }
    if let (Some(limit), Some(request)) = (limit, request)
        && !resources::may_overcommit(name)
        && limit != request
    {
        let why = format!("default value {limit} must equal to defaultRequest value {request} in {name}");
        errors.push(field::invalid(&path.child("defaultRequest").key(name), request.to_string(), why));
    }
}

/// A limit may be so many times its request: at least once, and no more than the bounds let it.
fn ratio(
    name: &str,
    ratio: Option<&Quantity>,
    min: Option<&Quantity>,
    max: Option<&Quantity>,
    path: &Path,
    errors: &mut Errors,
) {
    let Some(ratio) = ratio else { return };
    let at = path.child("maxLimitRequestRatio").key(name);
    if *ratio < Quantity::from_i64(1, Format::DecimalSI) {
        errors.push(field::invalid(&at, ratio.to_string(), format!("ratio {ratio} is less than 1")));
    }
    let (Some(min), Some(max)) = (min, max) else { return };
    let exact = [ratio, min, max].iter().all(|amount| amount.value() < MAX_MILLI_VALUE);
    let number = |amount: &Quantity| if exact { amount.milli_value() as f64 } else { amount.value() as f64 };
    let most = number(max) / number(min);
    if number(ratio) / if exact { 1000.0 } else { 1.0 } > most {
        let why = format!("ratio {ratio} is greater than max/min = {most:.6}");
        errors.push(field::invalid(&at, ratio.to_string(), why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::common::given::map;

    #[test]
    fn amounts_are_in_thousandths() {
        let mut range = map(r#"{"spec":{"limits":[{"type":"Pod","max":{"cpu":"1.0005","memory":"12e400"}}]}}"#);
        default(&mut range);
        assert_eq!(range, map(r#"{"spec":{"limits":[{"type":"Pod","max":{"cpu":"1001m","memory":"12e400"}}]}}"#));
    }
}
