//! The spec of a pod, in pods and in templates (pkg/apis/core/validation/validation.go@v1.37.2: ValidatePodSpec,
//! ValidatePodCreate, ValidatePodTemplateSpec).
//!
//! Non-goal: fields behind gates that are off in v1.37 (`schedulingGroup`, `evictionResponders`); they are dropped
//! before validation.

use std::collections::BTreeSet;

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::containers::Around;
use super::options::Options;
use super::{
    affinity, annotations, containers, containers_of, dns, env, resources, security, spread, tolerations, volumes,
    windows,
};
use crate::resources::common;
use crate::resources::common::internal::{self, Plain};

const HOSTNAME_OVERRIDE_BYTES_MAX: usize = 64;
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

/// A new pod.
pub(super) fn create(pod: &Map) -> Errors {
    let mut errors = Errors::new();
    let spec = pod.map("spec").unwrap_or(Map::EMPTY);
    let path = Path::new("spec");
    metadata_and_spec(pod, &Options::pod(None), &mut errors);
    if !spec.list("ephemeralContainers").is_empty() {
        errors.push(field::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    if !spec.str("nodeName").is_empty() && !spec.list("schedulingGates").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.push(field::forbidden(&path.child("nodeName"), why));
    }
    annotations::agree(pod.meta().map("annotations"), spec, &path, &mut errors);
    errors
}

/// validatePodMetadataAndSpec, but for what holds for the metadata of every kind.
pub(super) fn metadata_and_spec(pod: &Map, options: &Options, errors: &mut Errors) {
    let spec = pod.map("spec").unwrap_or(Map::EMPTY);
    let path = Path::new("spec");
    let notes = pod.meta().map("annotations");
    annotations::check(notes, spec, &Path::new("metadata").child("annotations"), options, errors);
    check(spec, Some(pod), &path, options, errors);
    if spec.str("serviceAccountName").is_empty() {
        tokens_without_account(spec, &path, errors);
    }
    common::none_negative(spec, &["terminationGracePeriodSeconds"], &path, errors);
    for list in ["containers", "initContainers"] {
        for (at, container) in spec.maps(list).enumerate() {
            containers::image_padding(container, &path.child(list).index(at), errors);
        }
    }
}

fn tokens_without_account(spec: &Map, path: &Path, errors: &mut Errors) {
    for (at, volume) in spec.maps("volumes").enumerate() {
        let sources = volume.map("projected").into_iter().flat_map(|projected| projected.maps("sources"));
        for (index, _) in sources.enumerate().filter(|(_, source)| source.contains("serviceAccountToken")) {
            let source = path.child("volumes").index(at).child("projected").child("sources").index(index);
            let why = "must not be specified when serviceAccountName is not set";
            errors.push(field::forbidden(&source.child("serviceAccountToken"), why));
        }
    }
}

/// A PodTemplateSpec.
pub(crate) fn template(template: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    let meta = template.map("metadata").unwrap_or(Map::EMPTY);
    let spec = template.map("spec").unwrap_or(Map::EMPTY);
    let notes = meta.map("annotations");
    template_metadata(template, path, options, errors);
    check(spec, None, &path.child("spec"), options, errors);
    annotations::agree(notes, spec, &path.child("spec"), errors);
    if !spec.list("ephemeralContainers").is_empty() {
        let path = path.child("spec").child("ephemeralContainers");
        errors.push(field::forbidden(&path, "ephemeral containers not allowed in pod template"));
    }
}

/// What is wrong with a template's labels and annotations.
pub(crate) fn template_metadata(template: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    let meta = template.map("metadata").unwrap_or(Map::EMPTY);
    let (spec, notes) = (template.map("spec").unwrap_or(Map::EMPTY), meta.map("annotations"));
    crate::rest::metadata::validate_labels(meta.map("labels"), &path.child("labels"), errors);
    crate::rest::metadata::validate_annotations(notes, &path.child("annotations"), errors);
    annotations::check(notes, spec, &path.child("annotations"), options, errors);
}

/// ValidatePodSpec. `pod` is absent for a template.
pub(crate) fn check(spec: &Map, pod: Option<&Map>, path: &Path, options: &Options, errors: &mut Errors) {
    let grace = spec.i64("terminationGracePeriodSeconds");
    if grace.is_none() {
        errors.push(field::required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    let name = pod.map_or("", |pod| pod.name());
    let right = volumes::check(spec, name, &path.child("volumes"), options, errors);
    let claims: BTreeSet<&str> = spec.maps("resourceClaims").map(|claim| claim.str("name")).collect();
    let claims: Vec<&str> = claims.into_iter().filter(|name| !name.is_empty()).collect();
    resource_claims(spec, pod, &path.child("resourceClaims"), errors);
    let around = Around { spec, volumes: &right, claims: &claims, grace, options };
    around.containers(path, errors);
    around.init_containers(path, errors);
    around.ephemeral_containers(path, errors);
    resources::pod(spec, &claims, path, options, errors);
    host_network_ports(spec, path, options, errors);
    common::required_one_of(spec, "restartPolicy", &["Always", "OnFailure", "Never"], path, errors);
    common::required_one_of(spec, "dnsPolicy", &DNS_POLICIES, path, errors);
    crate::rest::metadata::validate_labels(spec.map("nodeSelector"), &path.child("nodeSelector"), errors);
    if let Some(context) = spec.map("securityContext") {
        security::pod(context, spec, &path.child("securityContext"), options, errors);
    }
    if spec.bool("shareProcessNamespace") == Some(true) && spec.bool("hostPID") == Some(true) {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(field::invalid(&path.child("shareProcessNamespace"), true, why));
    }
    if let Some(affinity) = spec.map("affinity") {
        affinity::check(affinity, &path.child("affinity"), options, errors);
    }
    dns::check(spec, &path.child("dnsConfig"), errors);
    gates(spec, path, errors);
    spread::check(spec, &path.child("topologySpreadConstraints"), options, errors);
    windows::host_processes(spec, path, errors);
    host_users(spec, path, options, errors);
    hostname_override(spec, path, errors);
    identity(spec, path, errors);
    rest(spec, path, options, errors);
}

fn resource_claims(spec: &Map, pod: Option<&Map>, path: &Path, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, claim) in spec.maps("resourceClaims").enumerate() {
        if pod.is_some_and(|pod| pod.annotation(annotations::MIRROR).is_some()) {
            errors.push(field::forbidden(&Path::new(super::WHOLE), "static pods do not support resource claims"));
            continue;
        }
        let (path, name) = (path.index(at), claim.str("name"));
        if name.is_empty() {
            errors.push(field::required(&path.child("name"), ""));
        } else if seen.contains(&name) {
            errors.push(field::duplicate(&path.child("name"), name));
        } else {
            common::dns_label(name, &path.child("name"), errors);
            seen.push(name);
        }
        let shown = || Plain(internal::shown(claim, "core.v1.PodResourceClaim"));
        let (one, template) = (claim.contains("resourceClaimName"), claim.contains("resourceClaimTemplateName"));
        if one && template {
            let why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
            errors.push(field::invalid(&path, shown(), why));
        }
        if !one && !template {
            let why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
            errors.push(field::invalid(&path, shown(), why));
        }
        for name in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(text) = claim.get(name).and_then(Value::as_str) {
                common::each(&path.child(name), text, names::name_is_dns_subdomain(text, false), errors);
            }
        }
    }
}

/// On the host's network a container's port is the host's.
fn host_network_ports(spec: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    if spec.bool("hostNetwork") != Some(true) {
        return;
    }
    for (at, container) in spec.maps("containers").enumerate() {
        for (index, port) in container.maps("ports").enumerate() {
            let (host, own) = (port.i64("hostPort").unwrap_or(0), port.i64("containerPort").unwrap_or(0));
            if (options.is_pod || host != 0) && host != own {
                let path = path.child("containers").index(at).child("ports").index(index).child("hostPort");
                errors.push(field::invalid(&path, host, "must match `containerPort` when `hostNetwork` is true"));
            }
        }
    }
}

fn gates(spec: &Map, path: &Path, errors: &mut Errors) {
    for (at, gate) in spec.maps("readinessGates").enumerate() {
        let path = path.child("readinessGates").index(at).child("conditionType");
        common::qualified_name(gate.str("conditionType"), &path, errors);
    }
    let mut seen: Vec<&str> = Vec::new();
    for (at, gate) in spec.maps("schedulingGates").enumerate() {
        let (path, name) = (path.child("schedulingGates").index(at), gate.str("name"));
        common::qualified_name(name, &path, errors);
        if seen.contains(&name) {
            errors.push(field::duplicate(&path, name));
        }
        seen.push(name);
    }
}

fn host_users(spec: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    const WHY: &str = "when `hostUsers` is false";
    if spec.bool("hostUsers") != Some(false) {
        return;
    }
    let own = |name: &str| spec.bool(name) == Some(true);
    if own("hostNetwork") && !options.host_network_in_user_namespace {
        errors.push(field::forbidden(&path.child("hostNetwork"), WHY));
    }
    for (name, at) in [("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if own(name) {
            errors.push(field::forbidden(&path.child(at), WHY));
        }
    }
    if options.devices_in_user_namespace {
        return;
    }
    for (list, at, container) in containers_of(spec) {
        if !container.list("volumeDevices").is_empty() {
            errors.push(field::forbidden(&path.child(list).index(at).child("volumeDevices"), WHY));
        }
    }
}

fn hostname_override(spec: &Map, path: &Path, errors: &mut Errors) {
    let Some(name) = spec.get("hostnameOverride").and_then(Value::as_str) else { return };
    let path = path.child("hostnameOverride");
    for other in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec.bool(other) == Some(true) {
            errors.push(field::forbidden(&path, format!("may not be specified when {other} is true")));
        }
    }
    if name.len() > HOSTNAME_OVERRIDE_BYTES_MAX {
        errors.push(field::too_long(&path, HOSTNAME_OVERRIDE_BYTES_MAX));
    }
    common::dns_subdomain(name, &path, errors);
}

