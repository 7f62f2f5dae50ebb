//! Node (pkg/registry/core/node/strategy.go, pkg/apis/core/validation/validation.go@v1.37.2: ValidateNode,
//! ValidateNodeUpdate).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::pod::resources::{quantity_value, round_up};
use crate::resources::common;
use crate::resources::common::internal::{self, Plain};
use crate::resources::common::subnets;
use crate::resources::common::workload::{spec_of, status_of};
use crate::strategy::{Context, MetaCheck, Strategy};

pub(crate) struct Node;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
/// Letters of the name of a feature (content.DNS1123SubdomainMaxLength).
const FEATURE_BYTES_MAX: usize = 253;
const POD_CIDRS_CHANGED: &str = "node updates may not change podCIDR except from \"\" to valid";

fn validate_taints(object: &Map, errors: &mut Errors) {
    // Upstream begins at the metadata here.
    let path = Path::new("metadata").child("taints");
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (at, taint) in object.map("spec").into_iter().flat_map(|spec| spec.maps("taints")).enumerate() {
        let (path, key, effect) = (path.index(at), taint.str("key"), taint.str("effect"));
        errors.extend(names::is_qualified_name(key).iter().map(|m| field::invalid(&path.child("key"), key, m)));
        let (value, wrong) = (taint.str("value"), names::is_valid_label_value(taint.str("value")));
        if !wrong.is_empty() {
            errors.push(field::invalid(&path.child("value"), value, wrong.join(";")));
        }
        match effect {
            "" => errors.push(field::required(&path.child("effect"), "")),
            effect if !EFFECTS.contains(&effect) => {
                errors.push(field::not_supported(&path.child("effect"), effect, EFFECTS));
            }
            _ => {}
        }
        if seen.contains(&(key, effect)) {
            let mut error = field::duplicate(&path, Plain(internal::shown(taint, "core.v1.Taint")));
            error.body.push_str(": taints must be unique by key and effect pair");
            errors.push(error);
        } else {
            seen.push((key, effect));
        }
    }
}

fn validate_resources(object: &Map, errors: &mut Errors) {
    let status = status_of(object);
    for list in ["capacity", "allocatable"] {
        for (name, amount) in status.map(list).into_iter().flat_map(Map::iter) {
            if let Some(quantity) = common::quantity(amount) {
                quantity_value(name, &quantity, &Path::new("status").child(list).child(name), errors);
            }
        }
    }
}

/// Names of features are sorted, and each is there once.
fn validate_features(object: &Map, errors: &mut Errors) {
    let path = Path::new("status").child("declaredFeatures");
    let features: Vec<_> = status_of(object).list("declaredFeatures").iter().filter_map(Value::as_str).collect();
    for (at, feature) in features.iter().enumerate() {
        if let Some(why) = wrong_feature(feature) {
            let name = field::go_quote(feature);
            errors.push(field::invalid(&path.index(at), *feature, format!("invalid feature name {name}: {why}")));
        }
        match features.get(at + 1) {
            Some(next) if next == feature => errors.push(field::duplicate(&path.index(at + 1), *next)),
            Some(next) if next < feature => {
                errors.push(field::invalid(&path.index(at + 1), *next, "list must be sorted alphabetically"));
            }
            _ => {}
        }
    }
}

fn wrong_feature(name: &str) -> Option<String> {
    if name.len() > FEATURE_BYTES_MAX {
        return Some(format!("must be no more than {FEATURE_BYTES_MAX} characters"));
    }
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let fits = name.split('/').all(is_word) && name.starts_with(|c: char| c.is_ascii_uppercase());
    (!fits).then(|| {
        "must start with an UpperCamelCase segment, with subsequent segments separated by '/' \
         (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            .into()
    })
}

