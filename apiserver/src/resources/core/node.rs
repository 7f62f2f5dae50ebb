//! Node (pkg/registry/core/node/strategy.go, pkg/apis/core/validation: ValidateNode, ValidateNodeUpdate @v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use crate::strategy::Strategy;

pub(crate) struct Node;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

fn validate_taints(object: &Map, errors: &mut Errors) {
    let path = Path::new("spec").child("taints");
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (at, taint) in object.map("spec").into_iter().flat_map(|spec| spec.maps("taints")).enumerate() {
        let (path, key, effect) = (path.index(at), taint.str("key"), taint.str("effect"));
        errors.extend(names::is_qualified_name(key).iter().map(|m| field::invalid(&path.child("key"), key, m)));
        let value = taint.str("value");
        errors
            .extend(names::is_valid_label_value(value).iter().map(|m| field::invalid(&path.child("value"), value, m)));
        match effect {
            "" => errors.push(field::required(&path.child("effect"), "")),
            effect if !EFFECTS.contains(&effect) => {
                errors.push(field::not_supported(&path.child("effect"), effect, EFFECTS));
            }
            _ => {}
        }
        if seen.contains(&(key, effect)) {
            errors.push(field::duplicate(&path, Value::Map(taint.clone())));
        }
        seen.push((key, effect));
    }
}

impl Strategy for Node {
    fn validate(&self, object: &Map) -> Errors {
        let mut errors = Errors::new();
        validate_taints(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = self.validate(object);
        let text = |object: &Map, name: &str| object.map("spec").map_or("", |spec| spec.str(name)).to_string();
        let cidrs = |object: &Map| object.map("spec").map_or(&[][..], |spec| spec.list("podCIDRs")).to_vec();
        let spec = Path::new("spec");
        if !cidrs(old).is_empty() && cidrs(object) != cidrs(old) {
            errors.push(field::forbidden(
                &spec.child("podCIDRs"),
                "node updates may not change podCIDR except from \"\" to valid",
            ));
        }
        let provider = text(old, "providerID");
        if !provider.is_empty() && text(object, "providerID") != provider {
            errors.push(field::forbidden(
                &spec.child("providerID"),
                "node updates may not change providerID except from \"\" to valid",
            ));
        }
        errors
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        let unschedulable = object.map("spec").and_then(|spec| spec.bool("unschedulable")).unwrap_or(false);
        vec![("spec.unschedulable", unschedulable.to_string())]
    }
}
