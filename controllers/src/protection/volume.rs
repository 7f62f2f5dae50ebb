//! persistentvolume-protection-controller: a volume that is bound stays
//! (pkg/controller/volume/pvprotection@v1.37.2).

use client::Key;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::{Api, Client};

use super::{Step, decide, write};
use crate::Context;
use crate::error::Result;

const NAME: &str = "persistentvolume-protection-controller";
const ACCOUNT: &str = "pv-protection-controller";
const FINALIZER: &str = "kubernetes.io/pv-protection";
const WORKERS: usize = 1;

pub(crate) fn start(context: &Context) {
    let queue: Queue<Key> = Queue::new();
    let volumes = context.informers.of::<PersistentVolume>();
    let to = queue.clone();
    volumes.on_change(move |_, new| {
        if let Some(volume) = new.filter(|volume| decide(&volume.metadata, FINALIZER) != Step::Nothing) {
            to.add(Key::of(&**volume));
        }
    });
    let client = context.client(ACCOUNT);
    context.controller(NAME, queue, WORKERS, volumes, move |key, volumes| {
        let client = client.clone();
        async move { sync(&client, &key, &volumes).await.map(|()| None) }
    });
}

fn is_used(volume: &PersistentVolume) -> bool {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

async fn sync(client: &Client, key: &Key, volumes: &Cache<PersistentVolume>) -> Result<()> {
    let Some(volume) = volumes.by_key(key) else { return Ok(()) };
    let step = decide(&volume.metadata, FINALIZER);
    if step == Step::Release && is_used(&volume) {
        return Ok(());
    }
    write(&Api::all(client.clone()), &*volume, FINALIZER, step).await
}
