//! What the server does to a pod before it looks at it (pkg/registry/core/pod/strategy.go,
//! pkg/api/pod/util.go@v1.37.2: DropDisabledPodFields and the mutations of PrepareForCreate).
//!
//! Invariant: fields behind gates that are off in v1.37 leave here, so nothing after this has to know them.

use api::map;
use api::object::Meta;
use api::value::{Map, Value};

use super::{CONTAINER_LISTS, annotations, options, resources, security};
use crate::resources::common;
use crate::rest::metadata;

const OLD_INIT_ANNOTATIONS: [&str; 4] = [
    "pod.beta.kubernetes.io/init-containers",
    "pod.alpha.kubernetes.io/init-containers",
    "pod.beta.kubernetes.io/init-container-statuses",
    "pod.alpha.kubernetes.io/init-container-statuses",
];

/// The fields of a feature: the way from the spec (or the status) to what holds one, and its name.
type Feature = &'static [(&'static [&'static str], &'static str)];

/// In a way: every list of containers.
const CONTAINERS: &str = "*";

/// What v1.37 has only behind gates that are off.
const GATED: &[Feature] = &[
    &[(&[], "schedulingGroup")],
    &[(&[], "evictionResponders")],
    &[(&["volumes", "emptyDir"], "mode")],
    &[
        (&["volumes", "secret"], "defaultUser"),
        (&["volumes", "secret", "items"], "user"),
        (&["volumes", "configMap"], "defaultUser"),
        (&["volumes", "configMap", "items"], "user"),
        (&["volumes", "downwardAPI"], "defaultUser"),
        (&["volumes", "downwardAPI", "items"], "user"),
        (&["volumes", "projected"], "defaultUser"),
        (&["volumes", "projected", "sources", "secret", "items"], "user"),
        (&["volumes", "projected", "sources", "configMap", "items"], "user"),
        (&["volumes", "projected", "sources", "downwardAPI", "items"], "user"),
        (&["volumes", "projected", "sources", "serviceAccountToken"], "user"),
        (&["volumes", "projected", "sources", "clusterTrustBundle"], "user"),
        (&["volumes", "projected", "sources", "podCertificate"], "user"),
    ],
    &[
        (&[CONTAINERS, "livenessProbe", "grpc"], "mode"),
        (&[CONTAINERS, "readinessProbe", "grpc"], "mode"),
        (&[CONTAINERS, "startupProbe", "grpc"], "mode"),
    ],
    &[
        (&[CONTAINERS, "livenessProbe", "httpGet"], "protocol"),
        (&[CONTAINERS, "readinessProbe", "httpGet"], "protocol"),
        (&[CONTAINERS, "startupProbe", "httpGet"], "protocol"),
        (&[CONTAINERS, "lifecycle", "postStart", "httpGet"], "protocol"),
        (&[CONTAINERS, "lifecycle", "preStop", "httpGet"], "protocol"),
    ],
    STOP_SIGNALS,
    &[(&[CONTAINERS, "volumeMounts"], "bindMountOptions")],
];
const STOP_SIGNALS: Feature = &[(&[CONTAINERS, "lifecycle"], "stopSignal")];
/// The same of a status.
const GATED_STATUS: &[Feature] = &[
    &[(&[], "nodeAllocatableResourceClaimStatuses")],
    &[(&[], "volumeHealth")],
    &[
        (&["containerStatuses", "volumeMounts"], "volumeStatus"),
        (&["initContainerStatuses", "volumeMounts"], "volumeStatus"),
        (&["ephemeralContainerStatuses", "volumeMounts"], "volumeStatus"),
    ],
];

