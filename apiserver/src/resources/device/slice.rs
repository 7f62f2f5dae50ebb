//! What a driver has to offer (pkg/apis/resource/validation/validation.go@v1.37.2: validateResourceSliceSpec).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::{capacity, shared};
use crate::resources::check;
use crate::resources::common;
use crate::resources::core::pod::affinity::node_selector;

const DEVICES_MAX: usize = 128;
/// When a device has taints or consumes counters.
const ADVANCED_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const ATTRIBUTES_AND_CAPACITIES_MAX: usize = 32;
const ATTRIBUTE_VALUES_MAX: usize = 48;
const ATTRIBUTE_BYTES_MAX: usize = 64;
const TAINTS_MAX: usize = 16;
const CONSUMPTIONS_MAX: usize = 2;
pub(super) const LIST_ATTRIBUTES: [&str; 4] = ["bools", "ints", "strings", "versions"];
const ONE_PLACE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
const ONE_DEVICE_PLACE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
                                `perDeviceNodeSelection` is set to true in the ResourceSlice spec";

pub(super) fn spec(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    let spec = object.map("spec").unwrap_or(Map::EMPTY);
    let (path, pool) = (Path::new("spec"), spec.map("pool").unwrap_or(Map::EMPTY));
    shared::driver(spec.str("driver"), &path.child("driver"), &mut errors);
    self::pool(pool, &path.child("pool"), &mut errors);
    if let Some(old) = old {
        fixed(spec, old.map("spec").unwrap_or(Map::EMPTY), &path, &mut errors);
    }
    place(spec, &path, &mut errors);
    if spec.contains("sharedCounters") && spec.contains("devices") {
        errors.push(field::invalid(&path, "", "only one of `sharedCounters` or `devices` is allowed"));
    }
    devices(spec, old.and_then(|old| old.map("spec")), &path, &mut errors);
    for (at, set) in shared::within(spec, "sharedCounters", COUNTER_SETS_MAX) {
        counters(set, &path.child("sharedCounters").index(at), &mut errors);
    }
    shared::skipped(spec, &path, &mut errors);
    errors
}

fn pool(pool: &Map, path: &Path, errors: &mut Errors) {
    shared::pool_name(pool.str("name"), &path.child("name"), errors);
    let [count, generation] = ["resourceSliceCount", "generation"].map(|name| pool.i64(name).unwrap_or(0));
    if count <= 0 {
        errors.push(field::invalid(&path.child("resourceSliceCount"), count, "must be greater than zero"));
    }
    if generation < 0 {
        let why = "must be greater than or equal to zero";
        errors.push(field::invalid(&path.child("generation"), generation, why));
    }
}

fn fixed(spec: &Map, was: &Map, path: &Path, errors: &mut Errors) {
    let pool = |spec: &Map| spec.map("pool").map_or("", |pool| pool.str("name")).to_string();
    check::fixed_text(&path.child("pool").child("name"), &pool(spec), &pool(was), errors);
    check::fixed_text(&path.child("driver"), spec.str("driver"), was.str("driver"), errors);
    common::immutable(spec, was, "nodeName", path, errors);
}

fn node_name(name: &str, empty: &str, path: &Path, errors: &mut Errors) -> bool {
    if name.is_empty() {
        errors.push(field::invalid(path, name, empty));
        return false;
    }
    common::each(path, name, names::name_is_dns_subdomain(name, false), errors);
    true
}

/// A flag that is true when it is there.
fn flag(owner: &Map, name: &str, path: &Path, errors: &mut Errors) -> bool {
    match owner.bool(name) {
        Some(false) => {
            errors.push(field::invalid(&path.child(name), false, "must be either unset or set to true"));
            false
        }
        set => set.is_some(),
    }
}

