//! PodSecurity: pods keep to the standard that their namespace's labels name
//! (k8s.io/pod-security-admission/admission/admission.go@v0.37.2).

mod checks;
mod containers;
mod metrics;
mod policy;
#[cfg(test)]
mod recorded;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use api::field::{Errors, go_quote};
use api::object::Meta;
use api::status::Status;
use api::value::Map;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin, Reader};
use crate::authn::aggregate;
use checks::{Finding, evaluate};
pub(crate) use metrics::Metrics;
use metrics::Mode;
use policy::{Level, LevelVersion, Policy};

/// Existing pods checked when a namespace's level rises.
const NAMESPACE_PODS_MAX: usize = 3000;
/// Keys of the audit log (k8s.io/pod-security-admission/api/constants.go@v0.37.2).
const ENFORCE_POLICY: &str = "pod-security.kubernetes.io/enforce-policy";
const AUDIT_VIOLATIONS: &str = "pod-security.kubernetes.io/audit-violations";
const ERROR: &str = "pod-security.kubernetes.io/error";
/// Parts of a pod whose requests do not change what it runs.
const IGNORED_SUBRESOURCES: &[&str] =
    &["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

pub(crate) struct PodSecurity(pub(crate) Metrics);

impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            match (attributes.group, attributes.resource, attributes.subresource) {
                ("", "namespaces", "") => namespace(attributes, objects),
                ("", "pods", sub) if !IGNORED_SUBRESOURCES.contains(&sub) => self.pod(attributes, objects).await,
                (group, resource, "") if template_path(group, resource).is_some() => {
                    self.controller(attributes, objects).await
                }
                _ => Ok(()),
            }
        })
    }
}

/// Where kinds that make pods keep the template.
fn template_path(group: &str, resource: &str) -> Option<&'static [&'static str]> {
    Some(match (group, resource) {
        ("", "podtemplates") => &["template"],
        ("", "replicationcontrollers") => &["spec", "template"],
        ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets") => &["spec", "template"],
        ("batch", "jobs") => &["spec", "template"],
        ("batch", "cronjobs") => &["spec", "jobTemplate", "spec", "template"],
        _ => return None,
    })
}

/// The reasons alone.
fn reason(findings: &[Finding]) -> String {
    findings.iter().map(|finding| finding.reason.as_str()).collect::<Vec<_>>().join(", ")
}

/// The findings as upstream tells them: reasons with details.
fn detail(findings: &[Finding]) -> String {
    let show = |finding: &Finding| format!("{} ({})", finding.reason, finding.detail);
    findings.iter().map(show).collect::<Vec<_>>().join(", ")
}

/// The labels of the request's namespace, or why they are not known.
async fn labels(attributes: &Attributes<'_>, objects: &dyn Reader) -> Result<Map, String> {
    let name = attributes.namespace;
    let labels = |namespace: &Map| namespace.meta().map("labels").cloned().unwrap_or_default();
    if let Some(namespace) = objects.cached("", "namespaces", "", name) {
        return Ok(labels(&namespace));
    }
    let found = objects.live("", "namespaces", "", name).await.map_err(|status| status.message)?;
    found.as_ref().map(labels).ok_or_else(|| Status::not_found("", "namespaces", name).message)
}

impl PodSecurity {
    async fn pod(&self, attributes: &Attributes<'_>, objects: &dyn Reader) -> Result<(), Status> {
        let Some(pod) = attributes.object.as_deref() else { return Ok(()) };
        let labels = match labels(attributes, objects).await {
            Ok(labels) => labels,
            Err(why) => {
                let status = Status::internal(&lookup(attributes));
                self.0.failed(true, attributes);
                attributes.annotate(ERROR.into(), format!("{}: {why}", status.message));
                return Err(status);
            }
        };
        let (policy, errors) = Policy::of(&labels);
        if errors.is_empty() && policy.is_privileged() {
            self.0.evaluated(true, Mode::Enforce, policy.enforce, attributes);
            attributes.annotate(ENFORCE_POLICY.into(), policy::DEFAULT.to_string());
            return Ok(());
        }
        if attributes.operation == Operation::Update && attributes.old.is_some_and(|old| !is_significant(pod, old)) {
            return Ok(());
        }
        self.judge(attributes, &policy, &errors, pod, true)
    }

    async fn controller(&self, attributes: &Attributes<'_>, objects: &dyn Reader) -> Result<(), Status> {
        let path = template_path(attributes.group, attributes.resource);
        let template = attributes.object.as_deref().zip(path).and_then(|(object, path)| object.at(path));
        let Some(template) = template else { return Ok(()) };
        let labels = match labels(attributes, objects).await {
            Ok(labels) => labels,
            Err(why) => {
                self.0.failed(true, attributes);
                attributes.annotate(ERROR.into(), format!("{}: {why}", lookup(attributes)));
                return Ok(());
            }
        };
        let (policy, errors) = Policy::of(&labels);
        let nothing = [policy.warn, policy.audit].iter().all(|mode| mode.level == Level::Privileged);
        if errors.is_empty() && nothing { Ok(()) } else { self.judge(attributes, &policy, &errors, template, false) }
    }

