//! What becomes of one object: keep it, take owners off it, delete it
//! (pkg/controller/garbagecollector/{garbagecollector,operations,patch}.go@v1.37.2).
//!
//! Invariant: an object is deleted only after live reads found every owner absent (by uid) or waiting for
//! it, and the deletion carries its uid and the resourceVersion that was judged.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, PartialObjectMeta, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::DynamicObject;
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::graph::{FOREGROUND, Graph, Identity, Node, ORPHAN};
use crate::common::discovery::Discovered;
use crate::common::owner::release_patch;
use crate::error::{Error, Result, is_conflict, is_not_found, is_unsupported_media_type};

type Metadata = PartialObjectMeta<DynamicObject>;

/// Attempts to remove a finalizer that meet a conflict (upstream: retry.DefaultBackoff.Steps).
const FINALIZER_ATTEMPTS: usize = 4;

/// How an item's look ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// The object does not exist; the graph is to be told.
    Absent,
    /// These nodes are to be looked at too.
    Look(Vec<String>),
}

/// What an object's owners are to it.
#[derive(Debug, Default, PartialEq)]
struct Owners {
    solid: Vec<OwnerReference>,
    dangling: Vec<OwnerReference>,
    waiting: Vec<OwnerReference>,
}

#[derive(Debug, PartialEq)]
enum Decision {
    Keep,
    /// Take these uids out of the owner references.
    Release(Vec<String>),
    Delete {
        policy: PropagationPolicy,
        unblock: bool,
    },
}

/// Decides from the owners. `dependents` says whether it has any, `deleting` whether one of them is itself
/// in foreground deletion (a circle, perhaps).
fn decide(owners: &Owners, latest: &ObjectMeta, dependents: bool, deleting: bool) -> Decision {
    let has = |finalizer: &str| latest.finalizers.iter().flatten().any(|has| has == finalizer);
    if !owners.solid.is_empty() {
        let gone: Vec<String> = owners.dangling.iter().chain(&owners.waiting).map(|owner| owner.uid.clone()).collect();
        return if gone.is_empty() { Decision::Keep } else { Decision::Release(gone) };
    }
    if !owners.waiting.is_empty() && dependents {
        return Decision::Delete { policy: PropagationPolicy::Foreground, unblock: deleting };
    }
    let policy = if has(ORPHAN) {
        PropagationPolicy::Orphan
    } else if has(FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    };
    Decision::Delete { policy, unblock: false }
}

/// Reads and writes objects of any kind for the garbage collector.
pub(super) struct Collector {
    pub(super) client: Client,
    pub(super) graph: Mutex<Graph>,
    pub(super) discovered: Mutex<Arc<Discovered>>,
}

impl Collector {
    /// The API of an object's kind; an error for kinds that discovery does not know.
    fn api(&self, api_version: &str, kind: &str, namespace: &str) -> Result<(Api<Metadata>, bool)> {
        let discovered = self.discovered.lock().clone();
        let served = discovered
            .by_kind(api_version, kind)
            .ok_or_else(|| Error::other(format!("unable to get REST mapping for {api_version}/{kind}.")))?;
        let api = if served.namespaced && !namespace.is_empty() {
            Api::namespaced_with(self.client.clone(), namespace, &served.api)
        } else {
            Api::all_with(self.client.clone(), &served.api)
        };
        Ok((api, served.namespaced))
    }

    fn api_of(&self, identity: &Identity) -> Result<Api<Metadata>> {
        let (api, namespaced) = self.api(&identity.api_version, &identity.kind, &identity.namespace)?;
        if namespaced && identity.namespace.is_empty() {
            return Err(Error::other(format!("{identity}: cluster-scoped objects cannot refer to namespaced owners")));
        }
        Ok(api)
    }

    /// Looks at one node and does what is due.
    pub(super) async fn attempt_to_delete(&self, uid: &str) -> Result<Outcome> {
        let Some(node) = self.graph.lock().get(uid).cloned() else { return Ok(Outcome::Done) };
        if node.being_deleted && !node.deleting_dependents {
            return Ok(Outcome::Done);
        }
        if self.can_never_exist(&node.identity) {
            return Ok(Outcome::Done);
        }
        let api = self.api_of(&node.identity)?;
        let live = api.get_opt(&node.identity.name).await?;
        let Some(latest) = live.filter(|live| live.metadata.uid.as_deref() == Some(uid)) else {
            return Ok(Outcome::Absent);
        };
        if node.deleting_dependents {
            return self.finish_foreground(&node).await;
        }
        let references = latest.metadata.owner_references.clone().unwrap_or_default();
        if references.is_empty() {
            return Ok(Outcome::Done);
        }
        let Some(owners) = self.classify(&node.identity, references).await? else { return Ok(Outcome::Done) };
        self.carry_out(&api, &node, &latest.metadata, &owners).await
    }

