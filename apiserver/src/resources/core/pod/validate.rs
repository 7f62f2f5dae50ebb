//! What is wrong with a pod's spec, for pods and for the templates of workloads
//! (pkg/apis/core/validation/validation.go@v1.37.2: ValidatePodSpec, validateContainers, validateVolumes ...).

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::quantity::Quantity;
use api::value::{Map, Value};

use super::defaults::CONTAINER_LISTS;

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
/// Bounds of a pod certificate's life, in seconds.
const CERTIFICATE_SECONDS: (i64, i64) = (3600, 7_862_400);
const SYSCTL_BYTES_MAX: usize = 253;

pub(crate) fn pod(object: &Map) -> Errors {
    let mut errors = Errors::new();
    pod_spec(object.map("spec").unwrap_or(Map::EMPTY), &Path::new("spec"), &mut errors);
    errors
}

/// Checks a pod spec at a path (`spec`, or `spec.template.spec`).
pub(crate) fn pod_spec(spec: &Map, path: &Path, errors: &mut Errors) {
    let volumes = volumes(spec, &path.child("volumes"), errors);
    if spec.list("containers").is_empty() {
        errors.push(field::required(&path.child("containers"), ""));
    }
    let mut seen: Vec<&str> = Vec::new();
    for list in CONTAINER_LISTS {
        for (at, container) in spec.maps(list).enumerate() {
            let at = path.child(list).index(at);
            self::container(container, &at, &volumes, errors);
            let name = container.str("name");
            if seen.contains(&name) {
                errors.push(field::duplicate(&at.child("name"), name));
            }
            seen.push(name);
        }
    }
    choice(spec, "restartPolicy", RESTART_POLICIES, path, errors);
    choice(spec, "dnsPolicy", DNS_POLICIES, path, errors);
    numbers(spec, path, errors);
    crate::rest::metadata::validate_labels(spec.map("nodeSelector"), &path.child("nodeSelector"), errors);
    tolerations(spec, &path.child("tolerations"), errors);
    sysctls(spec, &path.child("securityContext").child("sysctls"), errors);
    for (name, at) in [("hostname", "hostname"), ("subdomain", "subdomain")] {
        let text = spec.str(name);
        if !text.is_empty() {
            let wrong = names::is_dns1123_label(text);
            errors.extend(wrong.iter().map(|message| field::invalid(&path.child(at), text, message)));
        }
    }
    for name in ["serviceAccountName", "nodeName", "priorityClassName"] {
        let text = spec.str(name);
        if !text.is_empty() {
            let wrong = names::name_is_dns_subdomain(text, false);
            errors.extend(wrong.iter().map(|message| field::invalid(&path.child(name), text, message)));
        }
    }
}

fn choice(map: &Map, name: &str, valid: &[&str], path: &Path, errors: &mut Errors) {
    match map.str(name) {
        "" => errors.push(field::required(&path.child(name), "")),
        other if !valid.contains(&other) => errors.push(field::not_supported(&path.child(name), other, valid)),
        _ => {}
    }
}

fn numbers(spec: &Map, path: &Path, errors: &mut Errors) {
    if let Some(seconds) =
        spec.i64("activeDeadlineSeconds").filter(|seconds| !(1..=i64::from(i32::MAX)).contains(seconds))
    {
        let wrong = names::is_in_range(seconds, 1, i64::from(i32::MAX));
        errors.extend(wrong.iter().map(|m| field::invalid(&path.child("activeDeadlineSeconds"), seconds, m)));
    }
    if let Some(seconds) = spec.i64("terminationGracePeriodSeconds").filter(|seconds| *seconds < 0) {
        let why = "must be greater than or equal to 0";
        errors.push(field::invalid(&path.child("terminationGracePeriodSeconds"), seconds, why));
    }
}

fn container(container: &Map, path: &Path, volumes: &[&str], errors: &mut Errors) {
    let name = container.str("name");
    if name.is_empty() {
        errors.push(field::required(&path.child("name"), ""));
    } else {
        let wrong = names::is_dns1123_label(name);
        errors.extend(wrong.iter().map(|message| field::invalid(&path.child("name"), name, message)));
    }
    let image = container.str("image");
    if image.is_empty() {
        errors.push(field::required(&path.child("image"), ""));
    } else if image != image.trim() {
        errors.push(field::invalid(&path.child("image"), image, "must not have leading or trailing whitespace"));
    }
    choice(container, "imagePullPolicy", PULL_POLICIES, path, errors);
    ports(container, &path.child("ports"), errors);
    env(container, &path.child("env"), errors);
    mounts(container, &path.child("volumeMounts"), volumes, errors);
    resources(container.map("resources").unwrap_or(Map::EMPTY), &path.child("resources"), errors);
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(map) = container.map(probe) {
            self::probe(map, probe, &path.child(probe), errors);
        }
    }
}

