//! The conditions of a terminating namespace: upstream's types, reasons and messages
//! (pkg/controller/namespace/deletion/status_condition_utils.go@v1.37.2).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// Every condition in order: type, and reason and message when all is well.
const ALL: [(&str, &str, &str); 5] = [
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
];

/// What a pass over the content of a namespace found.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    /// Why discovery was incomplete, and how many groups failed.
    pub(super) discovery: Option<(usize, String)>,
    /// Errors of deleting content.
    pub(super) errors: Vec<String>,
    /// Objects left by `resource.group`.
    pub(super) remaining: BTreeMap<String, usize>,
    /// Objects left by finalizer.
    pub(super) finalizers: BTreeMap<String, usize>,
}

impl Findings {
    /// (reason, message) of the conditions that hold.
    fn failing(&self, kind: &str) -> Option<(&'static str, String)> {
        match kind {
            "NamespaceDeletionDiscoveryFailure" => self.discovery.as_ref().map(|(groups, why)| {
                let message = match groups {
                    0 => why.clone(),
                    groups => format!("Discovery failed for some groups, {groups} failing: {why}"),
                };
                ("DiscoveryFailed", message)
            }),
            "NamespaceDeletionContentFailure" if !self.errors.is_empty() => {
                let mut errors = self.errors.clone();
                errors.sort();
                let (count, all) = (errors.len(), errors.join(", "));
                let message = format!("Failed to delete all resource types, {count} remaining: {all}");
                Some(("ContentDeletionFailed", message))
            }
            "NamespaceContentRemaining" => {
                listed(&self.remaining, |resource, count| format!("{resource} has {count} resource instances"))
                    .map(|all| ("SomeResourcesRemain", format!("Some resources are remaining: {all}")))
            }
            "NamespaceFinalizersRemaining" => {
                listed(&self.finalizers, |finalizer, count| format!("{finalizer} in {count} resource instances")).map(
                    |all| {
                        (
                            "SomeFinalizersRemain",
                            format!("Some content in the namespace has finalizers remaining: {all}"),
                        )
                    },
                )
            }
            _ => None,
        }
    }
}

fn listed(counts: &BTreeMap<String, usize>, text: impl Fn(&str, usize) -> String) -> Option<String> {
    if counts.is_empty() {
        return None;
    }
    let mut texts: Vec<String> = counts.iter().filter(|(_, n)| **n > 0).map(|(name, n)| text(name, *n)).collect();
    texts.sort();
    Some(texts.join(", "))
}

/// The conditions to write; `None` when nothing changes.
pub(super) fn update(
    current: &[NamespaceCondition],
    findings: &Findings,
    now: Timestamp,
) -> Option<Vec<NamespaceCondition>> {
    let mut all = current.to_vec();
    for (kind, ok_reason, ok_message) in ALL {
        let failing = findings.failing(kind);
        let status = if failing.is_some() { "True" } else { "False" };
        let (reason, message) = failing.unwrap_or((ok_reason, ok_message.into()));
        let new = NamespaceCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        };
        match all.iter_mut().find(|condition| condition.type_ == kind) {
            None => all.push(new),
            Some(old) => {
                let since = if old.status == new.status { old.last_transition_time.clone() } else { Some(Time(now)) };
                *old = NamespaceCondition { last_transition_time: since, ..new };
            }
        }
    }
    (all != current).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_upstreams_and_times_move_with_the_status() {
        let (first, later) = (Timestamp::UNIX_EPOCH, "2026-01-01T00:00:00Z".parse().expect("time"));
        let findings = Findings {
            discovery: Some((1, "why".into())),
            errors: vec!["b".into(), "a".into()],
            remaining: BTreeMap::from([("pods.".into(), 2), ("configmaps.".into(), 1)]),
            finalizers: BTreeMap::from([("x/y".into(), 1)]),
        };
        let bad = update(&[], &findings, first).expect("new");
        let text: Vec<String> = bad
            .iter()
            .map(|c| {
                format!("{} {} {}", c.status, c.reason.as_deref().unwrap_or(""), c.message.as_deref().unwrap_or(""))
            })
            .collect();
        assert_eq!(
            text,
            [
                "True DiscoveryFailed Discovery failed for some groups, 1 failing: why",
                "False ParsedGroupVersions All legacy kube types successfully parsed",
                "True ContentDeletionFailed Failed to delete all resource types, 2 remaining: a, b",
                "True SomeResourcesRemain Some resources are remaining: configmaps. has 1 resource instances, pods. has 2 resource instances",
                "True SomeFinalizersRemain Some content in the namespace has finalizers remaining: x/y in 1 resource instances",
            ]
        );
        assert_eq!(update(&bad, &findings, later), None);
        let good = update(&bad, &Findings::default(), later).expect("changed");
        assert!(good.iter().all(|condition| condition.status == "False"));
        assert_eq!(good[1].last_transition_time, bad[1].last_transition_time, "was False before");
        assert_eq!(good[0].last_transition_time, Some(Time(later)));
    }
}
