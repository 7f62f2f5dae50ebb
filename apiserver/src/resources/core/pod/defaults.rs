//! Defaults of a pod's spec, for pods and for the templates of workloads
//! (pkg/apis/core/v1/defaults.go@v1.37.2: SetDefaults_PodSpec, _Pod, _Container, _Probe, _Volume ...).

use api::value::{Map, Value};

/// Mode of files in volumes made from objects, as a number (0644).
const FILE_MODE: i64 = 420;
/// Life of a projected token, in seconds.
const TOKEN_SECONDS: i64 = 3600;

pub(crate) const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

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

fn absent(map: &mut Map, name: &'static str, value: impl Into<Value>) {
    if !map.contains(name) {
        map.set(name, value);
    }
}

pub(crate) fn pod_spec(spec: &mut Map) {
    text(spec, "restartPolicy", "Always");
    text(spec, "dnsPolicy", "ClusterFirst");
    text(spec, "schedulerName", "default-scheduler");
    absent(spec, "terminationGracePeriodSeconds", super::GRACE_SECONDS);
    absent(spec, "securityContext", Map::new());
    let host_network = spec.bool("hostNetwork") == Some(true);
    for list in CONTAINER_LISTS {
        for container in spec.maps_mut(list) {
            self::container(container, host_network);
        }
    }
    for volume in spec.maps_mut("volumes") {
        self::volume(volume);
    }
    // serviceAccount is the old name of serviceAccountName: both say the same.
    let (new, old) = (spec.str("serviceAccountName").to_string(), spec.str("serviceAccount").to_string());
    match (new.is_empty(), old.is_empty()) {
        (false, _) if new != old => spec.set("serviceAccount", new),
        (true, false) => spec.set("serviceAccountName", old),
        _ => {}
    }
    for constraint in spec.maps_mut("topologySpreadConstraints") {
        text(constraint, "nodeAffinityPolicy", "Honor");
        text(constraint, "nodeTaintsPolicy", "Ignore");
        if constraint.str("nodeAffinityPolicy") == "Honor" {
            constraint.remove("nodeAffinityPolicy");
        }
        if constraint.str("nodeTaintsPolicy") == "Ignore" {
            constraint.remove("nodeTaintsPolicy");
        }
    }
}

fn container(container: &mut Map, host_network: bool) {
    let image = container.str("image").to_string();
    text(container, "imagePullPolicy", if is_latest(&image) { "Always" } else { "IfNotPresent" });
    text(container, "terminationMessagePath", "/dev/termination-log");
    text(container, "terminationMessagePolicy", "File");
    for port in container.maps_mut("ports") {
        text(port, "protocol", "TCP");
        if host_network && port.i64("hostPort").unwrap_or(0) == 0 {
            let number = port.i64("containerPort").unwrap_or(0);
            port.set("hostPort", number);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container.map(name).is_some() {
            probe(container.map_mut(name));
        }
    }
    for hook in ["postStart", "preStop"] {
        if container.at(&["lifecycle", hook, "httpGet"]).is_some() {
            http_get(container.map_mut("lifecycle").map_mut(hook).map_mut("httpGet"));
        }
    }
    for variable in container.maps_mut("env") {
        if variable.at(&["valueFrom", "fieldRef"]).is_some() {
            text(variable.map_mut("valueFrom").map_mut("fieldRef"), "apiVersion", "v1");
        }
    }
    requests_from_limits(container);
}

/// No tag and no digest, or the tag `latest`.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn requests_from_limits(container: &mut Map) {
    let Some(limits) = container.at(&["resources", "limits"]).cloned() else { return };
    let requests = container.map_mut("resources").map_mut("requests");
    for (name, value) in limits.iter() {
        if !requests.contains(name) {
            requests.set(name.clone(), value.clone());
        }
    }
    requests.sort();
}

fn probe(probe: &mut Map) {
    number(probe, "timeoutSeconds", 1);
    number(probe, "periodSeconds", 10);
    number(probe, "successThreshold", 1);
    number(probe, "failureThreshold", 3);
    if probe.map("httpGet").is_some() {
        http_get(probe.map_mut("httpGet"));
    }
    if probe.map("grpc").is_some() {
        absent(probe.map_mut("grpc"), "service", "");
    }
}

fn http_get(get: &mut Map) {
    text(get, "path", "/");
    text(get, "scheme", "HTTP");
}

fn volume(volume: &mut Map) {
    let has_source = volume.keys().any(|name| name != "name");
    if !has_source {
        volume.set("emptyDir", Map::new());
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        if volume.map(name).is_some() {
            absent(volume.map_mut(name), "defaultMode", FILE_MODE);
        }
    }
    if volume.map("hostPath").is_some() {
        absent(volume.map_mut("hostPath"), "type", "");
    }
    if volume.map("downwardAPI").is_some() {
        field_refs(volume.map_mut("downwardAPI"));
    }
    if volume.map("projected").is_some() {
        for source in volume.map_mut("projected").maps_mut("sources") {
            if source.map("downwardAPI").is_some() {
                field_refs(source.map_mut("downwardAPI"));
            }
            if source.map("serviceAccountToken").is_some() {
                absent(source.map_mut("serviceAccountToken"), "expirationSeconds", TOKEN_SECONDS);
            }
        }
    }
    if volume.map("iscsi").is_some() {
        text(volume.map_mut("iscsi"), "iscsiInterface", "default");
    }
    if volume.map("image").is_some() {
        let image = volume.map_mut("image");
        let reference = image.str("reference").to_string();
        text(image, "pullPolicy", if is_latest(&reference) { "Always" } else { "IfNotPresent" });
    }
    if volume.map("ephemeral").is_some() {
        let spec = volume.map_mut("ephemeral").map_mut("volumeClaimTemplate").map_mut("spec");
        text(spec, "volumeMode", "Filesystem");
    }
}

fn field_refs(api: &mut Map) {
    for item in api.maps_mut("items") {
        if item.map("fieldRef").is_some() {
            text(item.map_mut("fieldRef"), "apiVersion", "v1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::map;

    #[test]
    fn tags_decide_how_images_are_pulled() {
        for (image, latest) in [
            ("a", true),
            ("a:latest", true),
            ("a:1", false),
            ("host:5000/a", true),
            ("host:5000/a:1", false),
            ("a@sha256:0", false),
        ] {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }

    #[test]
    fn limits_are_requests_unless_they_say_otherwise() {
        let limits = map! { "cpu" => "1", "memory" => "1Gi" };
        let mut container =
            map! { "resources" => map! { "limits" => limits, "requests" => map! { "memory" => "1Mi" } } };
        requests_from_limits(&mut container);
        let expect = map! { "cpu" => "1", "memory" => "1Mi" };
        assert_eq!(container.at(&["resources", "requests"]), Some(&expect));
    }
}