/// Where the devices are: in one way.
fn place(spec: &Map, path: &Path, errors: &mut Errors) {
    let mut set = Vec::new();
    if let Some(name) = spec.get("nodeName").and_then(Value::as_str)
        && node_name(name, "must be either unset or set to a non-empty string", &path.child("nodeName"), errors)
    {
        set.push("`nodeName`");
    }
    if let Some(selector) = spec.map("nodeSelector") {
        set.push("`nodeSelector`");
        let path = path.child("nodeSelector");
        node_selector(selector, false, &path, errors);
        if selector.list("nodeSelectorTerms").len() != 1 {
            let shown = terms(selector);
            let why = "must have exactly one node selector term";
            errors.push(field::invalid(&path.child("nodeSelectorTerms"), common::internal::Plain(shown), why));
        }
    }
    for (name, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        if flag(spec, name, path, errors) {
            set.push(shown);
        }
    }
    match set.len() {
        0 => errors.push(field::required(path, ONE_PLACE)),
        1 => {}
        _ => {
            let why = format!("{ONE_PLACE}, but multiple fields are set");
            errors.push(field::invalid(path, format!("{{{}}}", set.join(", ")), why));
        }
    }
}

fn terms(selector: &Map) -> String {
    if selector.list("nodeSelectorTerms").is_empty() {
        return "null".to_string();
    }
    let terms =
        selector.maps("nodeSelectorTerms").map(|term| common::internal::shown(term, "core.v1.NodeSelectorTerm"));
    format!("[{}]", terms.collect::<Vec<_>>().join(","))
}

fn devices(spec: &Map, was: Option<&Map>, path: &Path, errors: &mut Errors) {
    let advanced = spec.maps("devices").any(|device| {
        let attributes = device.map("attributes").into_iter().flat_map(Map::iter).filter_map(|(_, a)| a.as_map());
        !device.list("taints").is_empty()
            || !device.list("consumesCounters").is_empty()
            || attributes.into_iter().any(|attribute| LIST_ATTRIBUTES.iter().any(|name| attribute.contains(name)))
    });
    let (count, max) = (spec.list("devices").len(), if advanced { ADVANCED_DEVICES_MAX } else { DEVICES_MAX });
    let path = path.child("devices");
    if count > max {
        return errors.push(field::too_many(&path, count, max));
    }
    let each_place = spec.bool("perDeviceNodeSelection").unwrap_or(false);
    for (at, new) in spec.maps("devices").enumerate() {
        let old = was.and_then(|was| was.maps("devices").find(|old| old.str("name") == new.str("name")));
        device(new, old, each_place, &path.index(at), errors);
    }
    shared::unique(spec.maps("devices").map(|device| device.str("name")), &path, errors);
}

fn device(device: &Map, old: Option<&Map>, each_place: bool, path: &Path, errors: &mut Errors) {
    common::dns_label(device.str("name"), &path.child("name"), errors);
    sizes(device, path, errors);
    for (key, value) in device.map("attributes").into_iter().flat_map(Map::iter) {
        let at = path.child("attributes");
        shared::qualified_name(key, &at, errors);
        attribute(value, &at.key(&shared::shown_key(key, shared::QUALIFIED_BYTES_MAX)), errors);
    }
    let changed = |name: &str| old.is_none_or(|old| !common::same(old.get(name), device.get(name)));
    if changed("capacity") {
        capacity::all(device, path, errors);
    }
    if changed("taints") {
        let count = device.list("taints").len();
        if count > TAINTS_MAX {
            errors.push(field::too_many(&path.child("taints"), count, TAINTS_MAX));
        }
        for (at, taint) in shared::within(device, "taints", TAINTS_MAX) {
            shared::taint(taint, &path.child("taints").index(at), errors);
        }
    }
    for (at, consumed) in shared::within(device, "consumesCounters", CONSUMPTIONS_MAX) {
        counters(consumed, &path.child("consumesCounters").index(at), errors);
    }
    if each_place {
        own_place(device, path, errors);
    } else if ["nodeName", "nodeSelector", "allNodes"].iter().any(|name| device.contains(name)) {
        let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true \
                   in the ResourceSlice spec";
        errors.push(field::invalid(path, Value::Null, why));
    }
    shared::binding_conditions(device, path, errors);
}