/// Takes out of a pod or of a template what is behind gates that are off, unless the old one has it too.
pub(crate) fn drop_gated(holder: &mut Map, old: Option<&Map>) {
    if let Some(notes) =
        holder.get_mut("metadata").and_then(|meta| meta.as_map_mut()?.get_mut("annotations")?.as_map_mut())
    {
        notes.retain(|name, _| !OLD_INIT_ANNOTATIONS.contains(&name));
    }
    let Some(spec) = holder.get_mut("spec").and_then(Value::as_map_mut) else { return };
    let old = old.and_then(|old| old.map("spec"));
    // A lifecycle that was there only for its signal goes with it; one that a client left empty stays.
    if !old.is_some_and(|old| has(old, STOP_SIGNALS)) {
        for container in CONTAINER_LISTS.iter().flat_map(|list| signalled(spec, list)).collect::<Vec<_>>() {
            if let Some(container) = spec.maps_mut(container.0).nth(container.1) {
                container.remove("lifecycle");
            }
        }
    }
    drop_features(spec, old, GATED);
}

/// The containers of a list whose lifecycle says nothing but a signal.
fn signalled(spec: &Map, list: &'static str) -> Vec<(&'static str, usize)> {
    let only_signal = |container: &Map| {
        container.map("lifecycle").is_some_and(|lifecycle| lifecycle.len() == 1 && lifecycle.contains("stopSignal"))
    };
    let found = spec.maps(list).enumerate().filter(|(_, container)| only_signal(container));
    found.map(|(at, _)| (list, at)).collect()
}

fn drop_features(map: &mut Map, old: Option<&Map>, features: &[Feature]) {
    for feature in features.iter().filter(|feature| !old.is_some_and(|old| has(old, feature))) {
        feature.iter().for_each(|(way, name)| each(map, way, name));
    }
}

fn has(map: &Map, feature: Feature) -> bool {
    feature.iter().any(|(way, name)| any(map, way, name))
}

fn any(map: &Map, way: &[&str], name: &str) -> bool {
    match way {
        [] => map.contains(name),
        [CONTAINERS, rest @ ..] => CONTAINER_LISTS.iter().any(|list| map.maps(list).any(|one| any(one, rest, name))),
        [first, rest @ ..] => match map.get(first) {
            Some(Value::Map(inner)) => any(inner, rest, name),
            Some(Value::List(list)) => list.iter().filter_map(Value::as_map).any(|one| any(one, rest, name)),
            _ => false,
        },
    }
}

fn each(map: &mut Map, way: &[&str], gone: &str) {
    match way {
        [] => drop(map.remove(gone)),
        [CONTAINERS, rest @ ..] => {
            for list in CONTAINER_LISTS {
                map.maps_mut(list).for_each(|one| each(one, rest, gone));
            }
        }
        [first, rest @ ..] => match map.get_mut(first) {
            Some(Value::Map(inner)) => each(inner, rest, gone),
            Some(Value::List(list)) => {
                list.iter_mut().filter_map(Value::as_map_mut).for_each(|one| each(one, rest, gone));
            }
            _ => {}
        },
    }
}

/// A new pod: its first status, and what its labels and old annotations mean for its spec.
pub(super) fn create(pod: &mut Map, now: &str) {
    drop_gated(pod, None);
    let mut status = map! { "phase" => "Pending" };
    if pod.map("spec").is_some_and(|spec| !spec.list("schedulingGates").is_empty()) {
        let condition = map! {
            "type" => "PodScheduled", "status" => "False", "lastTransitionTime" => now, "reason" => "SchedulingGated",
            "message" => "Scheduling is blocked due to non-empty scheduling gates",
        };
        status.set("conditions", vec![Value::Map(condition)]);
    }
    merge_label_keys(pod);
    apparmor(pod);
    let spec = pod.map_mut("spec");
    resources::default_pod_level(spec);
    status.set("qosClass", super::qos::class(spec));
    pod.set("status", status);
}

/// The values of the labels that terms and constraints name become requirements of their selectors.
fn merge_label_keys(pod: &mut Map) {
    let labels = pod.meta().map("labels").cloned().unwrap_or_default();
    let spec = pod.map_mut("spec");
    if options::affinity_terms(spec).next().is_some() {
        for kind in ["podAffinity", "podAntiAffinity"] {
            let Some(affinity) = spec.map_mut("affinity").get_mut(kind).and_then(Value::as_map_mut) else { continue };
            for weighted in affinity.maps_mut("preferredDuringSchedulingIgnoredDuringExecution") {
                if let Some(term) = weighted.get_mut("podAffinityTerm").and_then(Value::as_map_mut) {
                    merge(term, &labels);
                }
            }
            for term in affinity.maps_mut("requiredDuringSchedulingIgnoredDuringExecution") {
                merge(term, &labels);
            }
        }
    }
    for constraint in spec.maps_mut("topologySpreadConstraints") {
        merge(constraint, &labels);
    }
}

