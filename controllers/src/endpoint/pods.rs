//! What a Service sees of a pod (k8s.io/endpointslice/util/controller_utils.go@v0.37.2).

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::common::pods::{is_ready, is_terminal};
use crate::common::selector::has_all;

/// How a pod's change matters to the Services that select it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Readiness, addresses or life: all its Services.
    Pod,
    /// Labels or host name: the Services that gain or lose it.
    Labels,
    Both,
}

pub(super) fn change(old: Option<&Pod>, new: Option<&Pod>) -> Change {
    let (Some(old), Some(new)) = (old, new) else { return Change::Pod };
    let ips = |pod: &Pod| addresses(pod).collect::<Vec<_>>();
    let pod = old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || is_ready(old) != is_ready(new)
        || is_terminal(old) != is_terminal(new)
        || ips(old) != ips(new);
    let host = |pod: &Pod| pod.spec.as_ref().map(|spec| (spec.hostname.clone(), spec.subdomain.clone()));
    let labels = old.metadata.labels != new.metadata.labels;
    match (pod, labels || host(old) != host(new)) {
        (false, false) => Change::None,
        (true, false) => Change::Pod,
        // A host name shows in the Services that keep the pod.
        (false, true) if !labels => Change::Pod,
        (false, true) => Change::Labels,
        (true, true) => Change::Both,
    }
}

pub(super) fn spec(service: &Service) -> ServiceSpec {
    service.spec.clone().unwrap_or_default()
}

/// A Service without a selector selects nothing.
pub(super) fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| has_all(selector, pod.metadata.labels.as_ref()))
}

/// The pod's addresses in the order the kubelet gave them.
pub(super) fn addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    let ips = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
    ips.filter_map(|ip| ip.ip.parse().ok())
}

/// Pods with an address that have not finished; those being deleted only if asked for.
pub(super) fn belongs(pod: &Pod, include_terminating: bool) -> bool {
    !is_terminal(pod)
        && addresses(pod).next().is_some()
        && (include_terminating || pod.metadata.deletion_timestamp.is_none())
}

/// The host name that DNS gives this pod under the Service.
pub(super) fn hostname<'a>(pod: &'a Pod, service: &Service) -> Option<&'a str> {
    let spec = pod.spec.as_ref()?;
    let name = spec.hostname.as_deref().filter(|name| !name.is_empty())?;
    let here = spec.subdomain == service.metadata.name && pod.metadata.namespace == service.metadata.namespace;
    here.then_some(name)
}

/// The number of the pod's port that a Service port targets.
pub(super) fn find_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match port.target_port.as_ref()? {
        IntOrString::Int(number) => return Some(*number),
        IntOrString::String(name) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(sidecar));
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let found = ports.find(|candidate| candidate.name.as_ref() == Some(name) && candidate.protocol == port.protocol)?;
    Some(found.container_port)
}

pub(super) fn is_headless(spec: &ServiceSpec) -> bool {
    matches!(spec.cluster_ip.as_deref(), None | Some("" | "None"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(text: &str) -> Pod {
        serde_json::from_str(text).expect("pod")
    }

    #[test]
    fn only_changes_that_endpoints_show_matter() {
        let base =
            r#"{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[]},"status":{"podIPs":[{"ip":"10.0.0.1"}]}}"#;
        let table = [
            (base.to_owned(), Change::None),
            (base.replace("10.0.0.1", "10.0.0.2"), Change::Pod),
            (base.replace(r#""status":{"#, r#""status":{"phase":"Failed","#), Change::Pod),
            (base.replace(r#""status":{"#, r#""status":{"message":"m","#), Change::None),
            (base.replace(r#""a":"b""#, r#""a":"c""#), Change::Labels),
            (base.replace(r#""a":"b""#, r#""a":"c""#).replace("10.0.0.1", "10.0.0.2"), Change::Both),
            (base.replace(r#""containers""#, r#""hostname":"h","containers""#), Change::Pod),
        ];
        for (new, expected) in table {
            assert_eq!(change(Some(&pod(base)), Some(&pod(&new))), expected, "{new}");
        }
        assert_eq!(change(None, Some(&pod(base))), Change::Pod);
    }

    #[test]
    fn named_ports_are_found_by_name_and_protocol_also_in_sidecars() {
        let pod = pod(
            r#"{"spec":{"containers":[{"name":"c","ports":[{"name":"http","containerPort":80,"protocol":"TCP"},{"name":"dns","containerPort":53,"protocol":"UDP"}]}],
              "initContainers":[{"name":"s","restartPolicy":"Always","ports":[{"name":"mesh","containerPort":15,"protocol":"TCP"}]},{"name":"i","ports":[{"name":"gone","containerPort":1,"protocol":"TCP"}]}]}}"#,
        );
        for (target, protocol, expected) in [
            (serde_json::json!("http"), "TCP", Some(80)),
            (serde_json::json!("http"), "UDP", None),
            (serde_json::json!("dns"), "UDP", Some(53)),
            (serde_json::json!("mesh"), "TCP", Some(15)),
            (serde_json::json!("gone"), "TCP", None),
            (serde_json::json!(8080), "TCP", Some(8080)),
        ] {
            let port = serde_json::json!({"port": 1, "targetPort": target, "protocol": protocol});
            assert_eq!(find_port(&pod, &serde_json::from_value(port).expect("port")), expected, "{target}");
        }
    }
}
