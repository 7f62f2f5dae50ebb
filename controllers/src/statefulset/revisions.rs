//! The ControllerRevisions of a StatefulSet: the template its pods had, and the one they are to have
//! (pkg/controller/statefulset/stateful_set_control.go, pkg/controller/history@v1.37.2).

use std::sync::Arc;

use client::informer::Cache;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::Value;

use super::plan::Revision;
use super::pods::revision;
use crate::common::hash::{canonical, fnv32a, safe_encode};
use crate::common::history::{holds, number, patch_of};
use crate::common::owner::{claim_all, controller_ref};
use crate::common::selector;
use crate::error::{Result, is_already_exists, is_not_found};

const HASH: &str = "controller.kubernetes.io/hash";
/// Longest part of the set's name in a revision's, in bytes.
const PREFIX_MAX: usize = 223;

pub(super) struct Revisions<'a> {
    pub(super) client: &'a Client,
    pub(super) cache: &'a Cache<ControllerRevision>,
    pub(super) set: &'a StatefulSet,
    pub(super) spec: &'a StatefulSetSpec,
}

/// What a sync works with.
pub(super) struct Found {
    pub(super) current: Revision,
    pub(super) update: Revision,
    pub(super) collisions: i32,
    all: Vec<Arc<ControllerRevision>>,
}

fn name_of(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or("")
}

/// The template that a revision keeps.
fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

fn hash(data: &Value, collisions: i32) -> String {
    let mut bytes = canonical(data).to_string().into_bytes();
    bytes.extend_from_slice(collisions.to_string().as_bytes());
    safe_encode(&fnv32a(&bytes).to_string())
}

impl Revisions<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), self.set.metadata.namespace.as_deref().unwrap_or(""))
    }

    /// The current and the update revision; makes, or moves to the end, the one that is needed.
    pub(super) async fn find(&self) -> Result<Found> {
        let parsed = selector::parse(&self.spec.selector)?;
        let mut all = self.cache.list_namespace(self.set.metadata.namespace.as_deref().unwrap_or(""));
        all.retain(|revision| selector::matches(&parsed, revision.metadata.labels.as_ref()));
        let mut all = claim_all(self.set, &self.api(), &self.api::<ControllerRevision>(), all, |_| true).await?;
        all.sort_by_key(|revision| {
            let created = revision.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (number(revision), created, revision.metadata.name.clone())
        });
        let status = self.set.status.as_ref();
        let mut collisions = status.and_then(|status| status.collision_count).unwrap_or(0);
        let next = all.last().map_or(0, |revision| number(revision)) + 1;
        let equal = all.iter().rposition(|revision| holds(revision, &self.spec.template));
        let update = match equal {
            Some(last) if last + 1 == all.len() => all[last].clone(),
            Some(older) => {
                let moved = ControllerRevision { revision: Some(next), ..(*all[older]).clone() };
                let name = name_of(&moved).to_owned();
                Arc::new(self.api().replace(&name, &PostParams::default(), &moved).await?)
            }
            None => Arc::new(self.create(next, &mut collisions).await?),
        };
        let named = status.and_then(|status| status.current_revision.as_deref());
        let current = all.iter().find(|revision| Some(name_of(revision)) == named).unwrap_or(&update);
        let with_template = |revision: &ControllerRevision| Revision {
            name: name_of(revision).into(),
            template: template_of(revision).unwrap_or_else(|| self.spec.template.clone()),
        };
        let update = Revision { name: name_of(&update).into(), template: self.spec.template.clone() };
        let current = if name_of(current) == update.name { update.clone() } else { with_template(current) };
        Ok(Found { current, update, collisions, all })
    }

    /// Stores the template; a name that another template has raises the collision count.
    async fn create(&self, number: i64, collisions: &mut i32) -> Result<ControllerRevision> {
        let data = patch_of(&self.spec.template);
        loop {
            let hash = hash(&data.0, *collisions);
            let set = self.set.metadata.name.as_deref().unwrap_or("");
            let name = format!("{}-{hash}", &set[..set.len().min(PREFIX_MAX)]);
            let template = self.spec.template.metadata.as_ref();
            let mut labels = template.and_then(|meta| meta.labels.clone()).unwrap_or_default();
            labels.insert(HASH.into(), hash);
            let revision = ControllerRevision {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    namespace: self.set.metadata.namespace.clone(),
                    labels: Some(labels),
                    annotations: self.set.metadata.annotations.clone(),
                    owner_references: Some(vec![controller_ref(self.set)]),
                    ..ObjectMeta::default()
                },
                data: data.clone(),
                revision: Some(number),
            };
            match self.api().create(&PostParams::default(), &revision).await {
                Ok(created) => return Ok(created),
                Err(error) if is_already_exists(&error) => {
                    let existing: ControllerRevision = self.api().get(&name).await?;
                    if holds(&existing, &self.spec.template) {
                        return Ok(existing);
                    }
                    *collisions += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Deletes the oldest revisions that nothing uses, beyond the limit.
    pub(super) async fn truncate(&self, found: &Found, pods: &[Arc<Pod>]) -> Result<()> {
        let limit = usize::try_from(self.spec.revision_history_limit.unwrap_or(10)).unwrap_or(usize::MAX);
        let api: Api<ControllerRevision> = self.api();
        for old in surplus(found, pods, limit) {
            match api.delete(name_of(old), &DeleteParams::default()).await {
                Err(error) if !is_not_found(&error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn surplus<'a>(found: &'a Found, pods: &[Arc<Pod>], limit: usize) -> Vec<&'a ControllerRevision> {
    let live = |name: &str| {
        name == found.current.name || name == found.update.name || pods.iter().any(|pod| revision(pod) == name)
    };
    let mut old: Vec<&ControllerRevision> =
        found.all.iter().map(|revision| &**revision).filter(|revision| !live(name_of(revision))).collect();
    old.truncate(old.len().saturating_sub(limit));
    old
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_come_back() {
        let template: PodTemplateSpec = serde_json::from_value(
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}}),
        )
        .expect("template");
        let revision = ControllerRevision { data: patch_of(&template), ..ControllerRevision::default() };
        assert_eq!(template_of(&revision).map(|found| canonical(&found)), Some(canonical(&template)));
        assert_ne!(hash(&revision.data.0, 0), hash(&revision.data.0, 1));
    }

    #[test]
    fn the_oldest_unused_go() {
        let revision = |name: &str| {
            let mut revision = ControllerRevision::default();
            revision.metadata.name = Some(name.into());
            Arc::new(revision)
        };
        let named = |name: &str| Revision { name: name.into(), template: PodTemplateSpec::default() };
        let all = ["a", "b", "c", "d", "e"].map(revision).to_vec();
        let found = Found { current: named("d"), update: named("e"), collisions: 0, all };
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"labels": {"controller-revision-hash": "a"}}})).expect("pod");
        for (limit, expected) in [(0, vec!["b", "c"]), (1, vec!["b"]), (2, vec![])] {
            let gone: Vec<&str> = surplus(&found, &[Arc::new(pod.clone())], limit).into_iter().map(name_of).collect();
            assert_eq!(gone, expected, "{limit}");
        }
    }
}