fn merge(term: &mut Map, labels: &Map) {
    let mut more: Vec<Value> = Vec::new();
    for (keys, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in term.list(keys).iter().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                let requirement = map! { "key" => key, "operator" => operator, "values" => vec![value.clone()] };
                more.push(Value::Map(requirement));
            }
        }
    }
    if let Some(selector) = term.get_mut("labelSelector").and_then(Value::as_map_mut).filter(|_| !more.is_empty()) {
        selector.list_mut("matchExpressions").extend(more);
    }
}

/// Old annotations become the field that took their place (applyAppArmorVersionSkew).
fn apparmor(pod: &mut Map) {
    let spec = pod.map("spec").unwrap_or(Map::EMPTY);
    if security::is_windows(spec) {
        return;
    }
    let notes = pod.meta().map("annotations").cloned().unwrap_or_default();
    let of_pod = spec.at(&["securityContext", "appArmorProfile"]).cloned();
    if !notes.keys().any(|key| key.starts_with(annotations::APPARMOR)) {
        return;
    }
    for list in CONTAINER_LISTS {
        for container in pod.map_mut("spec").maps_mut(list) {
            let key = format!("{}{}", annotations::APPARMOR, container.str("name"));
            let has_own = container.at(&["securityContext", "appArmorProfile"]).is_some();
            let Some(note) = notes.get(&key).and_then(Value::as_str).filter(|_| !has_own) else { continue };
            let profile = annotations::apparmor_field(note).filter(|profile| {
                let mut errors = Vec::new();
                security::apparmor_profile(profile, &api::field::Path::default(), &mut errors);
                errors.is_empty()
            });
            if let Some(profile) = profile.filter(|profile| Some(profile) != of_pod.as_ref()) {
                container.map_mut("securityContext").set("appArmorProfile", profile);
            }
        }
    }
}

/// Resources of the whole pod stay when an update does not name them.
pub(super) fn keep_pod_resources(pod: &mut Map, old: &Map) {
    let kept = old.map("spec").and_then(|spec| spec.get("resources"));
    if let Some(kept) = kept.filter(|_| pod.map("spec").is_some_and(|spec| !spec.contains("resources"))) {
        pod.map_mut("spec").set("resources", kept.clone());
    }
}

/// A status keeps what its writer may not know of.
pub(super) fn status(pod: &mut Map, old: &Map) {
    for name in ["deletionTimestamp", "ownerReferences"] {
        pod.meta_mut().take_over(name, old.meta());
    }
    let was = old.map("status").unwrap_or(Map::EMPTY);
    let status = pod.map_mut("status");
    for name in ["qosClass", "resourceClaimStatuses", "extendedResourceClaimStatus", "observedGeneration"] {
        if let Some(value) = was.get(name).filter(|_| status.get(name).is_none_or(Value::is_zero)) {
            status.set(name, value.clone());
        }
    }
    let mut seen: Vec<&Map> = was.maps("conditions").collect();
    for condition in status.maps_mut("conditions") {
        let Some(at) = seen.iter().position(|old| old.str("type") == condition.str("type")) else { continue };
        let old = seen.remove(at);
        if let Some(generation) = old.get("observedGeneration").filter(|_| !condition.contains("observedGeneration")) {
            condition.set("observedGeneration", generation.clone());
        }
    }
    drop_features(status, Some(was), GATED_STATUS);
}

