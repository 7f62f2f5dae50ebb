//! The environment of a container: services, envFrom, env, and `$(VAR)` in values, commands and
//! arguments (pkg/kubelet/kubelet_pods.go@v1.37.2, makeEnvironmentVariables; envvars/envvars.go;
//! k8s.io/kubernetes/third_party/forked/golang/expansion).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod, Service};

use crate::fields::{self, Runtime};
use crate::objects::{Missing, Objects};
use crate::pod::shape;

pub(crate) type Env = BTreeMap<String, String>;

/// Replaces `$(NAME)` where `lookup` knows the name; `$$` is a `$`.
pub(crate) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            out.push_str(&lookup(name).unwrap_or_else(|| format!("$({name})")));
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// The variables that tell a pod of the services of its namespace, and of `default/kubernetes`.
pub(crate) fn of_services(services: &[Arc<Service>], namespace: &str, links: bool) -> Env {
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services.iter().filter(|service| has_cluster_ip(service)) {
        let name = service.metadata.name.as_deref().unwrap_or("");
        let of = service.metadata.namespace.as_deref().unwrap_or("");
        if of == namespace && links {
            chosen.insert(name, service);
        } else if of == "default" && name == "kubernetes" {
            chosen.entry(name).or_insert(service);
        }
    }
    chosen.into_values().flat_map(of_service).collect()
}

fn cluster_ip(service: &Service) -> &str {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or("")
}

fn has_cluster_ip(service: &Service) -> bool {
    !matches!(cluster_ip(service), "" | "None")
}

fn of_service(service: &Service) -> Vec<(String, String)> {
    let upper = |text: &str| text.to_uppercase().replace('-', "_");
    let prefix = upper(service.metadata.name.as_deref().unwrap_or(""));
    let ip = cluster_ip(service).to_owned();
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
    let ports: Vec<_> = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()).collect();
    let mut vars = vec![(format!("{prefix}_SERVICE_HOST"), ip.clone())];
    for (index, port) in ports.iter().enumerate() {
        let number = port.port.to_string();
        if index == 0 {
            vars.push((format!("{prefix}_SERVICE_PORT"), number.clone()));
        }
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            vars.push((format!("{prefix}_SERVICE_PORT_{}", upper(name)), number.clone()));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let (lower, number) = (protocol.to_lowercase(), port.port.to_string());
        let url = format!("{lower}://{host}:{number}");
        if index == 0 {
            vars.push((format!("{prefix}_PORT"), url.clone()));
        }
        let this = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
        vars.push((this.clone(), url));
        vars.push((format!("{this}_PROTO"), lower));
        vars.push((format!("{this}_PORT"), number));
        vars.push((format!("{this}_ADDR"), ip.clone()));
    }
    vars
}

/// Everything a container finds in its environment; an error is a CreateContainerConfigError.
pub(crate) async fn of_container(
    pod: &Pod,
    container: &Container,
    services: &[Arc<Service>],
    objects: &Objects,
    runtime: &Runtime<'_>,
) -> Result<Env, String> {
    let links = shape::spec(pod).enable_service_links.unwrap_or(true);
    let services = of_services(services, shape::namespace(pod), links);
    let mut own = from_objects(pod, container, objects).await?;
    for var in container.env.iter().flatten() {
        let value = match (var.value.as_deref().unwrap_or(""), &var.value_from) {
            ("", Some(source)) => match sourced(pod, container, source, objects, runtime).await? {
                Some(value) => value,
                None => continue,
            },
            ("", None) => String::new(),
            (text, _) => expand(text, |name| own.get(name).or_else(|| services.get(name)).cloned()),
        };
        own.insert(var.name.clone(), value);
    }
    Ok(services.into_iter().chain(own).collect())
}

