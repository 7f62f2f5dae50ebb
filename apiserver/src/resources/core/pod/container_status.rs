//! The statuses of containers: which states may follow another, and what they may say of users and devices
//! (pkg/apis/core/validation/validation.go@v1.37.2: ValidateContainerStateTransition,
//! validateContainerStatusUsers, validateContainerStatusAllocatedResourcesStatus; pkg/api/v1/pod/util.go:
//! ContainerShouldRestart).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

/// A message about a device's health, in bytes.
const HEALTH_MESSAGE_BYTES_MAX: usize = 1024;
const HEALTHS: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];
const LISTS: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

/// What has ended stays ended unless it is to be restarted.
pub(super) fn transitions(status: &Map, was: &Map, spec: &Map, path: &Path, errors: &mut Errors) {
    let all_may = all_may_restart(spec);
    for (list, containers) in LISTS {
        let ephemeral = list == "ephemeralContainerStatuses";
        if all_may && !ephemeral {
            continue;
        }
        for (at, old) in was.maps(list).enumerate() {
            let Some(ended) = old.at(&["state", "terminated"]) else { continue };
            let name = old.str("name");
            let Some(new) = status.maps(list).find(|new| new.str("name") == name) else { continue };
            if new.at(&["state", "terminated"]).is_some() {
                continue;
            }
            let code = ended.i64("exitCode").unwrap_or(0);
            let container = spec.maps(containers).find(|container| container.str("name") == name);
            if ephemeral || !container.is_some_and(|container| restarts(container, spec, code)) {
                let path = path.child(list).index(at).child("state");
                errors.push(field::forbidden(&path, "may not be transitioned to non-terminated state"));
            }
        }
    }
}

fn all_may_restart(spec: &Map) -> bool {
    let containers = spec.maps("initContainers").chain(spec.maps("containers"));
    containers.flat_map(|c| c.maps("restartPolicyRules")).any(|rule| rule.str("action") == "RestartAllContainers")
}

fn restarts(container: &Map, spec: &Map, code: i64) -> bool {
    let own = container.get("restartPolicy").and_then(Value::as_str);
    let rule = container.maps("restartPolicyRules").find(|rule| applies(rule, code));
    if own.is_some() && rule.is_some_and(|rule| matches!(rule.str("action"), "Restart" | "RestartAllContainers")) {
        return true;
    }
    match own.unwrap_or(spec.str("restartPolicy")) {
        "OnFailure" => code != 0,
        "Never" => false,
        _ => true,
    }
}

fn applies(rule: &Map, code: i64) -> bool {
    rule.map("exitCodes").is_some_and(|codes| {
        let listed = codes.list("values").iter().any(|value| value.as_i64() == Some(code));
        match codes.str("operator") {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    })
}

pub(super) fn check(status: &Map, spec: &Map, path: &Path, errors: &mut Errors) {
    let os = spec.map("os").map_or("linux", |os| os.str("name"));
    for (list, containers) in LISTS {
        for (at, container) in status.maps(list).enumerate() {
            let path = path.child(list).index(at);
            if let Some(user) = container.at(&["user", "linux"]) {
                self::user(user, os, &path.child("user").child("linux"), errors);
            }
            if list == "ephemeralContainerStatuses" {
                if !container.list("allocatedResourcesStatus").is_empty() {
                    let why = "must not be specified in container status";
                    errors.push(field::forbidden(&path.child("allocatedResourcesStatus"), why));
                }
                continue;
            }
            let found = spec.maps(containers).find(|other| other.str("name") == container.str("name"));
            for (index, resource) in container.maps("allocatedResourcesStatus").enumerate() {
                let path = path.child("allocatedResourcesStatus").index(index);
                allocated(resource, found, status, &path, errors);
            }
        }
    }
}

fn user(user: &Map, os: &str, path: &Path, errors: &mut Errors) {
    match os {
        "windows" => return errors.push(field::forbidden(path, "cannot be set for a windows pod")),
        "linux" => {}
        _ => return,
    }
    let most = i64::from(u32::MAX);
    let uid = user.i64("uid").unwrap_or(0);
    if !(0..=most).contains(&uid) {
        errors.push(field::invalid(&path.child("uid"), uid, names::inclusive_range_error(0, most)));
    }
    let mut group = |gid: i64, path: &Path| {
        errors.extend(names::is_valid_group_id(gid).iter().map(|why| field::invalid(path, gid, why)));
    };
    group(user.i64("gid").unwrap_or(0), &path.child("gid"));
    for (at, gid) in user.list("supplementalGroups").iter().filter_map(Value::as_i64).enumerate() {
        group(gid, &path.child("supplementalGroups").index(at));
    }
}

fn allocated(resource: &Map, container: Option<&Map>, status: &Map, path: &Path, errors: &mut Errors) {
    let name = resource.str("name");
    if let Some(container) = container {
        let (known, why) = match name.strip_prefix("claim:") {
            Some(claim) => (
                is_claim(claim, container) || is_extended_claim(claim, container, status),
                "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty",
            ),
            None => (
                container.at(&["resources", "requests"]).is_some_and(|requests| requests.contains(name)),
                "must match one of the container's resource requests",
            ),
        };
        if !known {
            errors.push(field::invalid(&path.child("name"), name, why));
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for (at, device) in resource.maps("resources").enumerate() {
        let path = path.child("resources").index(at);
        let (health, id) = (device.str("health"), device.str("resourceID"));
        if !HEALTHS.contains(&health) {
            errors.push(field::not_supported(&path.child("health"), health, &HEALTHS));
        }
        match device.get("message").and_then(Value::as_str) {
            Some("") => errors.push(field::required(&path.child("message"), "must be non-empty if specified")),
            Some(text) if text.len() > HEALTH_MESSAGE_BYTES_MAX => {
                errors.push(field::too_long(&path.child("message"), HEALTH_MESSAGE_BYTES_MAX));
            }
            _ => {}
        }
        if seen.contains(&id) {
            errors.push(field::duplicate(&path.child("resourceID"), id));
        }
        seen.push(id);
    }
}

/// `claim` or `claim/request`.
fn is_claim(text: &str, container: &Map) -> bool {
    let claims = container.map("resources").into_iter().flat_map(|resources| resources.maps("claims"));
    claims.map(|claim| (claim.str("name"), claim.str("request"))).any(|(name, request)| match request {
        "" => text == name,
        request => text.split_once('/') == Some((name, request)),
    })
}

fn is_extended_claim(text: &str, container: &Map, status: &Map) -> bool {
    let Some(claim) = status.map("extendedResourceClaimStatus") else { return false };
    let Some((name, request)) = text.split_once('/').filter(|(_, request)| !request.is_empty()) else { return false };
    name == claim.str("resourceClaimName")
        && claim.maps("requestMappings").any(|mapping| {
            let resource = mapping.str("resourceName");
            let amount = container.value_at(&["resources", "requests", resource]);
            mapping.str("containerName") == container.str("name")
                && mapping.str("requestName") == request
                && amount.and_then(crate::resources::common::quantity).is_some_and(|amount| !amount.is_zero())
        })
}
