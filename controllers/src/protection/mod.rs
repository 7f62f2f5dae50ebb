//! The controllers that keep claims, volumes and volume attributes classes while they are in use: a finalizer that
//! the admission plugin sets, and that goes once a deleted object is used no more
//! (pkg/controller/volume/{pvcprotection,pvprotection,vacprotection}@v1.37.2).
//!
//! One file each says what "in use" means; here is what they share ([`decide`] and the write).

mod claim;
mod class;
mod volume;

pub(crate) use claim::start as start_claims;
pub(crate) use class::start as start_classes;
pub(crate) use volume::start as start_volumes;

use client::informer::Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use serde::Serialize;

use crate::error::Result;

/// What an object's finalizer calls for (pkg/controller/util/protectionutil@v1.37.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is not being deleted and has no finalizer.
    Protect,
    /// It is being deleted: the finalizer goes when nothing uses it.
    Release,
    Nothing,
}

fn decide(meta: &ObjectMeta, finalizer: &str) -> Step {
    let has = meta.finalizers.iter().flatten().any(|name| name == finalizer);
    match (meta.deletion_timestamp.is_some(), has) {
        (false, false) => Step::Protect,
        (true, true) => Step::Release,
        _ => Step::Nothing,
    }
}

/// Writes the object with its finalizer added or taken away; a stale one is a conflict, and the key comes back.
async fn write<K: Object + Serialize>(api: &Api<K>, object: &K, finalizer: &str, step: Step) -> Result<()> {
    let mut changed = object.clone();
    let finalizers = changed.meta_mut().finalizers.get_or_insert_default();
    match step {
        Step::Protect => finalizers.push(finalizer.into()),
        Step::Release => finalizers.retain(|name| name != finalizer),
        Step::Nothing => return Ok(()),
    }
    api.replace(object.meta().name.as_deref().unwrap_or(""), &PostParams::default(), &changed).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn the_finalizer_comes_first_and_goes_last() {
        for (deleting, finalizers, expected) in [
            (false, vec![], Step::Protect),
            (false, vec!["other"], Step::Protect),
            (false, vec!["ours"], Step::Nothing),
            (true, vec!["other", "ours"], Step::Release),
            (true, vec!["other"], Step::Nothing),
        ] {
            let meta = ObjectMeta {
                deletion_timestamp: deleting.then_some(Time(Timestamp::UNIX_EPOCH)),
                finalizers: Some(finalizers.iter().map(|name| (*name).to_owned()).collect()),
                ..ObjectMeta::default()
            };
            assert_eq!(decide(&meta, "ours"), expected, "{deleting} {finalizers:?}");
        }
    }
}
