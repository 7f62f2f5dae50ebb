//! namespace-controller: empties a terminating namespace, then lets it go
//! (pkg/controller/namespace@v1.37.2).
//!
//! Invariant: the finalizer is removed only after a pass that found nothing left of any served kind.

mod conditions;
mod content;

use std::time::Duration;

use client::Key;
use client::controller::Again;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::Context;
use crate::error::{Error, Result, is_conflict, is_not_found};

const NAME: &str = "namespace-controller";
/// --concurrent-namespace-syncs
const WORKERS: usize = 10;
/// API servers may not have seen the deletion yet and still admit creates (upstream:
/// namespaceDeletionGracePeriod).
const GRACE: Duration = Duration::from_secs(5);
/// The finalizer that is ours.
const FINALIZER: &str = "kubernetes";

pub(crate) fn start(context: &Context) {
    let queue: Queue<Key> = Queue::new();
    let namespaces = context.informers.of::<Namespace>();
    let pods = context.informers.of::<Pod>();
    let to = queue.clone();
    namespaces.on_change(move |_, new| {
        if let Some(namespace) = new.filter(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
            to.add_after(Key::of(&**namespace), GRACE);
        }
    });
    let (to, cache) = (queue.clone(), namespaces.clone());
    pods.on_change(move |old, new| {
        if let (Some(old), None) = (old, new) {
            pod_gone(old, &cache, &to);
        }
    });
    let client = context.client(NAME);
    let watched = (namespaces, pods);
    context.controller(NAME, queue, WORKERS, watched, move |key, (namespaces, pods)| {
        let client = client.clone();
        async move { sync(&client, &key, &namespaces, &pods).await }
    });
}

/// The last pod's end is what the rest of the content waits for.
fn pod_gone(pod: &Pod, namespaces: &Cache<Namespace>, queue: &Queue<Key>) {
    let key = Key::new("", pod.metadata.namespace.as_deref().unwrap_or(""));
    let deleted = namespaces.by_key(&key).and_then(|namespace| namespace.metadata.deletion_timestamp.clone());
    let old_enough = deleted.is_some_and(|at| Timestamp::now().duration_since(at.0).unsigned_abs() >= GRACE);
    if old_enough {
        queue.add(key);
    }
}

async fn sync(client: &Client, key: &Key, namespaces: &Cache<Namespace>, pods: &Cache<Pod>) -> Result<Again> {
    if namespaces.by_key(key).is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_none()) {
        return Ok(None);
    }
    let api: Api<Namespace> = Api::all(client.clone());
    let Some(live) = api.get_opt(&key.name).await? else { return Ok(None) };
    if live.metadata.deletion_timestamp.is_none() {
        return Ok(None);
    }
    let Some(mut namespace) = mark_terminating(&api, live).await? else { return Ok(None) };
    if namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref()).is_none_or(Vec::is_empty) {
        return Ok(None);
    }
    let outcome = content::delete_all(client, &namespace).await;
    let status = namespace.status.get_or_insert_default();
    let current = status.conditions.clone().unwrap_or_default();
    if let Some(conditions) = conditions::update(&current, &outcome.findings, Timestamp::now()) {
        status.conditions = Some(conditions);
        match api.replace_status(&key.name, &PostParams::default(), &namespace).await {
            Ok(written) => namespace = written,
            Err(error) => tracing::debug!(namespace = key.name, %error, "conditions not written"),
        }
    }
    match outcome {
        content::Outcome { error: Some(error), .. } => Err(error),
        content::Outcome { estimate: 0, .. } => finalize(&api, namespace).await.map(|()| None),
        content::Outcome { estimate, .. } => {
            let pods_left = !pods.list_namespace(&key.name).is_empty();
            tracing::debug!(namespace = key.name, estimate, pods_left, "content remains");
            Ok(Some(Duration::from_secs(estimate.unsigned_abs() / 2 + 1)))
        }
    }
}

/// Sets the phase; `None` when the namespace is gone.
async fn mark_terminating(api: &Api<Namespace>, live: Namespace) -> Result<Option<Namespace>> {
    update(api, live, |api, mut namespace| async move {
        let status = namespace.status.get_or_insert_default();
        if status.phase.as_deref() == Some("Terminating") {
            return Ok(namespace);
        }
        status.phase = Some("Terminating".into());
        let name = namespace.metadata.name.clone().unwrap_or_default();
        api.replace_status(&name, &PostParams::default(), &namespace).await
    })
    .await
}

/// Takes our finalizer out of the spec, which lets the API server remove the namespace.
async fn finalize(api: &Api<Namespace>, namespace: Namespace) -> Result<()> {
    update(api, namespace, |api, mut namespace| async move {
        let finalizers = &mut namespace.spec.get_or_insert_default().finalizers;
        finalizers.get_or_insert_default().retain(|finalizer| finalizer != FINALIZER);
        let name = namespace.metadata.name.clone().unwrap_or_default();
        api.replace_subresource("finalize", &name, &PostParams::default(), &namespace).await
    })
    .await
    .map(drop)
}

/// Writes, again on the fresh object after a conflict; `None` when it is gone.
async fn update<F, Fut>(api: &Api<Namespace>, mut namespace: Namespace, write: F) -> Result<Option<Namespace>>
where
    F: Fn(Api<Namespace>, Namespace) -> Fut,
    Fut: Future<Output = kube::Result<Namespace>>,
{
    loop {
        let (name, uid) = (namespace.metadata.name.clone().unwrap_or_default(), namespace.metadata.uid.clone());
        match write(api.clone(), namespace).await {
            Ok(written) => return Ok(Some(written)),
            Err(error) if is_not_found(&error) => return Ok(None),
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(fresh) = api.get_opt(&name).await? else { return Ok(None) };
        if fresh.metadata.uid != uid {
            return Err(Error::other("namespace uid has changed across retries"));
        }
        namespace = fresh;
    }
}
