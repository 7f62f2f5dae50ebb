//! What --allow-privileged allows (pkg/apis/core/validation/validation.go@v1.37.2: ValidateSecurityContext,
//! validateWindowsHostProcessPod; pkg/capabilities).
//!
//! Invariant: asked only where the flag is off, of every kind that has a pod's spec in it.

use api::facts::{Resource, Struct, Type};
use api::field::{self, Errors, Path};
use api::value::Map;

use super::{CONTAINER_LISTS, windows};

/// The type of a pod's spec, by its OpenAPI name.
const SPEC: &str = "io.k8s.api.core.v1.PodSpec";

/// Where objects of a type have the spec of a pod: below structs alone, never in lists.
fn place(ty: &'static Struct) -> Option<Vec<&'static str>> {
    ty.json_fields().iter().find_map(|field| {
        let Type::Struct(inner) = field.ty else { return None };
        let below = if inner.name == SPEC { Vec::new() } else { place(inner)? };
        Some([vec![field.name], below].concat())
    })
}

/// What of an object is only for servers that allow privileged containers. An update of a pod can add
/// ephemeral containers alone.
pub(crate) fn check(facts: &Resource, subresource: &str, object: &Map, update: bool) -> Errors {
    let mut errors = Errors::new();
    let Some(place) = place(facts.ty) else { return errors };
    let lists: &[&str] = match (subresource, facts.plural) {
        ("ephemeralcontainers", "pods") => &["ephemeralContainers"],
        ("", "pods") if update => return errors,
        ("", _) => &CONTAINER_LISTS,
        _ => return errors,
    };
    let Some(spec) = object.at(&place) else { return errors };
    let path = place.iter().fold(Path::default(), |path, name| path.child(name));
    for list in lists {
        for (at, container) in spec.maps(list).enumerate() {
            if container.map("securityContext").and_then(|context| context.bool("privileged")) == Some(true) {
                let at = path.child(list).index(at).child("securityContext").child("privileged");
                errors.push(field::forbidden(&at, "disallowed by cluster policy"));
            }
        }
    }
    if subresource.is_empty() && windows::has_host_processes(spec) {
        errors.push(field::forbidden(&path, "hostProcess containers are disallowed by cluster policy"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(group: &str, plural: &str, subresource: &str, object: &str, update: bool) -> Vec<String> {
        let facts = api::facts::resources().iter().find(|r| r.group == group && r.plural == plural).expect("a kind");
        let (value, _) = api::json::decode_any(object.as_bytes(), api::json::Strictness::Lenient).expect("JSON");
        let errors = check(facts, subresource, value.as_map().expect("an object"), update);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn privileges_are_refused_wherever_pods_come_from() {
        let spec = r#"{"initContainers":[{}],"containers":[{},{"securityContext":{"privileged":true}}]}"#;
        let refused = |path: &str| {
            vec![format!("{path}.containers[1].securityContext.privileged: Forbidden: disallowed by cluster policy")]
        };
        let pod = format!(r#"{{"spec":{spec}}}"#);
        assert_eq!(said("", "pods", "", &pod, false), refused("spec"));
        assert_eq!(said("", "pods", "", &pod, true), [""; 0]);
        assert_eq!(said("", "pods", "status", &pod, true), [""; 0]);
        let template = format!(r#"{{"spec":{{"template":{pod}}}}}"#);
        assert_eq!(said("apps", "deployments", "", &template, true), refused("spec.template.spec"));
        let cron = format!(r#"{{"spec":{{"jobTemplate":{template}}}}}"#);
        assert_eq!(said("batch", "cronjobs", "", &cron, false), refused("spec.jobTemplate.spec.template.spec"));
        assert_eq!(said("", "podtemplates", "", &format!(r#"{{"template":{pod}}}"#), true), refused("template.spec"));
        assert_eq!(said("", "services", "", &pod, false), [""; 0]);
        let debug = r#"{"spec":{"containers":[{"securityContext":{"privileged":true}}],"ephemeralContainers":[{"securityContext":{"privileged":true}}]}}"#;
        assert_eq!(
            said("", "pods", "ephemeralcontainers", debug, true),
            ["spec.ephemeralContainers[0].securityContext.privileged: Forbidden: disallowed by cluster policy"]
        );
        let windows = r#"{"spec":{"securityContext":{"windowsOptions":{"hostProcess":true}},"containers":[{}]}}"#;
        assert_eq!(
            said("", "pods", "", windows, false),
            ["spec: Forbidden: hostProcess containers are disallowed by cluster policy"]
        );
    }
}