fn ports(container: &Map, path: &Path, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, port) in container.maps("ports").enumerate() {
        let at = path.index(at);
        let name = port.str("name");
        if !name.is_empty() {
            let wrong = names::is_valid_port_name(name);
            errors.extend(wrong.iter().map(|message| field::invalid(&at.child("name"), name, message)));
            if seen.contains(&name) {
                errors.push(field::duplicate(&at.child("name"), name));
            }
            seen.push(name);
        }
        match port.i64("containerPort").unwrap_or(0) {
            0 => errors.push(field::required(&at.child("containerPort"), "")),
            number => {
                let wrong = names::is_valid_port_num(number);
                errors.extend(wrong.iter().map(|m| field::invalid(&at.child("containerPort"), number, m)));
            }
        }
        if let Some(number) = port.i64("hostPort").filter(|number| *number != 0) {
            let wrong = names::is_valid_port_num(number);
            errors.extend(wrong.iter().map(|m| field::invalid(&at.child("hostPort"), number, m)));
        }
        choice(port, "protocol", PROTOCOLS, &at, errors);
    }
}

fn env(container: &Map, path: &Path, errors: &mut Errors) {
    for (at, variable) in container.maps("env").enumerate() {
        let at = path.index(at);
        let name = variable.str("name");
        if name.is_empty() {
            errors.push(field::required(&at.child("name"), ""));
        } else {
            let wrong = names::is_relaxed_env_var_name(name);
            errors.extend(wrong.iter().map(|message| field::invalid(&at.child("name"), name, message)));
        }
        let Some(from) = variable.map("valueFrom") else { continue };
        let from_path = at.child("valueFrom");
        if !variable.str("value").is_empty() {
            errors.push(field::invalid(&from_path, "", "may not be specified when `value` is not empty"));
        }
        match from.len() {
            0 => errors.push(field::invalid(
                &from_path,
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            )),
            1 => {}
            _ => errors.push(field::invalid(&from_path, "", "may not have more than one field specified at a time")),
        }
    }
}

fn mounts(container: &Map, path: &Path, volumes: &[&str], errors: &mut Errors) {
    let mut paths: Vec<&str> = Vec::new();
    for (at, mount) in container.maps("volumeMounts").enumerate() {
        let at = path.index(at);
        let name = mount.str("name");
        if name.is_empty() {
            errors.push(field::required(&at.child("name"), ""));
        }
        if !volumes.contains(&name) {
            errors.push(field::not_found(&at.child("name"), name));
        }
        let mount_path = mount.str("mountPath");
        if mount_path.is_empty() {
            errors.push(field::required(&at.child("mountPath"), ""));
        }
        if paths.contains(&mount_path) {
            errors.push(field::invalid(&at.child("mountPath"), mount_path, "must be unique"));
        }
        paths.push(mount_path);
        let (sub, expression) = (mount.str("subPath"), mount.str("subPathExpr"));
        if !sub.is_empty() && !expression.is_empty() {
            errors.push(field::invalid(
                &at.child("subPathExpr"),
                expression,
                "subPathExpr and subPath are mutually exclusive",
            ));
        }
        for (name, text) in [("subPath", sub), ("subPathExpr", expression)] {
            local_path(text, &at.child(name), errors);
        }
    }
}

/// A path below something: neither absolute nor leaving it.
fn local_path(text: &str, path: &Path, errors: &mut Errors) {
    if text.starts_with('/') {
        errors.push(field::invalid(path, text, "must be a relative path"));
    }
    if text.split('/').any(|part| part == "..") {
        errors.push(field::invalid(path, text, "must not contain '..'"));
    }
}

