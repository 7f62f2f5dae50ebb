//! Defaults of a pod's spec, for pods and for the templates of workloads
//! (pkg/apis/core/v1/defaults.go, zz_generated.defaults.go@v1.37.2).
//!
//! Invariant: what only pods get (requests from limits, host ports, service links) is not put into templates.

use api::value::{Map, Value};

use super::{CONTAINER_LISTS, image, resources};

/// Mode of files in volumes made from objects (0644).
const FILE_MODE: i64 = 0o644;
/// Life of a projected token, in seconds.
const TOKEN_SECONDS: i64 = 3600;

/// Sets a text that is absent or empty.
pub(crate) fn text(map: &mut Map, name: &'static str, value: &str) {
    if map.str(name).is_empty() {
        map.set(name, value);
    }
}

/// Sets a number that is absent or, as Go cannot tell them apart, zero.
fn number(map: &mut Map, name: &'static str, value: i64) {
    if map.i64(name).unwrap_or(0) == 0 {
        map.set(name, value);
    }
}

/// Sets what is absent.
pub(crate) fn absent(map: &mut Map, name: &'static str, value: impl Into<Value>) {
    if map.get(name).is_none_or(Value::is_null) {
        map.set(name, value);
    }
}

/// The map at a path of names, if it is there.
fn inside<'a>(map: &'a mut Map, path: &[&str]) -> Option<&'a mut Map> {
    path.iter().try_fold(map, |map, name| map.get_mut(name).and_then(Value::as_map_mut))
}

/// SetDefaults_Pod and SetDefaults_PodStatus: what templates do not get.
pub(super) fn pod(object: &mut Map) {
    let spec = object.map_mut("spec");
    pod_spec(spec);
    if spec.i64("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        spec.set("terminationGracePeriodSeconds", 1i64);
    }
    let host_network = spec.bool("hostNetwork") == Some(true);
    for list in ["containers", "initContainers"] {
        for container in spec.maps_mut(list) {
            requests_from_limits(container);
            for port in container.maps_mut("ports").filter(|_| host_network) {
                let own = port.i64("containerPort").unwrap_or(0);
                number(port, "hostPort", own);
            }
        }
    }
    absent(spec, "enableServiceLinks", true);
    if let Some(status) = inside(object, &["status"]) {
        addresses(status);
        for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
            for container in status.maps_mut(list) {
                resources::round_up_at(container, &["allocatedResources"]);
                resource_lists(container);
            }
        }
        resources::round_up_at(status, &["allocatedResources"]);
        resource_lists(status);
    }
}

/// `podIP` and the first of `podIPs` are the same; the old field wins.
fn addresses(status: &mut Map) {
    let ip = status.str("podIP").to_string();
    let first = status.maps("podIPs").next().map(|first| first.str("ip").to_string());
    match (ip.is_empty(), first) {
        (true, Some(first)) => status.set("podIP", first),
        (false, first) if first.as_deref() != Some(ip.as_str()) => {
            status.set("podIPs", vec![Value::Map(api::map! { "ip" => ip })]);
        }
        _ => {}
    }
}

fn requests_from_limits(container: &mut Map) {
    let limits = container.map("resources").and_then(|resources| resources.map("limits")).cloned();
    let Some(limits) = limits else { return };
    let requests = container.map_mut("resources").map_mut("requests");
    for (name, value) in limits.iter() {
        if !requests.contains(name) {
            requests.set(name.clone(), value.clone());
        }
    }
    requests.sort();
}

/// SetDefaults_PodSpec and the defaults of everything in it.
pub(crate) fn pod_spec(spec: &mut Map) {
    let account = match spec.str("serviceAccountName") {
        "" => spec.str("serviceAccount").to_string(),
        name => name.to_string(),
    };
    if !account.is_empty() {
        spec.set("serviceAccountName", account.as_str());
        spec.set("serviceAccount", account);
    }
    text(spec, "dnsPolicy", "ClusterFirst");
    text(spec, "restartPolicy", "Always");
    absent(spec, "securityContext", Map::new());
    absent(spec, "terminationGracePeriodSeconds", super::GRACE_SECONDS);
    text(spec, "schedulerName", "default-scheduler");
    for list in CONTAINER_LISTS {
        spec.maps_mut(list).for_each(container);
    }
    spec.maps_mut("volumes").for_each(volume);
    if let Some(overhead) = inside(spec, &["overhead"]) {
        resources::round_up(overhead);
    }
    resource_lists(spec);
}

fn resource_lists(holder: &mut Map) {
    for part in ["limits", "requests"] {
        if let Some(list) = inside(holder, &["resources", part]) {
            resources::round_up(list);
        }
    }
}

