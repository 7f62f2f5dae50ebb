//! Containers of the three kinds (pkg/apis/core/validation/validation.go@v1.37.2: validateContainerCommon,
//! validateContainers, validateInitContainers, validateEphemeralContainers).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::options::Options;
use super::volumes::Volumes;
use super::{env, mounts, probes, resources, security};
use crate::resources::common;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const RESTART_RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const RESTART_ACTIONS: [&str; 2] = ["Restart", "RestartAllContainers"];
/// What an ephemeral container may not have.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// What containers are checked against.
pub(super) struct Around<'a> {
    pub(super) spec: &'a Map,
    pub(super) volumes: &'a Volumes<'a>,
    pub(super) claims: &'a [&'a str],
    pub(super) grace: Option<i64>,
    pub(super) options: &'a Options,
}

impl Around<'_> {
    fn host_users(&self) -> bool {
        self.spec.bool("hostUsers") != Some(false)
    }

    pub(super) fn containers(&self, path: &Path, errors: &mut Errors) {
        let path = path.child("containers");
        if self.spec.list("containers").is_empty() {
            errors.push(field::required(&path, ""));
            return;
        }
        let mut seen: Vec<&str> = Vec::new();
        for (at, container) in self.spec.maps("containers").enumerate() {
            let at = path.index(at);
            let name = container.str("name");
            self.common(container, &at, errors);
            if seen.contains(&name) {
                errors.push(field::duplicate(&at.child("name"), name));
            }
            seen.push(name);
            probes::lifecycle(container, self.grace, &at, errors);
            probes::check(container, self.grace, &at, errors);
            restart_policy(container, &at, errors);
        }
        host_ports(self.spec.maps("containers"), &path, errors);
    }

    pub(super) fn init_containers(&self, path: &Path, errors: &mut Errors) {
        let path = path.child("initContainers");
        let mut seen: Vec<&str> = self.spec.maps("containers").map(|container| container.str("name")).collect();
        for (at, container) in self.spec.maps("initContainers").enumerate() {
            let at = path.index(at);
            let name = container.str("name");
            self.common(container, &at, errors);
            restart_policy(container, &at, errors);
            if seen.contains(&name) {
                errors.push(field::duplicate(&at.child("name"), name));
            } else if !name.is_empty() {
                seen.push(name);
            }
            host_ports(std::iter::once(container), &path, errors);
            if container.str("restartPolicy") == "Always" {
                probes::lifecycle(container, self.grace, &at, errors);
                probes::check(container, self.grace, &at, errors);
            } else {
                self.plain_init(container, &at, errors);
            }
        }
    }

    /// An init container that ends before the others start.
    fn plain_init(&self, container: &Map, path: &Path, errors: &mut Errors) {
        for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.contains(name) {
                let why = "may not be set for init containers without restartPolicy=Always";
                errors.push(field::forbidden(&path.child(name), why));
            }
        }
        if self.options.restarting_init_resize {
            return;
        }
        for (at, policy) in container.maps("resizePolicy").enumerate() {
            if policy.str("restartPolicy") == "RestartContainer" {
                let path = path.child("resizePolicy").index(at).child("restartPolicy");
                let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                errors.push(field::invalid(&path, "RestartContainer", why));
            }
        }
    }

    pub(super) fn ephemeral_containers(&self, path: &Path, errors: &mut Errors) {
        let path = path.child("ephemeralContainers");
        let others = || self.spec.maps("containers").chain(self.spec.maps("initContainers"));
        let mut seen: Vec<&str> = others().map(|container| container.str("name")).collect();
        for (at, container) in self.spec.maps("ephemeralContainers").enumerate() {
            let at = path.index(at);
            let (name, target) = (container.str("name"), container.str("targetContainerName"));
            self.common(container, &at, errors);
            image_padding(container, &at, errors);
            if seen.contains(&name) {
                errors.push(field::duplicate(&at.child("name"), name));
            } else {
                seen.push(name);
            }
            if !target.is_empty() && !others().any(|container| container.str("name") == target) {
                errors.push(field::not_found(&at.child("targetContainerName"), target));
            }
            for name in NOT_EPHEMERAL {
                if container.get(name).is_some_and(|value| !value.is_zero()) {
                    errors.push(field::forbidden(&at.child(name), "cannot be set for an Ephemeral Container"));
                }
            }
            for (index, mount) in container.maps("volumeMounts").enumerate() {
                for name in ["subPath", "subPathExpr"] {
                    if !mount.str(name).is_empty() {
                        let path = at.child("volumeMounts").index(index).child(name);
                        errors.push(field::forbidden(&path, "cannot be set for an Ephemeral Container"));
                    }
                }
            }
        }
    }

    fn common(&self, container: &Map, path: &Path, errors: &mut Errors) {
        let name = container.str("name");
        if name.is_empty() {
            errors.push(field::required(&path.child("name"), ""));
        } else {
            common::dns_label(name, &path.child("name"), errors);
        }
        common::required(container, "image", path, errors);
        let policies = ["File", "FallbackToLogsOnError"];
        common::required_one_of(container, "terminationMessagePolicy", &policies, path, errors);
        ports(container, &path.child("ports"), errors);
        env::check(container, &path.child("env"), errors);
        env::from(container, &path.child("envFrom"), errors);
        mounts::check(container, self.volumes, &path.child("volumeMounts"), errors);
        mounts::devices(container, self.volumes, &path.child("volumeDevices"), errors);
        pull_policy(container, "imagePullPolicy", path, errors);
        let resources = container.map("resources").unwrap_or(Map::EMPTY);
        resources::container(resources, self.claims, &path.child("resources"), self.options, errors);
        self.resize_policy(container, &path.child("resizePolicy"), errors);
        if let Some(context) = container.map("securityContext") {
            let path = path.child("securityContext");
            security::container(context, &path, self.host_users(), self.options, errors);
        }
    }

    fn resize_policy(&self, container: &Map, path: &Path, errors: &mut Errors) {
        let mut seen: Vec<&str> = Vec::new();
        for (at, policy) in container.maps("resizePolicy").enumerate() {
            let (resource, restart) = (policy.str("resourceName"), policy.str("restartPolicy"));
            if seen.contains(&resource) {
                errors.push(field::duplicate(&path.index(at), resource));
            }
            seen.push(resource);
            for (value, allowed) in [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])] {
                match value {
                    "" => errors.push(field::required(path, "")),
                    value if !allowed.contains(&value) => errors.push(field::not_supported(path, value, &allowed)),
                    _ => {}
                }
            }
            if self.spec.str("restartPolicy") == "Never" && restart != "NotRequired" {
                let why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
                errors.push(field::invalid(path, restart, why));
            }
        }
    }
}

