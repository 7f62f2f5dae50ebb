//! The downward API: fields and resources of a pod as text
//! (pkg/fieldpath/fieldpath.go, pkg/api/v1/resource/helpers.go@v1.37.2).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::pod::shape;
use crate::resources::{self, List};

/// What the spec does not tell.
pub(crate) struct Runtime<'a> {
    pub(crate) pod_ips: &'a [String],
    pub(crate) host_ips: &'a [String],
    pub(crate) allocatable: &'a List,
}

/// The value at a path such as `metadata.labels['app']`.
pub(crate) fn field(pod: &Pod, path: &str, runtime: &Runtime<'_>) -> Result<String, String> {
    let spec = shape::spec(pod);
    let first = |ips: &[String]| ips.first().cloned().unwrap_or_default();
    let of = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default()
    };
    if let Some((path, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        return match path {
            "metadata.annotations" => Ok(of(&pod.metadata.annotations, key)),
            "metadata.labels" => Ok(of(&pod.metadata.labels, key)),
            _ => Err(format!("fieldPath {path:?} does not support subscript")),
        };
    }
    Ok(match path {
        "metadata.name" => shape::name(pod).into(),
        "metadata.namespace" => shape::namespace(pod).into(),
        "metadata.uid" => shape::uid(pod).into(),
        "metadata.annotations" => format_map(pod.metadata.annotations.as_ref()),
        "metadata.labels" => format_map(pod.metadata.labels.as_ref()),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => first(runtime.host_ips),
        "status.hostIPs" => runtime.host_ips.join(","),
        "status.podIP" => first(runtime.pod_ips),
        "status.podIPs" => runtime.pod_ips.join(","),
        other => return Err(format!("unsupported fieldPath: {other}")),
    })
}

/// Lines of `key="value"`, by key.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", go_quote(value))).collect();
    lines.join("\n")
}

/// As Go's %q.
fn go_quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0b' => quoted.push_str("\\v"),
            '\x0c' => quoted.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\x7f' => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A container's request or limit in units of the divisor, rounded up; an unset limit is what the
/// node has.
pub(crate) fn resource(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    allocatable: &List,
) -> Result<String, String> {
    let name = selector.container_name.as_deref().unwrap_or("");
    let container = match own.filter(|_| name.is_empty()) {
        Some(container) => container.clone(),
        None => shape::container(pod, name).ok_or_else(|| format!("container {name} not found"))?,
    };
    let path = &selector.resource;
    let (kind, resource) = path.split_once('.').ok_or_else(|| format!("unsupported container resource : {path}"))?;
    let resources = container.resources.unwrap_or_default();
    let get = |list: &Option<List>| list.as_ref().and_then(|list| list.get(resource)).cloned();
    let zero = || Quantity("0".into());
    let fallback = || allocatable.get(resource).cloned().unwrap_or_else(zero);
    let quantity = match kind {
        "limits" => get(&resources.limits).filter(|q| resources::milli(q) > 0).unwrap_or_else(fallback),
        "requests" => get(&resources.requests).unwrap_or_else(zero),
        _ => return Err(format!("unsupported container resource : {path}")),
    };
    let divisor = selector.divisor.as_ref().map(resources::milli).filter(|milli| *milli > 0).unwrap_or(1000);
    let milli = resources::milli(&quantity);
    Ok((milli.div_euclid(divisor) + i128::from(milli.rem_euclid(divisor) != 0)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{pod, yaml};

    #[test]
    fn fields() {
        let mut pod = pod("{nodeName: n, serviceAccountName: sa, containers: [{name: a}]}");
        pod.metadata.labels = Some([("b".to_owned(), "2\n\"x\"".to_owned()), ("a".to_owned(), "1".to_owned())].into());
        let ips = ["10.0.0.1".to_owned(), "fd00::1".to_owned()];
        let runtime = Runtime { pod_ips: &ips, host_ips: &ips[..1], allocatable: &List::new() };
        for (path, expect) in [
            ("metadata.name", "p"),
            ("metadata.labels['a']", "1"),
            ("metadata.annotations['a']", ""),
            ("metadata.labels", "a=\"1\"\nb=\"2\\n\\\"x\\\"\""),
            ("spec.nodeName", "n"),
            ("status.podIPs", "10.0.0.1,fd00::1"),
            ("status.hostIP", "10.0.0.1"),
        ] {
            assert_eq!(field(&pod, path, &runtime).as_deref(), Ok(expect), "{path}");
        }
        assert!(field(&pod, "spec.x", &runtime).is_err());
    }

    #[test]
    fn resources() {
        let pod = pod("{containers: [{name: a, resources: {limits: {cpu: 1500m}, requests: {memory: 1Mi}}}]}");
        let own = &shape::spec(&pod).containers[0];
        let allocatable: List = [("memory".to_owned(), Quantity("2Gi".into()))].into();
        for (selector, expect) in [
            ("{resource: limits.cpu}", "2"),
            ("{resource: limits.cpu, divisor: 1m}", "1500"),
            ("{resource: requests.memory}", "1048576"),
            ("{resource: limits.memory, divisor: 1Mi}", "2048"),
            ("{resource: requests.cpu, containerName: a}", "0"),
        ] {
            let found = resource(&pod, Some(own), &yaml(selector), &allocatable);
            assert_eq!(found.as_deref(), Ok(expect), "{selector}");
        }
    }
}
