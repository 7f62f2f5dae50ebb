//! Who controls what: controller references, adoption and release
//! (pkg/controller/controller_ref_manager.go@v1.37.2).
//!
//! Invariant: an object is adopted only after a live read shows that the adopter is not being deleted.

use std::sync::Arc;

use client::informer::Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::error::{Error, Result, is_invalid, is_not_found};

/// The owner reference that has `controller: true`.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// The reference that makes `owner` the controller of what it creates.
pub(crate) fn controller_ref<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// True when the object `meta` is controlled by the object with this uid.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, uid: Option<&str>) -> bool {
    controller_of(meta).is_some_and(|owner| Some(owner.uid.as_str()) == uid)
}

/// What an object is to a controller that looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Mine,
    NotMine,
    Adopt,
    Release,
}

/// Decides what `object` is to `owner`; `matches` says whether the owner's selector selects it.
pub(crate) fn claim(owner: &ObjectMeta, object: &ObjectMeta, matches: bool) -> Claim {
    let deleting = owner.deletion_timestamp.is_some();
    match controller_of(object) {
        Some(controller) if Some(&controller.uid) != owner.uid.as_ref() => Claim::NotMine,
        Some(_) if matches => Claim::Mine,
        Some(_) if deleting => Claim::NotMine,
        Some(_) => Claim::Release,
        None if deleting || !matches || object.deletion_timestamp.is_some() => Claim::NotMine,
        None if owner.namespace != object.namespace => Claim::NotMine,
        None => Claim::Adopt,
    }
}

/// The strategic merge patch that adds `owner` to an object's owner references, and finalizers.
pub(crate) fn adopt_patch(uid: Option<&str>, owner: &OwnerReference, finalizers: &[&str]) -> Value {
    let mut patch = json!({"metadata": {"uid": uid, "ownerReferences": [owner]}});
    if !finalizers.is_empty() {
        patch["metadata"]["finalizers"] = json!(finalizers);
    }
    patch
}

/// The strategic merge patch that takes owners out of an object's owner references.
pub(crate) fn release_patch(uid: Option<&str>, owners: &[&str]) -> Value {
    let gone: Vec<Value> = owners.iter().map(|owner| json!({"$patch": "delete", "uid": owner})).collect();
    json!({"metadata": {"uid": uid, "ownerReferences": gone}})
}

/// Adopts, releases and returns those of `objects` that belong to `owner`.
pub(crate) async fn claim_all<O, K>(
    owner: &O,
    owners: &Api<O>,
    api: &Api<K>,
    objects: Vec<Arc<K>>,
    matches: impl Fn(&K) -> bool,
) -> Result<Vec<Arc<K>>>
where
    O: Object,
    K: Object,
{
    claim_with(owner, owners, api, objects, matches, &[]).await
}

/// [`claim_all`] with finalizers that adoption adds and release takes away.
pub(crate) async fn claim_with<O, K>(
    owner: &O,
    owners: &Api<O>,
    api: &Api<K>,
    objects: Vec<Arc<K>>,
    matches: impl Fn(&K) -> bool,
    finalizers: &[&str],
) -> Result<Vec<Arc<K>>>
where
    O: Object,
    K: Object,
{
    let (mut mine, mut errors) = (Vec::new(), Vec::new());
    let may_adopt = OnceCell::new();
    for object in objects {
        match claim(owner.meta(), object.meta(), matches(&object)) {
            Claim::Mine => mine.push(object),
            Claim::NotMine => {}
            Claim::Release => {
                if let Err(error) = release(owner.meta(), api, &*object, finalizers).await {
                    errors.push(error);
                }
            }
            Claim::Adopt => {
                let allowed = may_adopt.get_or_init(|| recheck(owner, owners)).await;
                match adopt(owner, api, &*object, allowed, finalizers).await {
                    Ok(true) => mine.push(object),
                    Ok(false) => {}
                    Err(error) => errors.push(error),
                }
            }
        }
    }
    Error::all(errors).map(|()| mine)
}