fn sizes(device: &Map, path: &Path, errors: &mut Errors) {
    let attributes = device.map("attributes").unwrap_or(Map::EMPTY);
    let total = attributes.len() + device.map("capacity").map_or(0, Map::len);
    if total > ATTRIBUTES_AND_CAPACITIES_MAX {
        let why =
            format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_AND_CAPACITIES_MAX}");
        errors.push(field::invalid(path, total, why));
    }
    let values = |attribute: &Value| {
        let listed = |name: &&str| attribute.as_map().map_or(0, |map| map.list(name).len());
        LIST_ATTRIBUTES.iter().map(|name| listed(name)).sum::<usize>().max(1)
    };
    let total: usize = attributes.iter().map(|(_, attribute)| values(attribute)).sum();
    if total > ATTRIBUTE_VALUES_MAX {
        let why = format!("the total number of attribute values must not exceed {ATTRIBUTE_VALUES_MAX}");
        errors.push(field::invalid(path, total, why));
    }
}

/// validateDeviceAttribute.
fn attribute(value: &Value, path: &Path, errors: &mut Errors) {
    let attribute = value.as_map().unwrap_or(Map::EMPTY);
    let long = |text: &str, path: &Path, errors: &mut Errors| {
        if text.len() > ATTRIBUTE_BYTES_MAX {
            errors.push(field::too_long(path, ATTRIBUTE_BYTES_MAX));
        }
    };
    let version = |text: &str, path: &Path, errors: &mut Errors| {
        if !is_semver(text) {
            let why = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(field::invalid(path, text, why));
        }
        long(text, path, errors);
    };
    if let Some(text) = attribute.get("string").and_then(Value::as_str) {
        long(text, &path.child("string"), errors);
    }
    if let Some(text) = attribute.get("version").and_then(Value::as_str) {
        version(text, &path.child("version"), errors);
    }
    // Empty lists are dropped while their feature is off, as all that are new are: nothing is told of them.
    for (at, text) in attribute.list("versions").iter().filter_map(Value::as_str).enumerate() {
        version(text, &path.child("versions").index(at), errors);
    }
}

/// Three numbers, then identifiers before a release and of a build.
fn is_semver(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, release) = text.split_once('-').map_or((text, None), |(core, release)| (core, Some(release)));
    let number = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    core.split('.').count() == 3
        && core.split('.').all(number)
        && release.is_none_or(|all| all.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|all| all.split('.').all(word))
}

/// The counters of a set or of a device; their names are checked by rules.
fn counters(owner: &Map, path: &Path, errors: &mut Errors) {
    let count = owner.map("counters").map_or(0, Map::len);
    if count > COUNTERS_MAX {
        errors.push(field::too_many(&path.child("counters"), count, COUNTERS_MAX));
    }
}

/// Where one device is.
fn own_place(device: &Map, path: &Path, errors: &mut Errors) {
    let mut set = Vec::new();
    if let Some(name) = device.get("nodeName").and_then(Value::as_str)
        && node_name(name, "must not be empty", &path.child("nodeName"), errors)
    {
        set.push("`nodeName`");
    }
    if let Some(selector) = device.map("nodeSelector") {
        set.push("`nodeSelector`");
        node_selector(selector, false, &path.child("nodeSelector"), errors);
    }
    if flag(device, "allNodes", path, errors) {
        set.push("`allNodes`");
    }
    match set.len() {
        0 => errors.push(field::required(path, ONE_DEVICE_PLACE)),
        1 => {}
        _ => errors.push(field::invalid(path, format!("{{{}}}", set.join(", ")), ONE_DEVICE_PLACE)),
    }
}