/// Names of other objects.
fn identity(spec: &Map, path: &Path, errors: &mut Errors) {
    let (account, old) = (spec.str("serviceAccountName"), spec.str("serviceAccount"));
    if !account.is_empty() {
        let at = path.child("serviceAccountName");
        common::each(&at, account, names::name_is_dns_subdomain(account, false), errors);
    }
    if old != account {
        let why = format!("must be the same as serviceAccountName: {}", field::go_quote(account));
        errors.push(field::invalid(&path.child("deprecatedServiceAccount"), old, why));
    }
    let node = spec.str("nodeName");
    if !node.is_empty() {
        common::each(&path.child("nodeName"), node, names::name_is_dns_subdomain(node, false), errors);
    }
    if let Some(seconds) = spec.i64("activeDeadlineSeconds") {
        let most = i64::from(i32::MAX);
        if !(1..=most).contains(&seconds) {
            let why = names::inclusive_range_error(1, most);
            errors.push(field::invalid(&path.child("activeDeadlineSeconds"), seconds, why));
        }
    }
    for name in ["hostname", "subdomain"] {
        if !spec.str(name).is_empty() {
            common::dns_label(spec.str(name), &path.child(name), errors);
        }
    }
}

fn rest(spec: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    tolerations::check(spec.maps("tolerations"), &path.child("tolerations"), options, errors);
    dns::host_aliases(spec, &path.child("hostAliases"), errors);
    let class = spec.str("priorityClassName");
    if !class.is_empty() {
        let at = path.child("priorityClassName");
        common::each(&at, class, names::name_is_dns_subdomain(class, false), errors);
    }
    if let Some(class) = spec.get("runtimeClassName").and_then(Value::as_str) {
        let at = path.child("runtimeClassName");
        common::each(&at, class, names::name_is_dns_subdomain(class, false), errors);
    }
    if spec.contains("preemptionPolicy") {
        let policies = ["PreemptLowerPriority", "Never"];
        common::required_one_of(spec, "preemptionPolicy", &policies, path, errors);
    }
    if let Some(overhead) = spec.map("overhead") {
        let limits = api::map! { "limits" => overhead.clone() };
        resources::container(&limits, &[], &path.child("overhead"), options, errors);
    }
    windows::os(spec, path, errors);
    env::files(spec, path, errors);
}