/// A live read: the owner is the same object and not being deleted.
async fn recheck<O: Object>(owner: &O, owners: &Api<O>) -> Result<(), String> {
    let meta = owner.meta();
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""));
    let fresh = owners
        .get(name)
        .await
        .map_err(|error| format!("can't recheck DeletionTimestamp: {}", crate::error::text(&error)))?;
    if fresh.meta().uid != meta.uid {
        let (got, wanted) = (fresh.meta().uid.as_deref().unwrap_or(""), meta.uid.as_deref().unwrap_or(""));
        let kind = O::kind(&());
        return Err(format!(
            "can't recheck DeletionTimestamp: original {kind} {namespace}/{name} is gone: got uid {got}, wanted {wanted}"
        ));
    }
    match &fresh.meta().deletion_timestamp {
        Some(at) => Err(format!("{namespace}/{name} has just been deleted at {}", at.0)),
        None => Ok(()),
    }
}

async fn adopt<O: Object, K: Object>(
    owner: &O,
    api: &Api<K>,
    object: &K,
    allowed: &Result<(), String>,
    finalizers: &[&str],
) -> Result<bool> {
    let meta = object.meta();
    let name = meta.name.as_deref().unwrap_or("");
    if let Err(why) = allowed {
        let (namespace, uid) = (meta.namespace.as_deref().unwrap_or(""), meta.uid.as_deref().unwrap_or(""));
        return Err(Error::other(format!("can't adopt {} {namespace}/{name} ({uid}): {why}", K::kind(&()))));
    }
    let patch = adopt_patch(meta.uid.as_deref(), &controller_ref(owner), finalizers);
    match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn release<K: Object>(owner: &ObjectMeta, api: &Api<K>, object: &K, finalizers: &[&str]) -> Result<()> {
    let meta = object.meta();
    let mut patch = release_patch(meta.uid.as_deref(), &[owner.uid.as_deref().unwrap_or("")]);
    if !finalizers.is_empty() {
        patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!(finalizers);
    }
    match api.patch(meta.name.as_deref().unwrap_or(""), &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(_) => Ok(()),
        // Gone, or a new object of the same name: nothing to release.
        Err(error) if is_not_found(&error) || is_invalid(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn meta(uid: &str, namespace: &str, deleting: bool, controller: Option<&str>) -> ObjectMeta {
        let owner = controller.map(|uid| OwnerReference {
            uid: uid.into(),
            controller: Some(true),
            ..OwnerReference::default()
        });
        ObjectMeta {
            uid: Some(uid.into()),
            namespace: Some(namespace.into()),
            deletion_timestamp: deleting.then_some(Time(Timestamp::UNIX_EPOCH)),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn claims() {
        let (alive, dying) = (meta("o", "ns", false, None), meta("o", "ns", true, None));
        let table = [
            (&alive, meta("p", "ns", false, Some("o")), true, Claim::Mine),
            (&alive, meta("p", "ns", false, Some("o")), false, Claim::Release),
            (&dying, meta("p", "ns", false, Some("o")), true, Claim::Mine),
            (&dying, meta("p", "ns", false, Some("o")), false, Claim::NotMine),
            (&alive, meta("p", "ns", false, Some("x")), true, Claim::NotMine),
            (&alive, meta("p", "ns", false, None), true, Claim::Adopt),
            (&alive, meta("p", "ns", false, None), false, Claim::NotMine),
            (&alive, meta("p", "ns", true, None), true, Claim::NotMine),
            (&alive, meta("p", "other", false, None), true, Claim::NotMine),
            (&dying, meta("p", "ns", false, None), true, Claim::NotMine),
        ];
        for (owner, object, matches, expected) in table {
            assert_eq!(claim(owner, &object, matches), expected, "{object:?} matches={matches}");
        }
    }
}