fn resources(resources: &Map, path: &Path, errors: &mut Errors) {
    let parse = |value: &Value| value.as_str().and_then(|text| Quantity::parse(text).ok());
    for part in ["limits", "requests"] {
        for (name, value) in resources.map(part).into_iter().flat_map(Map::iter) {
            let at = path.child(part).key(name);
            errors.extend(
                names::is_qualified_name(name).iter().map(|m| field::invalid(&path.child(part), name.as_str(), m)),
            );
            if parse(value).is_some_and(|quantity| quantity.sign() < 0) {
                errors.push(field::invalid(&at, value.clone(), "must be greater than or equal to 0"));
            }
        }
    }
    let (limits, requests) = (resources.map("limits"), resources.map("requests"));
    for (name, request) in requests.into_iter().flat_map(Map::iter) {
        let Some(limit) = limits.and_then(|limits| limits.get(name)) else { continue };
        if let (Some(r), Some(l)) = (parse(request), parse(limit))
            && r > l
        {
            let limit = limit.as_str().unwrap_or("");
            let why = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(field::invalid(&path.child("requests"), request.clone(), why));
        }
    }
}

fn probe(probe: &Map, name: &str, path: &Path, errors: &mut Errors) {
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
    match handlers.iter().filter(|handler| probe.contains(handler)).count() {
        0 => errors.push(field::required(path, "must specify a handler type")),
        1 => {}
        _ => errors.push(field::forbidden(path, "may not specify more than 1 handler type")),
    }
    for number in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        if let Some(value) = probe.i64(number).filter(|value| *value < 0) {
            errors.push(field::invalid(&path.child(number), value, "must be greater than or equal to 0"));
        }
    }
    if let Some(value) = probe.i64("successThreshold").filter(|value| *value != 1 && name != "readinessProbe") {
        errors.push(field::invalid(&path.child("successThreshold"), value, "must be 1"));
    }
}

/// Checks the volumes; gives their names.
fn volumes<'a>(spec: &'a Map, path: &Path, errors: &mut Errors) -> Vec<&'a str> {
    let mut all: Vec<&str> = Vec::new();
    for (at, volume) in spec.maps("volumes").enumerate() {
        let at = path.index(at);
        let name = volume.str("name");
        if name.is_empty() {
            errors.push(field::required(&at.child("name"), ""));
        } else {
            let wrong = names::is_dns1123_label(name);
            errors.extend(wrong.iter().map(|message| field::invalid(&at.child("name"), name, message)));
        }
        if all.contains(&name) {
            errors.push(field::duplicate(&at.child("name"), name));
        }
        all.push(name);
        let sources: Vec<_> = volume.keys().filter(|key| *key != "name").collect();
        match sources.as_slice() {
            [] => errors.push(field::required(&at, "must specify a volume type")),
            [_] => {}
            [_, second, ..] => {
                errors.push(field::forbidden(&at.child(second), "may not specify more than 1 volume type"));
            }
        }
        projected(volume, &at.child("projected").child("sources"), errors);
    }
    all
}

fn projected(volume: &Map, path: &Path, errors: &mut Errors) {
    for (at, source) in volume.map("projected").into_iter().flat_map(|projected| projected.maps("sources")).enumerate()
    {
        let at = path.index(at);
        if let Some(seconds) = source.map("serviceAccountToken").and_then(|token| token.i64("expirationSeconds")) {
            let token = at.child("serviceAccountToken").child("expirationSeconds");
            if seconds < 600 {
                errors.push(field::invalid(&token, seconds, "may not specify a duration less than 10 minutes"));
            } else if seconds > 1 << 32 {
                errors.push(field::invalid(&token, seconds, "may not specify a duration larger than 2^32 seconds"));
            }
        }
        if let Some(seconds) =
            source.map("podCertificate").and_then(|certificate| certificate.i64("maxExpirationSeconds"))
        {
            let path = at.child("podCertificate").child("maxExpirationSeconds");
            if seconds < CERTIFICATE_SECONDS.0 {
                errors.push(field::invalid(
                    &path,
                    seconds,
                    format!("if provided, maxExpirationSeconds must be >= {}", CERTIFICATE_SECONDS.0),
                ));
            } else if seconds > CERTIFICATE_SECONDS.1 {
                errors.push(field::invalid(
                    &path,
                    seconds,
                    format!("if provided, maxExpirationSeconds must be <= {}", CERTIFICATE_SECONDS.1),
                ));
            }
        }
    }
}