    /// A reference from a cluster-scoped object to a namespaced kind: no read can ever find it.
    fn can_never_exist(&self, identity: &Identity) -> bool {
        let discovered = self.discovered.lock().clone();
        let served = discovered.by_kind(&identity.api_version, &identity.kind);
        identity.namespace.is_empty() && served.is_some_and(|served| served.namespaced)
    }

    async fn carry_out(
        &self,
        api: &Api<Metadata>,
        node: &Node,
        latest: &ObjectMeta,
        owners: &Owners,
    ) -> Result<Outcome> {
        let deleting = {
            let graph = self.graph.lock();
            graph.dependents(node).iter().any(|dependent| dependent.deleting_dependents)
        };
        match decide(owners, latest, !node.dependents.is_empty(), deleting) {
            Decision::Keep => Ok(Outcome::Done),
            Decision::Release(gone) => self.release(&node.identity, &gone).await.map(|()| Outcome::Done),
            Decision::Delete { policy, unblock } => {
                if unblock {
                    self.unblock(node).await?;
                }
                match delete(api, &node.identity, latest, policy).await {
                    Ok(()) => Ok(Outcome::Done),
                    Err(error) if error.is_not_found() => Ok(Outcome::Absent),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// `None` when a reference can never be resolved: a cluster-scoped object with a namespaced owner.
    async fn classify(&self, item: &Identity, references: Vec<OwnerReference>) -> Result<Option<Owners>> {
        let mut owners = Owners::default();
        for reference in references {
            let known_absent = {
                let graph = self.graph.lock();
                graph.is_absent(&Identity::claimed(&reference, ""))
                    || graph.is_absent(&Identity::claimed(&reference, &item.namespace))
            };
            if known_absent {
                owners.dangling.push(reference);
                continue;
            }
            let (api, namespaced) = self.api(&reference.api_version, &reference.kind, &item.namespace)?;
            if namespaced && item.namespace.is_empty() {
                return Ok(None);
            }
            let found = api.get_opt(&reference.name).await?;
            match found.filter(|owner| owner.metadata.uid.as_ref() == Some(&reference.uid)) {
                None => {
                    let namespace = if namespaced { item.namespace.as_str() } else { "" };
                    self.graph.lock().add_absent(Identity::claimed(&reference, namespace));
                    owners.dangling.push(reference);
                }
                Some(owner) if waits_for_dependents(&owner.metadata) => owners.waiting.push(reference),
                Some(_) => owners.solid.push(reference),
            }
        }
        Ok(Some(owners))
    }

    /// Lets an object in foreground deletion go once nothing blocks it.
    async fn finish_foreground(&self, node: &Node) -> Result<Outcome> {
        let blocking: Vec<(String, bool)> = {
            let graph = self.graph.lock();
            let Some(node) = graph.get(&node.identity.uid) else { return Ok(Outcome::Done) };
            let of = |node: &&Node| (node.identity.uid.clone(), node.deleting_dependents);
            graph.blocking_dependents(node).iter().map(of).collect()
        };
        if blocking.is_empty() {
            self.remove_finalizer(&node.identity, FOREGROUND).await?;
            return Ok(Outcome::Done);
        }
        Ok(Outcome::Look(blocking.into_iter().filter(|(_, deleting)| !deleting).map(|(uid, _)| uid).collect()))
    }

    /// Takes an owner that is deleted with the policy Orphan off its dependents, then lets it go.
    pub(super) async fn attempt_to_orphan(&self, uid: &str) -> Result<()> {
        let (owner, dependents) = {
            let graph = self.graph.lock();
            let Some(owner) = graph.get(uid) else { return Ok(()) };
            let dependents: Vec<Identity> = graph.dependents(owner).iter().map(|node| node.identity.clone()).collect();
            (owner.identity.clone(), dependents)
        };
        let gone = [uid.to_owned()];
        let outcomes = join_all(dependents.iter().map(|dependent| self.release(dependent, &gone))).await;
        let failed = outcomes.into_iter().filter_map(Result::err).filter(|error| !error.is_not_found());
        Error::all(failed.collect())?;
        self.remove_finalizer(&owner, ORPHAN).await
    }

    async fn release(&self, item: &Identity, owners: &[String]) -> Result<()> {
        let uids: Vec<&str> = owners.iter().map(String::as_str).collect();
        let smart = release_patch(Some(&item.uid), &uids);
        self.patch(item, smart, |references| references.into_iter().filter(|r| !owners.contains(&r.uid)).collect())
            .await
    }

    /// Sets blockOwnerDeletion to false, which breaks a circle of objects that wait for each other.
    async fn unblock(&self, node: &Node) -> Result<()> {
        let free = |references: Vec<OwnerReference>| -> Vec<OwnerReference> {
            references.into_iter().map(|owner| OwnerReference { block_owner_deletion: Some(false), ..owner }).collect()
        };
        let blocking = node.owners.iter().filter(|owner| owner.block_owner_deletion == Some(true)).cloned();
        let references = free(blocking.collect());
        let smart = json!({"metadata": {"uid": node.identity.uid, "ownerReferences": references}});
        self.patch(&node.identity, smart, free).await
    }

    /// A strategic merge patch; for kinds that have none (custom resources), a merge patch of all references.
    async fn patch<F>(&self, item: &Identity, smart: Value, change: F) -> Result<()>
    where
        F: Fn(Vec<OwnerReference>) -> Vec<OwnerReference>,
    {
        let api = self.api_of(item)?;
        match api.patch(&item.name, &PatchParams::default(), &Patch::Strategic(smart)).await {
            Ok(_) => return Ok(()),
            Err(error) if is_unsupported_media_type(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let live = api.get(&item.name).await?.metadata;
        let references = change(live.owner_references.unwrap_or_default());
        let references = (!references.is_empty()).then_some(references);
        let plain = json!({"metadata": {"resourceVersion": live.resource_version, "ownerReferences": references}});
        api.patch(&item.name, &PatchParams::default(), &Patch::Merge(plain)).await?;
        Ok(())
    }

    async fn remove_finalizer(&self, item: &Identity, finalizer: &str) -> Result<()> {
        let api = self.api_of(item)?;
        for _ in 0..FINALIZER_ATTEMPTS {
            let Some(live) = api.get_opt(&item.name).await?.map(|live| live.metadata) else { return Ok(()) };
            let mut finalizers = live.finalizers.unwrap_or_default();
            let before = finalizers.len();
            finalizers.retain(|has| has != finalizer);
            if live.uid.as_ref() != Some(&item.uid) || finalizers.len() == before {
                return Ok(());
            }
            let finalizers = (!finalizers.is_empty()).then_some(finalizers);
            let patch = json!({"metadata": {"resourceVersion": live.resource_version, "finalizers": finalizers}});
            match api.patch(&item.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => return Ok(()),
                Err(error) if is_not_found(&error) => return Ok(()),
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::other(format!("updateMaxRetries({FINALIZER_ATTEMPTS}) has reached for owner {item}")))
    }
}

fn waits_for_dependents(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some() && meta.finalizers.iter().flatten().any(|finalizer| finalizer == FOREGROUND)
}

/// Deletes what was judged. When only something else changed meanwhile, the same object goes anyway.
async fn delete(api: &Api<Metadata>, item: &Identity, judged: &ObjectMeta, policy: PropagationPolicy) -> Result<()> {
    let params = |resource_version: Option<String>| DeleteParams {
        propagation_policy: Some(policy.clone()),
        preconditions: Some(Preconditions { uid: Some(item.uid.clone()), resource_version }),
        ..DeleteParams::default()
    };
    let Err(error) = api.delete(&item.name, &params(judged.resource_version.clone())).await else { return Ok(()) };
    if !is_conflict(&error) {
        return Err(error.into());
    }
    let live = api.get(&item.name).await?.metadata;
    if live.uid.as_ref() == Some(&item.uid) && live.owner_references == judged.owner_references {
        api.delete(&item.name, &params(None)).await?;
        return Ok(());
    }
    Err(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions() {
        let owner = |uid: &str| OwnerReference { uid: uid.into(), ..OwnerReference::default() };
        let owners = |solid: &[&str], dangling: &[&str], waiting: &[&str]| {
            let all = |uids: &[&str]| uids.iter().map(|uid| owner(uid)).collect();
            Owners { solid: all(solid), dangling: all(dangling), waiting: all(waiting) }
        };
        let meta = |finalizers: &[&str]| ObjectMeta {
            finalizers: Some(finalizers.iter().map(|f| (*f).into()).collect()),
            ..ObjectMeta::default()
        };
        let delete = |policy, unblock| Decision::Delete { policy, unblock };
        use PropagationPolicy::{Background, Foreground, Orphan};
        let table = [
            (owners(&["s"], &[], &[]), meta(&[]), false, false, Decision::Keep),
            (owners(&["s"], &["d"], &["w"]), meta(&[]), false, false, Decision::Release(vec!["d".into(), "w".into()])),
            (owners(&[], &["d"], &[]), meta(&[]), true, false, delete(Background, false)),
            (owners(&[], &["d"], &["w"]), meta(&[]), true, false, delete(Foreground, false)),
            (owners(&[], &[], &["w"]), meta(&[]), true, true, delete(Foreground, true)),
            (owners(&[], &[], &["w"]), meta(&[]), false, false, delete(Background, false)),
            (owners(&[], &["d"], &[]), meta(&[ORPHAN]), true, false, delete(Orphan, false)),
            (owners(&[], &["d"], &[]), meta(&[FOREGROUND]), true, false, delete(Foreground, false)),
        ];
        for (owners, latest, dependents, deleting, expected) in table {
            assert_eq!(decide(&owners, &latest, dependents, deleting), expected, "{owners:?} {latest:?}");
        }
    }
}