fn validate_swap(object: &Map, errors: &mut Errors) {
    let swap = status_of(object).map("nodeInfo").and_then(|info| info.map("swap"));
    if let Some(capacity) = swap.and_then(|swap| swap.i64("capacity")) {
        common::positive(capacity, &Path::new("metadata").child("nodeSwapStatus").child("capacity"), errors);
    }
}

fn validate_pod_cidrs(object: &Map, errors: &mut Errors) {
    let (path, listed) = (Path::new("spec").child("podCIDRs"), spec_of(object).list("podCIDRs"));
    let texts: Vec<&str> = listed.iter().filter_map(Value::as_str).collect();
    for (at, cidr) in texts.iter().enumerate() {
        common::each(&path.index(at), cidr, names::is_valid_cidr_for_legacy_field(cidr), errors);
    }
    if texts.len() < 2 {
        return;
    }
    let families: Option<Vec<bool>> =
        texts.iter().map(|text| names::parse_cidr_sloppy(text).map(|cidr| cidr.0.is_ipv4())).collect();
    if families.is_none() {
        let mut bad = texts.iter().enumerate().filter(|(_, text)| names::parse_cidr_sloppy(text).is_none());
        let (at, bad) = bad.next().map_or((0, ""), |(at, text)| (at, *text));
        // As Go prints the network that there is none of (k8s.io/utils/net: ParseCIDRs).
        let why = format!("invalid CIDR[{at}]: <nil> (invalid CIDR address: {bad})");
        let why = format!("invalid PodCIDRs. failed to check with dual stack with error:{why}");
        errors.push(field::internal(&path, why));
    }
    let is_dual = families.is_some_and(|families| families.contains(&true) && families.contains(&false));
    if !is_dual || texts.len() > 2 {
        let why = "may specify no more than one CIDR for each IP family";
        errors.push(field::invalid(&path, Value::List(listed.to_vec()), why));
    }
}

/// What is wrong with a change, of the node or of its status (ValidateNodeUpdate).
fn validate_change(object: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    validate_resources(object, &mut errors);
    validate_features(object, &mut errors);
    let addresses: Vec<_> = status_of(object).maps("addresses").collect();
    for (at, address) in addresses.iter().enumerate() {
        if addresses[..at].contains(address) {
            let path = Path::new("status").child("addresses").index(at);
            errors.push(field::duplicate(&path, Plain(internal::shown(address, "core.v1.NodeAddress"))));
        }
    }
    let (path, spec, was) = (Path::new("spec"), spec_of(object), spec_of(old));
    let (cidrs, had) = (spec.list("podCIDRs"), was.list("podCIDRs"));
    if !had.is_empty() {
        let changed = had.iter().zip(cidrs).filter(|(old, new)| old != new).count();
        let times = if had.len() == cidrs.len() { changed } else { 1 };
        errors.extend((0..times).map(|_| field::forbidden(&path.child("podCIDRs"), POD_CIDRS_CHANGED)));
    }
    let (provider, had) = (spec.str("providerID"), was.str("providerID"));
    if !had.is_empty() && provider != had {
        let what = if provider.is_empty() { "cleared" } else { "modified" };
        let why = format!("field cannot be {what} once set");
        errors.push(field::invalid(&path.child("providerID"), Value::Null, why));
    }
    validate_taints(object, &mut errors);
    if spec.str("externalID") != was.str("externalID") {
        errors.push(field::forbidden(&path.child("externalID"), "may not be updated"));
    }
    errors
}

/// Of the two fields for the pods' addresses the older one wins where they differ, and has the first of the newer one's
/// (pkg/apis/core/v1/conversion.go@v1.37.2: Convert_v1_NodeSpec_To_core_NodeSpec and back).
fn settle_pod_cidrs(spec: &mut Map) {
    let first = spec.list("podCIDRs").first().and_then(Value::as_str).unwrap_or("").to_string();
    match spec.str("podCIDR").to_string() {
        one if one.is_empty() && !first.is_empty() => spec.set("podCIDR", first),
        one if one != first => spec.set("podCIDRs", vec![Value::from(one)]),
        _ => {}
    }
}