async fn from_objects(pod: &Pod, container: &Container, objects: &Objects) -> Result<Env, String> {
    let namespace = shape::namespace(pod);
    let mut env = Env::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or("");
        if let Some(reference) = &from.config_map_ref {
            let found = objects.config_maps.get(namespace, &reference.name).await;
            let Some(map) = allow(found, reference.optional)? else { continue };
            let data = map.data.iter().flatten();
            env.extend(data.map(|(key, value)| (format!("{prefix}{key}"), value.clone())));
        } else if let Some(reference) = &from.secret_ref {
            let found = objects.secrets.get(namespace, &reference.name).await;
            let Some(secret) = allow(found, reference.optional)? else { continue };
            let data = secret.data.iter().flatten();
            env.extend(data.map(|(key, value)| (format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into())));
        }
    }
    Ok(env)
}

/// Nothing for an absent object that is optional.
fn allow<K>(found: Result<Arc<K>, Missing>, optional: Option<bool>) -> Result<Option<Arc<K>>, String> {
    match found {
        Ok(object) => Ok(Some(object)),
        Err(Missing::NotFound(_)) if optional == Some(true) => Ok(None),
        Err(missing) => Err(missing.text()),
    }
}

async fn sourced(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    objects: &Objects,
    runtime: &Runtime<'_>,
) -> Result<Option<String>, String> {
    let namespace = shape::namespace(pod);
    let missing = |key: &str, kind: &str, name: &str, optional: Option<bool>| match optional {
        Some(true) => Ok(None),
        _ => Err(format!("couldn't find key {key} in {kind} {namespace}/{name}")),
    };
    if let Some(field) = &source.field_ref {
        return fields::field(pod, &field.field_path, runtime).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        return fields::resource(pod, Some(container), selector, runtime.allocatable).map(Some);
    }
    if let Some(reference) = &source.config_map_key_ref {
        let found = objects.config_maps.get(namespace, &reference.name).await;
        let Some(map) = allow(found, reference.optional)? else { return Ok(None) };
        let value = map.data.as_ref().and_then(|data| data.get(&reference.key)).cloned();
        return value.map_or_else(
            || missing(&reference.key, "ConfigMap", &reference.name, reference.optional),
            |v| Ok(Some(v)),
        );
    }
    if let Some(reference) = &source.secret_key_ref {
        let found = objects.secrets.get(namespace, &reference.name).await;
        let Some(secret) = allow(found, reference.optional)? else { return Ok(None) };
        let value = secret.data.as_ref().and_then(|data| data.get(&reference.key));
        let value = value.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
        return value
            .map_or_else(|| missing(&reference.key, "Secret", &reference.name, reference.optional), |v| Ok(Some(v)));
    }
    Ok(Some(String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::yaml;

    #[test]
    fn expansion() {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, expect) in [
            ("x$(A)y", "x1y"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A $(A", "$A $(A"),
            ("a$", "a$"),
            ("$(A)$(A)", "11"),
        ] {
            assert_eq!(expand(text, lookup), expect, "{text}");
        }
    }

    #[test]
    fn services_of_the_namespace_and_the_api_server() {
        let service = |namespace: &str, name: &str, ip: &str| {
            let text = format!(
                "{{metadata: {{namespace: {namespace}, name: {name}}}, spec: {{clusterIP: {ip}, ports: [{{name: http, port: 80, protocol: TCP}}]}}}}"
            );
            Arc::new(yaml::<Service>(&text))
        };
        let services = [
            service("default", "kubernetes", "10.0.0.1"),
            service("ns", "web-a", "10.0.0.2"),
            service("ns", "h", "None"),
        ];
        let names = |links| of_services(&services, "ns", links).into_keys().collect::<Vec<_>>();
        assert_eq!(names(false).len(), 8);
        let all = of_services(&services, "ns", true);
        assert_eq!(all.get("WEB_A_SERVICE_PORT_HTTP").map(String::as_str), Some("80"));
        assert_eq!(all.get("WEB_A_PORT_80_TCP").map(String::as_str), Some("tcp://10.0.0.2:80"));
        assert_eq!(all.len(), 16);
    }
}