fn container(container: &mut Map) {
    let latest = image::is_latest(container.str("image"));
    text(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    text(container, "terminationMessagePath", "/dev/termination-log");
    text(container, "terminationMessagePolicy", "File");
    resource_lists(container);
    for variable in container.maps_mut("env") {
        if let Some(reference) = inside(variable, &["valueFrom", "fieldRef"]) {
            text(reference, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(map) = inside(container, &[name]) {
            probe(map);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(get) = inside(container, &["lifecycle", hook, "httpGet"]) {
            http_get(get);
        }
    }
}

fn probe(probe: &mut Map) {
    number(probe, "timeoutSeconds", 1);
    number(probe, "periodSeconds", 10);
    number(probe, "successThreshold", 1);
    number(probe, "failureThreshold", 3);
    if let Some(get) = inside(probe, &["httpGet"]) {
        http_get(get);
    }
    if let Some(grpc) = inside(probe, &["grpc"]) {
        absent(grpc, "service", "");
    }
}

fn http_get(get: &mut Map) {
    text(get, "path", "/");
    text(get, "scheme", "HTTP");
}

fn volume(volume: &mut Map) {
    if volume.keys().all(|name| name == "name") {
        volume.set("emptyDir", Map::new());
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = inside(volume, &[name]) {
            absent(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(source) = inside(volume, &["hostPath"]) {
        absent(source, "type", "");
    }
    if let Some(source) = inside(volume, &["downwardAPI"]) {
        field_refs(source);
    }
    if let Some(projected) = inside(volume, &["projected"]) {
        for source in projected.maps_mut("sources") {
            if let Some(fields) = inside(source, &["downwardAPI"]) {
                field_refs(fields);
            }
            if let Some(token) = inside(source, &["serviceAccountToken"]) {
                absent(token, "expirationSeconds", TOKEN_SECONDS);
            }
        }
    }
    if let Some(source) = inside(volume, &["image"]) {
        let latest = image::is_latest(source.str("reference"));
        text(source, "pullPolicy", if latest { "Always" } else { "IfNotPresent" });
    }
    if let Some(template) = inside(volume, &["ephemeral", "volumeClaimTemplate"]) {
        claim_spec(template.map_mut("spec"));
    }
}

/// SetDefaults_PersistentVolumeClaimSpec.
pub(crate) fn claim_spec(spec: &mut Map) {
    absent(spec, "volumeMode", "Filesystem");
    resource_lists(spec);
}

fn field_refs(fields: &mut Map) {
    for item in fields.maps_mut("items") {
        if let Some(reference) = inside(item, &["fieldRef"]) {
            text(reference, "apiVersion", "v1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::map;

    #[test]
    fn limits_are_requests_unless_they_say_otherwise() {
        let limits = map! { "cpu" => "1", "memory" => "1Gi" };
        let mut container =
            map! { "resources" => map! { "limits" => limits, "requests" => map! { "memory" => "1Mi" } } };
        requests_from_limits(&mut container);
        let expect = map! { "cpu" => "1", "memory" => "1Mi" };
        assert_eq!(container.at(&["resources", "requests"]), Some(&expect));
    }

    #[test]
    fn a_grpc_probe_asks_for_a_service() {
        for (mut grpc, service) in [
            (map! { "port" => 7i64 }, ""),
            (map! { "port" => 7i64, "service" => Value::Null }, ""),
            (map! { "port" => 7i64, "service" => "s" }, "s"),
        ] {
            let mut whole = map! { "grpc" => std::mem::take(&mut grpc) };
            probe(&mut whole);
            let found = whole.map("grpc").and_then(|grpc| grpc.get("service")).and_then(Value::as_str);
            assert_eq!(found, Some(service));
        }
    }

    #[test]
    fn both_forms_of_an_address_agree() {
        for (mut status, ip, ips) in [
            (map! { "podIP" => "1.2.3.4" }, "1.2.3.4", "1.2.3.4"),
            (map! { "podIPs" => vec![Value::Map(map! { "ip" => "1.1.1.1" })] }, "1.1.1.1", "1.1.1.1"),
            (
                map! { "podIP" => "2.2.2.2", "podIPs" => vec![Value::Map(map! { "ip" => "1.1.1.1" })] },
                "2.2.2.2",
                "2.2.2.2",
            ),
        ] {
            addresses(&mut status);
            assert_eq!(status.str("podIP"), ip);
            assert_eq!(status.maps("podIPs").next().map(|first| first.str("ip")), Some(ips));
        }
    }
}
