//! What validation lets pass because the old object has it already
//! (pkg/api/pod/util.go@v1.37.2: GetValidationOptionsFromPodSpecAndMeta).
//!
//! Invariant: a new object gets no exception; gates are at their defaults of v1.37.

use api::names;
use api::value::{Map, Value};

use super::{annotations, containers_of, resources, security, spread, volumes};
use crate::resources::common;

#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// A pod, not a template.
    pub(crate) is_pod: bool,
    pub(crate) any_deletion_cost: bool,
    pub(crate) any_affinity_selector_value: bool,
    pub(crate) any_node_affinity_value: bool,
    pub(crate) any_spread_selector: bool,
    pub(crate) any_huge_page_size: bool,
    pub(crate) any_token_path: bool,
    pub(crate) host_sysctls: bool,
    pub(crate) old_match_label_keys: bool,
    pub(crate) restarting_init_resize: bool,
    pub(crate) devices_in_user_namespace: bool,
    pub(crate) host_network_in_user_namespace: bool,
    pub(crate) compared_tolerations: bool,
    pub(crate) empty_image_reference: bool,
    pub(crate) admin_without_escalation: bool,
}

impl Options {
    /// For a template whose old form, if any, is `old` (a PodTemplateSpec).
    pub(crate) fn template(old: Option<&Map>) -> Options {
        match old {
            Some(old) => {
                let annotations = old.map("metadata").and_then(|meta| meta.map("annotations"));
                Options::of(old.map("spec").unwrap_or(Map::EMPTY), annotations)
            }
            None => Options::default(),
        }
    }

    /// For a pod.
    pub(crate) fn pod(old: Option<&Map>) -> Options {
        Options { is_pod: true, ..Options::template(old) }
    }

    fn of(spec: &Map, annotations: Option<&Map>) -> Options {
        let user_namespace = spec.bool("hostUsers") == Some(false);
        Options {
            is_pod: false,
            any_deletion_cost: annotations::has_wrong_deletion_cost(annotations),
            any_affinity_selector_value: affinity_selectors(spec)
                .any(|selector| common::has_invalid_value(Some(selector))),
            any_node_affinity_value: node_affinity_values(spec).any(|v| !names::is_valid_label_value(v).is_empty()),
            any_spread_selector: spread::has_wrong_selector(spec),
            any_huge_page_size: containers_of(spec)
                .any(|(_, _, container)| resources::has_indivisible_pages(container)),
            any_token_path: volumes::has_token_path_outside(spec),
            host_sysctls: security::has_host_sysctl(spec),
            old_match_label_keys: spread::violates_match_label_keys(spec),
            restarting_init_resize: has_restarting_init_resize(spec),
            devices_in_user_namespace: user_namespace
                && containers_of(spec).any(|(_, _, container)| !container.list("volumeDevices").is_empty()),
            host_network_in_user_namespace: user_namespace && spec.bool("hostNetwork") == Some(true),
            compared_tolerations: spec.maps("tolerations").any(|t| matches!(t.str("operator"), "Lt" | "Gt")),
            empty_image_reference: spec
                .maps("volumes")
                .any(|volume| volume.map("image").is_some_and(|image| image.str("reference").is_empty())),
            admin_without_escalation: containers_of(spec).any(|(_, _, c)| security::is_admin_without_escalation(c)),
        }
    }
}

/// Every pod affinity term, weighted or not.
pub(super) fn affinity_terms(spec: &Map) -> impl Iterator<Item = &Map> {
    ["podAffinity", "podAntiAffinity"].into_iter().filter_map(|kind| spec.at(&["affinity", kind])).flat_map(
        |affinity| {
            let weighted = affinity.maps("preferredDuringSchedulingIgnoredDuringExecution");
            affinity
                .maps("requiredDuringSchedulingIgnoredDuringExecution")
                .chain(weighted.filter_map(|term| term.map("podAffinityTerm")))
        },
    )
}

fn affinity_selectors(spec: &Map) -> impl Iterator<Item = &Map> {
    affinity_terms(spec).flat_map(|term| term.map("labelSelector").into_iter().chain(term.map("namespaceSelector")))
}

fn node_affinity_values(spec: &Map) -> impl Iterator<Item = &str> {
    let required = spec.at(&["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"]);
    let terms = required.into_iter().flat_map(|selector| selector.maps("nodeSelectorTerms"));
    terms.flat_map(|term| term.maps("matchExpressions")).flat_map(|e| e.list("values")).filter_map(Value::as_str)
}

fn has_restarting_init_resize(spec: &Map) -> bool {
    let init = spec.maps("initContainers").filter(|container| container.str("restartPolicy") != "Always");
    init.flat_map(|c| c.maps("resizePolicy")).any(|policy| policy.str("restartPolicy") == "RestartContainer")
}