/// What a subresource takes of its body; all else is as it was.
pub(super) fn subresource(pod: &mut Map, old: &Map, subresource: &str) {
    let taken = pod.map("spec").cloned().unwrap_or_default();
    if subresource == "resize" && same_count(&taken, old.map("spec").unwrap_or(Map::EMPTY)).is_none() {
        return;
    }
    metadata::keep_for_status(pod, old);
    for part in ["spec", "status"] {
        pod.take_over(part, old);
    }
    let spec = pod.map_mut("spec");
    match subresource {
        "ephemeralcontainers" => spec.take_over("ephemeralContainers", &taken),
        "resize" => resize(spec, &taken),
        _ => {}
    }
    if subresource == "resize" {
        keep_pod_resources(pod, old);
        resources::default_pod_level(pod.map_mut("spec"));
    }
    drop_gated(pod, Some(old));
}

fn same_count(new: &Map, old: &Map) -> Option<()> {
    let same = ["containers", "initContainers"].iter().all(|list| new.list(list).len() == old.list(list).len());
    same.then_some(())
}

/// Of a resize only resources and resize policies are taken; a list in another order is left for validation to refuse.
fn resize(spec: &mut Map, taken: &Map) {
    for list in ["containers", "initContainers"] {
        let wanted: Vec<Map> = taken.maps(list).cloned().collect();
        let renamed = wanted.iter().zip(spec.maps(list)).any(|(new, old)| new.str("name") != old.str("name"));
        if renamed {
            spec.set(list, wanted.into_iter().map(Value::Map).collect::<Vec<_>>());
            continue;
        }
        for (container, new) in spec.maps_mut(list).zip(wanted) {
            for name in ["resources", "resizePolicy"] {
                container.take_over(name, &new);
            }
        }
    }
    spec.take_over("resources", taken);
}

/// True when nothing but what upstream calls equal differs.
pub(super) fn same_spec(a: &Map, b: &Map) -> bool {
    common::same_maps(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(part: Map, old: Option<Map>, left: Option<Map>) {
        let pod = |part| map! { "spec" => map! { "containers" => vec![Value::Map(part)] } };
        let mut whole = pod(part);
        drop_gated(&mut whole, old.map(pod).as_ref());
        let container = whole.map("spec").and_then(|spec| spec.maps("containers").next()).cloned();
        assert_eq!(container, Some(left.unwrap_or_default()));
    }

    #[test]
    fn what_is_gated_goes_unless_it_was_there() {
        let with = |lifecycle: Map| map! { "lifecycle" => lifecycle };
        let hook = || map! { "sleep" => map! { "seconds" => 1i64 } };
        let signal = || with(map! { "stopSignal" => "SIGTERM" });
        check(signal(), None, None);
        check(signal(), Some(with(map! { "stopSignal" => "SIGINT" })), Some(signal()));
        let both = with(map! { "stopSignal" => "SIGTERM", "preStop" => hook() });
        check(both, None, Some(with(map! { "preStop" => hook() })));
        check(with(Map::new()), None, Some(with(Map::new())));
        let probe = |name: &str| map! { name => map! { "grpc" => map! { "mode" => "TLS" } } };
        check(probe("livenessProbe"), None, Some(map! { "livenessProbe" => map! { "grpc" => Map::new() } }));
        check(probe("livenessProbe"), Some(probe("startupProbe")), Some(probe("livenessProbe")));
    }

    #[test]
    fn a_subresource_takes_its_part_and_leaves_the_owners_of_fields() {
        let pod = |name: &str, owner: &str, image: &str| {
            let container = map! { "name" => name, "image" => image };
            map! {
                "metadata" => map! { "name" => "p", "labels" => map! { "of" => owner }, "managedFields" => owner },
                "spec" => map! {
                    "nodeName" => owner,
                    "ephemeralContainers" => vec![Value::Map(container)],
                },
                "status" => map! { "phase" => owner },
            }
        };
        let old = pod("debug", "old", "a");
        let mut new = pod("debug", "new", "b");
        subresource(&mut new, &old, "ephemeralcontainers");
        let mut want = pod("debug", "old", "b");
        want.meta_mut().set("managedFields", "new");
        assert_eq!(new, want);
    }
}
