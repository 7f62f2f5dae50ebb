//! volumeattributesclass-protection-controller: a class that a claim or volume names stays
//! (pkg/controller/volume/vacprotection@v1.37.2).
//!
//! Decides from the caches alone, as upstream does: a claim made in the moment of the deletion may be missed.

use client::Key;
use client::informer::{Cache, Object};
use client::queue::Queue;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::{Api, Client};

use super::{Step, decide, write};
use crate::Context;
use crate::error::Result;

const NAME: &str = "volumeattributesclass-protection-controller";
const FINALIZER: &str = "kubernetes.io/vac-protection";
const WORKERS: usize = 1;
/// Index of claims and volumes by the classes they name.
const BY_CLASS: &str = "volumeAttributesClassName";

type Caches = (Cache<VolumeAttributesClass>, Cache<PersistentVolumeClaim>, Cache<PersistentVolume>);

pub(crate) fn start(context: &Context) {
    let queue: Queue<Key> = Queue::new();
    let informers = &context.informers;
    let classes = informers.of::<VolumeAttributesClass>();
    let to = queue.clone();
    classes.on_change(move |_, new| {
        if let Some(class) = new.filter(|class| decide(&class.metadata, FINALIZER) != Step::Nothing) {
            to.add(Key::of(&**class));
        }
    });
    let (claims, volumes) = (informers.of::<PersistentVolumeClaim>(), informers.of::<PersistentVolume>());
    follow(&claims, &queue, of_claim);
    follow(&volumes, &queue, of_volume);
    let client = context.client(NAME);
    context.controller(NAME, queue, WORKERS, (classes, claims, volumes), move |key, caches| {
        let client = client.clone();
        async move { sync(&client, &key, &caches).await.map(|()| None) }
    });
}

/// Indexes users by class, and looks at a class again when one of them stops naming it.
fn follow<K: Object>(users: &Cache<K>, queue: &Queue<Key>, names: fn(&K) -> Vec<String>) {
    users.add_index(BY_CLASS, names);
    let to = queue.clone();
    users.on_change(move |old, new| {
        let now = new.map(|user| names(user)).unwrap_or_default();
        let before = old.map(|user| names(user)).unwrap_or_default();
        before.into_iter().filter(|name| !now.contains(name)).for_each(|name| to.add(Key::new("", name)));
    });
}

fn of_claim(claim: &PersistentVolumeClaim) -> Vec<String> {
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    let status = claim.status.as_ref();
    let current = status.and_then(|status| status.current_volume_attributes_class_name.clone());
    let modify = status.and_then(|status| status.modify_volume_status.as_ref());
    let target = modify.and_then(|modify| modify.target_volume_attributes_class_name.clone());
    let mut names: Vec<String> =
        [wanted, current, target].into_iter().flatten().filter(|name| !name.is_empty()).collect();
    names.sort();
    names.dedup();
    names
}

fn of_volume(volume: &PersistentVolume) -> Vec<String> {
    let name = volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    name.filter(|name| !name.is_empty()).into_iter().collect()
}

async fn sync(client: &Client, key: &Key, (classes, claims, volumes): &Caches) -> Result<()> {
    let Some(class) = classes.by_key(key) else { return Ok(()) };
    let step = decide(&class.metadata, FINALIZER);
    let used = || !volumes.by_index(BY_CLASS, &key.name).is_empty() || !claims.by_index(BY_CLASS, &key.name).is_empty();
    if step == Step::Release && used() {
        return Ok(());
    }
    write(&Api::all(client.clone()), &*class, FINALIZER, step).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_names_up_to_three_classes() {
        for (claim, expected) in [
            (serde_json::json!({}), vec![]),
            (serde_json::json!({"spec": {"volumeAttributesClassName": ""}}), vec![]),
            (
                serde_json::json!({"spec": {"volumeAttributesClassName": "b"}, "status": {"currentVolumeAttributesClassName": "a",
                "modifyVolumeStatus": {"status": "Pending", "targetVolumeAttributesClassName": "b"}}}),
                vec!["a", "b"],
            ),
        ] {
            let parsed: PersistentVolumeClaim = serde_json::from_value(claim.clone()).expect("claim");
            assert_eq!(of_claim(&parsed), expected, "{claim}");
        }
    }
}
