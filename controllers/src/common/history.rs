//! ControllerRevisions: the templates that a DaemonSet or StatefulSet had
//! (pkg/controller/history/controller_history.go, pkg/controller/daemon/update.go@v1.37.2).
//!
//! Revisions are compared by what they hold, not by their bytes, so that a swap with upstream keeps them.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

use super::hash::canonical;

/// The label of pods and revisions that tells templates apart.
pub(crate) const REVISION_HASH: &str = "controller-revision-hash";

/// A template as the patch that brings it back.
pub(crate) fn patch_of(template: &PodTemplateSpec) -> RawExtension {
    // A k8s-openapi type has only string keys, the one thing that could fail.
    let mut template = serde_json::to_value(template).expect("an API object is valid JSON");
    template["$patch"] = "replace".into();
    RawExtension(json!({"spec": {"template": template}}))
}

/// True when the revision holds this template.
pub(crate) fn holds(revision: &ControllerRevision, template: &PodTemplateSpec) -> bool {
    comparable(&revision.data) == comparable(&patch_of(template))
}

fn comparable(data: &RawExtension) -> Value {
    let mut value = data.0.clone();
    if let Some(meta) = value.pointer_mut("/spec/template/metadata").and_then(Value::as_object_mut) {
        meta.remove("creationTimestamp");
    }
    canonical(&value)
}

pub(crate) fn number(revision: &ControllerRevision) -> i64 {
    revision.revision.unwrap_or(0)
}

pub(crate) fn hash_of(revision: &ControllerRevision) -> &str {
    let labels = revision.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(REVISION_HASH)).map_or("", String::as_str)
}

/// The old revisions to delete: the oldest beyond `limit`, but none that a pod still has.
pub(crate) fn surplus<'a>(old: &'a [ControllerRevision], limit: usize, live: &[&str]) -> Vec<&'a ControllerRevision> {
    let mut sorted: Vec<&ControllerRevision> = old.iter().collect();
    sorted.sort_by_key(|revision| number(revision));
    let count = sorted.len().saturating_sub(limit);
    sorted.into_iter().filter(|revision| !live.contains(&hash_of(revision))).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_found_in_its_revision() {
        let template = |image: &str| -> PodTemplateSpec {
            serde_json::from_value(
                json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}}),
            )
            .expect("template")
        };
        let mut revision = ControllerRevision { data: patch_of(&template("one")), ..ControllerRevision::default() };
        // As upstream wrote it for long.
        revision.data.0["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
        assert!(holds(&revision, &template("one")));
        assert!(!holds(&revision, &template("two")));
    }

    #[test]
    fn the_oldest_unused_go() {
        let revision = |number: i64, hash: &str| {
            let mut revision = ControllerRevision { revision: Some(number), ..ControllerRevision::default() };
            revision.metadata.labels = Some([(REVISION_HASH.to_owned(), hash.to_owned())].into());
            revision
        };
        let old = [revision(3, "c"), revision(1, "a"), revision(2, "b")];
        let hashes =
            |limit, live: &[&str]| surplus(&old, limit, live).iter().map(|r| hash_of(r).to_owned()).collect::<Vec<_>>();
        assert_eq!(hashes(1, &[]), ["a", "b"]);
        assert_eq!(hashes(1, &["a"]), ["b", "c"]);
        assert!(hashes(3, &[]).is_empty());
    }
}
