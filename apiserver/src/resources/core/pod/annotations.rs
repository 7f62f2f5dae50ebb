//! Annotations that are about the pod itself (pkg/apis/core/validation/validation.go@v1.37.2:
//! ValidatePodSpecificAnnotations and what it calls, seccomp and AppArmor in their old form).

use api::field::{self, Errors, Path};
use api::value::{Map, Value};

use super::options::Options;
use super::{containers_of, security, tolerations, volumes};

pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const LOCALHOST: &str = "localhost/";
const RUNTIME_DEFAULT: &str = "runtime/default";
const DOCKER_DEFAULT: &str = "docker/default";
const UNCONFINED: &str = "unconfined";

fn text<'a>(annotations: Option<&'a Map>, key: &str) -> Option<&'a str> {
    annotations?.get(key).and_then(Value::as_str)
}

fn entries(annotations: Option<&Map>) -> impl Iterator<Item = (&str, &str)> {
    annotations.into_iter().flat_map(Map::iter).filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

/// A deletion cost is a 32-bit number in its shortest form.
fn is_deletion_cost(text: &str) -> bool {
    let first = matches!(text.as_bytes(), [b'0'] | [b'-' | b'1'..=b'9', ..]);
    first && text.parse::<i32>().is_ok()
}

pub(super) fn has_wrong_deletion_cost(annotations: Option<&Map>) -> bool {
    text(annotations, DELETION_COST).is_some_and(|cost| !is_deletion_cost(cost))
}

pub(crate) fn check(annotations: Option<&Map>, spec: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    if let Some(mirror) = text(annotations, MIRROR)
        && spec.str("nodeName").is_empty()
    {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(field::invalid(&path.key(MIRROR), mirror, why));
    }
    old_tolerations(annotations, path, options, errors);
    if let Some(cost) = text(annotations, DELETION_COST)
        && !options.any_deletion_cost
        && !is_deletion_cost(cost)
    {
        errors.push(field::invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer"));
    }
    seccomp(annotations, path, errors);
    apparmor(annotations, spec, path, errors);
}

fn old_tolerations(annotations: Option<&Map>, path: &Path, options: &Options, errors: &mut Errors) {
    let Some(json) = text(annotations, TOLERATIONS).filter(|json| !json.is_empty()) else { return };
    match api::json::decode_any(json.as_bytes(), api::json::Strictness::Lenient) {
        Ok((Value::List(list), _)) => {
            let all: Vec<Map> = list.iter().filter_map(Value::as_map).cloned().collect();
            tolerations::check(all.iter(), &path.child(TOLERATIONS), options, errors);
        }
        Ok(_) => {
            let why = "json: cannot unmarshal into Go value of type []core.Toleration";
            errors.push(field::invalid(path, TOLERATIONS, why));
        }
        Err(error) => errors.push(field::invalid(path, TOLERATIONS, error.to_string())),
    }
}

fn seccomp(annotations: Option<&Map>, path: &Path, errors: &mut Errors) {
    if let Some(profile) = text(annotations, SECCOMP_POD) {
        seccomp_profile(profile, &path.child(SECCOMP_POD), errors);
    }
    for (key, profile) in entries(annotations).filter(|(key, _)| key.starts_with(SECCOMP_CONTAINER)) {
        seccomp_profile(profile, &path.child(key), errors);
    }
}

fn seccomp_profile(profile: &str, path: &Path, errors: &mut Errors) {
    if matches!(profile, RUNTIME_DEFAULT | DOCKER_DEFAULT | UNCONFINED) {
        return;
    }
    match profile.strip_prefix(LOCALHOST) {
        Some(file) => volumes::local_path(file, path, errors),
        None => errors.push(field::invalid(path, profile, "must be a valid seccomp profile")),
    }
}

fn apparmor(annotations: Option<&Map>, spec: &Map, path: &Path, errors: &mut Errors) {
    for (key, profile) in entries(annotations) {
        let Some(name) = key.strip_prefix(APPARMOR) else { continue };
        if !containers_of(spec).any(|(_, _, container)| container.str("name") == name) {
            errors.push(field::invalid(&path.key(key), name, "container not found"));
        }
        if !matches!(profile, "" | RUNTIME_DEFAULT | UNCONFINED) && !profile.starts_with(LOCALHOST) {
            let why = format!("invalid AppArmor profile name: {}", field::go_quote(profile));
            errors.push(field::invalid(&path.key(key), profile, why));
        }
    }
}

/// The annotation says the same as the field.
fn old_form_differs(annotation: &str, profile: &Map, defaults: &[&str]) -> Option<&'static str> {
    let same_type = match profile.str("type") {
        "Unconfined" => annotation == UNCONFINED,
        "RuntimeDefault" => defaults.contains(&annotation),
        "Localhost" => match annotation.strip_prefix(LOCALHOST) {
            Some(file) if profile.get("localhostProfile").and_then(Value::as_str) != Some(file) => {
                return Some("localhostProfile");
            }
            Some(_) => true,
            None => false,
        },
        _ => true,
    };
    (!same_type).then_some("type")
}

/// On create, annotations and fields about the same thing agree.
pub(crate) fn agree(annotations: Option<&Map>, spec: &Map, path: &Path, errors: &mut Errors) {
    let differ = |what: &str, name: &str, at: &Path, errors: &mut Errors| {
        let noun = if name == "type" { "type" } else { "profile" };
        errors.push(field::forbidden(&at.child(name), format!("{what} {noun} in annotation and field must match")));
    };
    let seccomp_defaults = [RUNTIME_DEFAULT, DOCKER_DEFAULT];
    if let Some(profile) = spec.at(&["securityContext", "seccompProfile"])
        && let Some(annotation) = text(annotations, SECCOMP_POD)
        && let Some(name) = old_form_differs(annotation, profile, &seccomp_defaults)
    {
        differ("seccomp", name, &path.child("securityContext").child("seccompProfile"), errors);
    }
    for (list, at, container) in containers_of(spec) {
        let Some(profile) = container.at(&["securityContext", "seccompProfile"]) else { continue };
        let key = format!("{SECCOMP_CONTAINER}{}", container.str("name"));
        if let Some(name) = text(annotations, &key).and_then(|a| old_form_differs(a, profile, &seccomp_defaults)) {
            let at = path.child(list).index(at).child("securityContext").child("seccompProfile");
            differ("seccomp", name, &at, errors);
        }
    }
    if security::is_windows(spec) {
        return;
    }
    let of_pod = spec.at(&["securityContext", "appArmorProfile"]);
    for (list, at, container) in containers_of(spec) {
        let Some(profile) = container.at(&["securityContext", "appArmorProfile"]).or(of_pod) else { continue };
        let key = format!("{APPARMOR}{}", container.str("name"));
        if let Some(name) = text(annotations, &key).and_then(|a| old_form_differs(a, profile, &[RUNTIME_DEFAULT])) {
            let at = path.child(list).index(at).child("securityContext").child("appArmorProfile");
            differ("apparmor", name, &at, errors);
        }
    }
}

/// What may not happen to annotations once the pod is there.
pub(super) fn update(new: Option<&Map>, old: Option<&Map>, path: &Path, errors: &mut Errors) {
    for (key, _) in entries(old).filter(|(key, value)| text(new, key) != Some(value)) {
        if key.starts_with(APPARMOR) {
            errors.push(field::forbidden(&path.key(key), "may not remove or update AppArmor annotations"));
        }
        if key == MIRROR {
            errors.push(field::forbidden(&path.key(key), "may not remove or update mirror pod annotation"));
        }
    }
    for (key, _) in entries(new).filter(|(key, _)| text(old, key).is_none()) {
        if key.starts_with(APPARMOR) {
            errors.push(field::forbidden(&path.key(key), "may not add AppArmor annotations"));
        }
        if key == MIRROR {
            errors.push(field::forbidden(&path.key(key), "may not add mirror pod annotation"));
        }
    }
}

/// The profile that an old AppArmor annotation stands for.
pub(super) fn apparmor_field(annotation: &str) -> Option<Map> {
    match annotation {
        UNCONFINED => Some(api::map! { "type" => "Unconfined" }),
        RUNTIME_DEFAULT => Some(api::map! { "type" => "RuntimeDefault" }),
        _ => {
            let file = annotation.strip_prefix(LOCALHOST).filter(|file| !file.is_empty())?;
            Some(api::map! { "type" => "Localhost", "localhostProfile" => file })
        }
    }
}

/// Whether the old seccomp annotations have any, for warnings.
pub(super) fn seccomp_keys(container: Option<&str>) -> String {
    container.map_or(SECCOMP_POD.to_string(), |name| format!("{SECCOMP_CONTAINER}{name}"))
}