impl Strategy for Node {
    /// pkg/apis/core/v1/defaults.go@v1.37.2: SetDefaults_NodeStatus
    fn default(&self, object: &mut Map) {
        settle_pod_cidrs(object.map_mut("spec"));
        let status = object.map_mut("status");
        if !status.contains("allocatable")
            && let Some(capacity) = status.get("capacity").cloned()
        {
            status.set("allocatable", capacity);
        }
        for list in ["capacity", "allocatable"] {
            if let Some(amounts) = status.get_mut(list).and_then(Value::as_map_mut) {
                round_up(amounts);
            }
        }
    }

    fn keeps_new_status(&self) -> bool {
        true
    }

    fn meta_checks(&self, subresource: &str) -> &'static [MetaCheck] {
        if subresource.is_empty() { &[MetaCheck::Whole, MetaCheck::Update] } else { &[MetaCheck::Update] }
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        object.map_mut("spec").remove("configSource");
        object.map_mut("status").remove("config");
        object.map_mut("spec").remove("podPreemptionPolicy");
    }

    /// A node keeps the configuration source that it has, but gets none.
    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        if !spec_of(old).contains("configSource") {
            object.map_mut("spec").remove("configSource");
        }
        if !spec_of(old).contains("podPreemptionPolicy") {
            object.map_mut("spec").remove("podPreemptionPolicy");
        }
    }

    fn prepare_for_status_update(&self, _: &Context, object: &mut Map, old: &Map) {
        if !status_of(old).contains("config") {
            object.map_mut("status").remove("config");
        }
    }

    fn validate(&self, object: &Map) -> Errors {
        let mut errors = Errors::new();
        validate_taints(object, &mut errors);
        validate_resources(object, &mut errors);
        validate_swap(object, &mut errors);
        validate_features(object, &mut errors);
        validate_pod_cidrs(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = self.validate(object);
        errors.extend(validate_change(object, old));
        errors
    }

    fn validate_status_update(&self, object: &Map, old: &Map) -> Errors {
        validate_change(object, old)
    }

    fn warnings(&self, object: &Map, _: Option<&Map>) -> Vec<String> {
        let (spec, path) = (spec_of(object), Path::new("spec"));
        let old_id = "spec.externalID: this field is deprecated, and is unused by Kubernetes";
        let mut told: Vec<String> = if spec.str("externalID").is_empty() { Vec::new() } else { vec![old_id.into()] };
        for (at, cidr) in spec.list("podCIDRs").iter().filter_map(Value::as_str).enumerate() {
            told.extend(subnets::warnings(cidr, &path.child("podCIDRs").index(at)));
        }
        told
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        let unschedulable = spec_of(object).bool("unschedulable").unwrap_or(false);
        vec![("spec.unschedulable", unschedulable.to_string())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::common::given::map;

    fn check(spec: &str, want: &str) {
        let mut node = map(&format!(r#"{{"spec":{spec},"status":{{}}}}"#));
        Node.default(&mut node);
        assert_eq!(node.map("spec"), Some(&map(want)), "{spec}");
    }

    #[test]
    fn the_older_field_for_the_pods_addresses_wins() {
        check("{}", "{}");
        check(r#"{"podCIDR":"a"}"#, r#"{"podCIDR":"a","podCIDRs":["a"]}"#);
        check(r#"{"podCIDRs":["a","b"]}"#, r#"{"podCIDRs":["a","b"],"podCIDR":"a"}"#);
        check(r#"{"podCIDR":"a","podCIDRs":["a","b"]}"#, r#"{"podCIDR":"a","podCIDRs":["a","b"]}"#);
        check(r#"{"podCIDR":"a","podCIDRs":["b","a"]}"#, r#"{"podCIDR":"a","podCIDRs":["a"]}"#);
    }
}