fn tolerations(spec: &Map, path: &Path, errors: &mut Errors) {
    for (at, toleration) in spec.maps("tolerations").enumerate() {
        let at = path.index(at);
        let (key, operator) = (toleration.str("key"), toleration.str("operator"));
        if !key.is_empty() {
            let wrong = names::is_qualified_name(key);
            errors.extend(wrong.iter().map(|message| field::invalid(&at.child("key"), key, message)));
        } else if operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(field::invalid(&at.child("operator"), operator, why));
        }
        if toleration.contains("tolerationSeconds") && toleration.str("effect") != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(field::invalid(&at.child("effect"), toleration.str("effect"), why));
        }
        match (operator, toleration.str("value")) {
            ("Equal" | "" | "Lt" | "Gt", _) | ("Exists", "") => {}
            ("Exists", _) => {
                let shown = Value::Map(toleration.clone());
                errors.push(field::invalid(
                    &at.child("operator"),
                    shown,
                    "value must be empty when `operator` is 'Exists'",
                ));
            }
            (other, _) => errors.push(field::not_supported(&at.child("operator"), other, &["Equal", "Exists"])),
        }
    }
}

/// validateSysctls: a name is lower-case segments joined by dots or slashes.
fn sysctls(spec: &Map, path: &Path, errors: &mut Errors) {
    let segment = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    let fits = |name: &str| {
        let parts: Vec<&str> = name.split(['.', '/']).collect();
        parts.iter().all(|part| {
            let inner = part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
            let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            inner && ends(part.bytes().next()) && ends(part.bytes().last())
        })
    };
    let mut seen: Vec<&str> = Vec::new();
    for (at, sysctl) in spec.map("securityContext").into_iter().flat_map(|context| context.maps("sysctls")).enumerate()
    {
        let at = path.index(at).child("name");
        let name = sysctl.str("name");
        if name.is_empty() {
            errors.push(field::required(&at, ""));
        } else if name.len() > SYSCTL_BYTES_MAX || !fits(name) {
            let why = format!(
                "must have at most {SYSCTL_BYTES_MAX} characters and match regex ^({segment}[\\./])*{segment}$"
            );
            errors.push(field::invalid(&at, name, why));
        } else if seen.contains(&name) {
            errors.push(field::duplicate(&at, name));
        }
        seen.push(name);
    }
}

/// Labels of a template must fit the selector of its owner.
pub(crate) fn template_labels(template: &Map) -> &Map {
    template.meta().map("labels").unwrap_or(Map::EMPTY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::json::{Strictness, decode};

    fn check(spec: &str, expect: &[&str]) {
        let ty = api::facts::kind("", "v1", "Pod").expect("Pod");
        let text = format!(r#"{{"metadata":{{"name":"a"}},"spec":{spec}}}"#);
        let mut object = decode(text.as_bytes(), ty, Strictness::Strict).expect("JSON").value;
        super::super::defaults::pod_spec(object.map_mut("spec"));
        let got: Vec<String> = pod(&object).iter().map(ToString::to_string).collect();
        assert_eq!(got, expect, "{spec}");
    }

    #[test]
    fn specs() {
        check(r#"{"containers":[{"name":"a","image":"i"}]}"#, &[]);
        check(r#"{"containers":[]}"#, &["spec.containers: Required value"]);
        check(r#"{"containers":[{"image":"i"}]}"#, &["spec.containers[0].name: Required value"]);
        check(
            r#"{"containers":[{"name":"a","image":"i"},{"name":"a","image":"i"}]}"#,
            &[r#"spec.containers[1].name: Duplicate value: "a""#],
        );
        check(
            r#"{"containers":[{"name":"a","image":"i","volumeMounts":[{"name":"v","mountPath":"/v"}]}]}"#,
            &[r#"spec.containers[0].volumeMounts[0].name: Not found: "v""#],
        );
        check(
            r#"{"restartPolicy":"Sometimes","containers":[{"name":"a","image":"i"}]}"#,
            &[
                r#"spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never""#,
            ],
        );
        check(
            r#"{"containers":[{"name":"a","image":"i","resources":{"limits":{"cpu":"1"},"requests":{"cpu":"2"}}}]}"#,
            &[
                r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#,
            ],
        );
        check(
            r#"{"securityContext":{"sysctls":[{"name":"foo-","value":"1"}]},"containers":[{"name":"a","image":"i"}]}"#,
            &[
                r#"spec.securityContext.sysctls[0].name: Invalid value: "foo-": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"#,
            ],
        );
    }
}