pub(super) fn pull_policy(map: &Map, name: &str, path: &Path, errors: &mut Errors) {
    common::required_one_of(map, name, &["Always", "IfNotPresent", "Never"], path, errors);
}

fn ports(container: &Map, path: &Path, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, port) in container.maps("ports").enumerate() {
        let at = path.index(at);
        let name = port.str("name");
        if !name.is_empty() {
            let wrong = names::is_valid_port_name(name);
            if !wrong.is_empty() {
                common::each(&at.child("name"), name, wrong, errors);
            } else if seen.contains(&name) {
                errors.push(field::duplicate(&at.child("name"), name));
            } else {
                seen.push(name);
            }
        }
        let inner = port.i64("containerPort").unwrap_or(0);
        if inner == 0 {
            errors.push(field::required(&at.child("containerPort"), ""));
        } else {
            port_number(inner, &at.child("containerPort"), errors);
        }
        if let Some(outer) = port.i64("hostPort").filter(|number| *number != 0) {
            port_number(outer, &at.child("hostPort"), errors);
        }
        common::required_one_of(port, "protocol", &PROTOCOLS, &at, errors);
    }
}

fn port_number(number: i64, path: &Path, errors: &mut Errors) {
    errors.extend(names::is_valid_port_num(number).iter().map(|why| field::invalid(path, number, why)));
}

/// Two containers cannot have the same port of the host.
fn host_ports<'a>(containers: impl Iterator<Item = &'a Map>, path: &Path, errors: &mut Errors) {
    let mut seen: Vec<String> = Vec::new();
    for (at, container) in containers.enumerate() {
        for (index, port) in container.maps("ports").enumerate() {
            let Some(number) = port.i64("hostPort").filter(|number| *number != 0) else { continue };
            let key = format!("{}/{}/{number}", port.str("protocol"), port.str("hostIP"));
            if seen.contains(&key) {
                errors.push(field::duplicate(
                    &path.index(at).child("ports").index(index).child("hostPort"),
                    key.as_str(),
                ));
            } else {
                seen.push(key);
            }
        }
    }
}

fn restart_policy(container: &Map, path: &Path, errors: &mut Errors) {
    let rules = container.list("restartPolicyRules");
    match container.get("restartPolicy").and_then(Value::as_str) {
        None if rules.is_empty() => return,
        None => {
            let why = "must specify restartPolicy when restart rules are used";
            errors.push(field::required(&path.child("restartPolicy"), why));
        }
        Some(_) => common::one_of(container, "restartPolicy", &RESTART_POLICIES, path, errors),
    }
    let path = path.child("restartPolicyRules");
    if rules.len() > RESTART_RULES_MAX {
        errors.push(field::too_many(&path, rules.len(), RESTART_RULES_MAX));
    }
    for (at, rule) in container.maps("restartPolicyRules").enumerate() {
        let path = path.index(at);
        let action = rule.str("action");
        if !RESTART_ACTIONS.contains(&action) {
            errors.push(field::not_supported(&path.child("action"), action, &RESTART_ACTIONS));
        }
        let path = path.child("exitCodes");
        let Some(codes) = rule.map("exitCodes") else {
            errors.push(field::required(&path, "must be specified"));
            continue;
        };
        if !["In", "NotIn"].contains(&codes.str("operator")) {
            errors.push(field::not_supported(&path.child("operator"), codes.str("operator"), &["In", "NotIn"]));
        }
        let count = codes.list("values").len();
        if count > EXIT_CODES_MAX {
            errors.push(field::too_many(&path.child("values"), count, EXIT_CODES_MAX));
        }
    }
}

/// Only pods mind; templates are older than the rule.
pub(super) fn image_padding(container: &Map, path: &Path, errors: &mut Errors) {
    let image = container.str("image");
    if image.trim() != image {
        errors.push(field::invalid(&path.child("image"), image, "must not have leading or trailing whitespace"));
    }
}