    /// A pod, or the template of one, against every mode of a policy; only pods are refused.
    fn judge(
        &self,
        attributes: &Attributes<'_>,
        policy: &Policy,
        errors: &Errors,
        pod: &Map,
        enforced: bool,
    ) -> Result<(), Status> {
        if !errors.is_empty() {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            attributes.annotate(ERROR.into(), format!("Failed to parse policy: {}", aggregate(&errors)));
            self.0.failed(false, attributes);
        }
        let mut known = Known { pod, evaluated: Vec::new() };
        let mut outcome = Ok(());
        if enforced {
            attributes.annotate(ENFORCE_POLICY.into(), policy.enforce.to_string());
            let found = known.findings(policy.enforce);
            self.0.evaluated(found.is_empty(), Mode::Enforce, policy.enforce, attributes);
            if !found.is_empty() {
                outcome = Err(attributes.forbidden(&violates("violates", policy.enforce, found)));
            }
        }
        let found = known.findings(policy.audit);
        if !found.is_empty() {
            attributes.annotate(AUDIT_VIOLATIONS.into(), violates("would violate", policy.audit, found));
            self.0.evaluated(false, Mode::Audit, policy.audit, attributes);
        }
        // What is refused is not warned of.
        outcome?;
        let found = known.findings(policy.warn);
        if !found.is_empty() {
            attributes.warn(violates("would violate", policy.warn, found));
            self.0.evaluated(false, Mode::Warn, policy.warn, attributes);
        }
        Ok(())
    }
}

fn lookup(attributes: &Attributes<'_>) -> String {
    format!("failed to lookup namespace {}", go_quote(attributes.namespace))
}

/// What was found of one pod, by level: modes that name the same level share it.
struct Known<'a> {
    pod: &'a Map,
    evaluated: Vec<(LevelVersion, Vec<Finding>)>,
}

impl Known<'_> {
    fn findings(&mut self, at: LevelVersion) -> &[Finding] {
        let place = self.evaluated.iter().position(|(known, _)| *known == at).unwrap_or_else(|| {
            self.evaluated.push((at, evaluate(at, self.pod)));
            self.evaluated.len() - 1
        });
        &self.evaluated[place].1
    }
}

fn violates(verb: &str, at: LevelVersion, findings: &[Finding]) -> String {
    format!("{verb} PodSecurity {}: {}", go_quote(&at.to_string()), detail(findings))
}

/// Only other containers or images can change what a pod may do.
fn is_significant(pod: &Map, old: &Map) -> bool {
    let containers = |pod: &Map, list: &str| -> Vec<Map> {
        pod.map("spec").into_iter().flat_map(|spec| spec.maps(list)).cloned().collect()
    };
    let images = |pod: &Map, list: &str| -> Vec<String> {
        containers(pod, list).iter().map(|container| container.str("image").to_string()).collect()
    };
    if ["containers", "initContainers"].iter().any(|list| images(pod, list) != images(old, list)) {
        return true;
    }
    let olds = containers(old, "ephemeralContainers");
    containers(pod, "ephemeralContainers").iter().any(|container| {
        let same = olds.iter().find(|old| old.str("name") == container.str("name"));
        same.is_none_or(|old| old.str("image") != container.str("image"))
    })
}

fn namespace(attributes: &Attributes<'_>, objects: &dyn Reader) -> Result<(), Status> {
    let Some(namespace) = attributes.object.as_deref() else { return Ok(()) };
    let labels = |object: &Map| object.meta().map("labels").cloned().unwrap_or_default();
    let (policy, errors) = Policy::of(&labels(namespace));
    let invalid = || Err(Status::invalid("", attributes.kind, namespace.name(), &errors));
    let Some(old) = attributes.old.filter(|_| attributes.operation == Operation::Update) else {
        return if errors.is_empty() { Ok(()) } else { invalid() };
    };
    let (was, old_errors) = Policy::of(&labels(old));
    if !errors.is_empty() && errors != old_errors {
        return invalid();
    }
    let (new, old) = (policy.enforce, was.enforce);
    let no_stricter = new.level == Level::Privileged || (new.version == old.version && new.level <= old.level);
    if new != old && !no_stricter {
        let pods = objects.list("", "pods", namespace.name());
        existing_pods(new, namespace.name(), &pods).into_iter().for_each(|warning| attributes.warn(warning));
    }
    Ok(())
}

/// What is told of the pods that would not be let in any more; of a controller's pods the first counts most.
fn existing_pods(level: LevelVersion, namespace: &str, pods: &[Arc<Map>]) -> Vec<String> {
    let mut controllers = HashSet::new();
    let (first, rest): (Vec<&Arc<Map>>, Vec<&Arc<Map>>) = pods.iter().partition(|pod| {
        let owner = pod.meta().maps("ownerReferences").find(|owner| owner.bool("controller") == Some(true));
        owner.is_none_or(|owner| controllers.insert(owner.str("uid").to_string()))
    });
    let checked: Vec<_> = first.into_iter().chain(rest).take(NAMESPACE_PODS_MAX).collect();
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in &checked {
        let findings = evaluate(level, pod);
        if findings.is_empty() {
            continue;
        }
        let entry = found.entry(reason(&findings)).or_insert_with(|| (pod.name().to_string(), 0));
        if pod.name() < entry.0.as_str() {
            entry.0 = pod.name().to_string();
        }
        entry.1 += 1;
    }
    let mut warnings = Vec::new();
    if checked.len() < pods.len() {
        let (checked, all) = (checked.len(), pods.len());
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {checked} of {all} existing pods"
        ));
    }
    if !found.is_empty() {
        let level = go_quote(&level.to_string());
        warnings.push(format!(
            "existing pods in namespace {} violate the new PodSecurity enforce level {level}",
            go_quote(namespace)
        ));
    }
    let mut lines: Vec<_> = found
        .into_iter()
        .map(|(reason, (pod, count))| match count {
            1 => format!("{pod}: {reason}"),
            2 => format!("{pod} (and 1 other pod): {reason}"),
            _ => format!("{pod} (and {} other pods): {reason}", count - 1),
        })
        .collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}
