//! ConfigMaps and Secrets that pods on this node use: one watch an object, for as long as a pod
//! refers to it (pkg/kubelet/util/manager/watch_based_manager.go@v1.37.2).
//!
//! Invariant: only objects that a pod of this node names are asked for, each by name, which is all
//! that the node authorizer grants.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::informer::Object;
use client::task::Tasks;
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::pod::shape;

/// How long a pod's start waits for the first answer about an object.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
enum Known<K> {
    Pending,
    Absent,
    Present(Arc<K>),
}

struct Entry<K> {
    pods: HashSet<String>,
    state: watch::Receiver<Known<K>>,
    tasks: Tasks,
}

type Notify = Arc<dyn Fn(&str) + Send + Sync>;

/// The objects of one kind.
pub(crate) struct Store<K> {
    client: Client,
    tasks: Tasks,
    notify: Notify,
    entries: Arc<Mutex<HashMap<Key, Entry<K>>>>,
}

/// Why an object cannot be had.
#[derive(Debug, PartialEq)]
pub(crate) enum Missing {
    NotFound(String),
    Other(String),
}

impl Missing {
    pub(crate) fn text(self) -> String {
        match self {
            Missing::NotFound(text) | Missing::Other(text) => text,
        }
    }
}

impl<K> Store<K>
where
    K: Object + kube::Resource<Scope = NamespaceResourceScope>,
{
    /// `notify` is called with the uid of each pod that uses an object that changed.
    pub(crate) fn new(client: Client, tasks: Tasks, notify: Notify) -> Self {
        Store { client, tasks, notify, entries: Arc::default() }
    }

    /// Makes `wanted` the set of objects that the pod refers to.
    pub(crate) fn register(&self, uid: &str, wanted: &BTreeSet<Key>) {
        let mut entries = self.entries.lock();
        for key in wanted {
            let entry = entries.entry(key.clone()).or_insert_with(|| self.follow(key.clone()));
            entry.pods.insert(uid.to_owned());
        }
        entries.retain(|key, entry| {
            if !wanted.contains(key) {
                entry.pods.remove(uid);
            }
            let used = !entry.pods.is_empty();
            if !used {
                entry.tasks.cancel();
            }
            used
        });
    }

    fn follow(&self, key: Key) -> Entry<K> {
        let (sender, state) = watch::channel(Known::Pending);
        let tasks = self.tasks.child();
        let (client, notify, entries) = (self.client.clone(), self.notify.clone(), self.entries.clone());
        tasks.run("pod object watch", async move {
            let api: Api<K> = Api::namespaced(client, &key.namespace);
            let mut changes = std::pin::pin!(watcher::watch_object(api, &key.name).default_backoff());
            while let Some(change) = changes.next().await {
                match change {
                    Ok(object) => {
                        let was_known = !matches!(*sender.borrow(), Known::Pending);
                        sender.send_replace(object.map_or(Known::Absent, |object| Known::Present(Arc::new(object))));
                        let users = entries.lock().get(&key).map(|entry| entry.pods.clone()).unwrap_or_default();
                        users.iter().filter(|_| was_known).for_each(|uid| notify(uid));
                    }
                    Err(error) => tracing::debug!(%key, %error, "object of a pod not read, will retry"),
                }
            }
        });
        Entry { pods: HashSet::new(), state, tasks }
    }

    /// The object; its absence reads as the API server would say it.
    pub(crate) async fn get(&self, namespace: &str, name: &str) -> Result<Arc<K>, Missing> {
        let key = Key::new(namespace, name);
        let kind = K::kind(&()).to_lowercase();
        let state = self.entries.lock().get(&key).map(|entry| entry.state.clone());
        let Some(mut state) = state else {
            return Err(Missing::Other(format!("object {namespace:?}/{name:?} not registered")));
        };
        let known = tokio::time::timeout(FIRST_ANSWER, state.wait_for(|known| !matches!(known, Known::Pending))).await;
        match known {
            Ok(Ok(known)) => match &*known {
                Known::Present(object) => Ok(object.clone()),
                _ => Err(Missing::NotFound(format!("{kind} {name:?} not found"))),
            },
            _ => Err(Missing::Other(format!("failed to sync {kind} cache: timed out waiting for the condition"))),
        }
    }
}

/// The ConfigMaps that a pod names.
pub(crate) fn config_maps(pod: &Pod) -> BTreeSet<Key> {
    let mut names = BTreeSet::new();
    for container in containers(pod) {
        let from = container.env_from.iter().flatten();
        names.extend(from.filter_map(|from| Some(from.config_map_ref.as_ref()?.name.clone())));
        let values = container.env.iter().flatten().filter_map(|env| env.value_from.as_ref());
        names.extend(values.filter_map(|value| Some(value.config_map_key_ref.as_ref()?.name.clone())));
    }
    for volume in shape::spec(pod).volumes.iter().flatten() {
        names.extend(volume.config_map.as_ref().map(|source| source.name.clone()));
        let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        names.extend(projected.filter_map(|source| Some(source.config_map.as_ref()?.name.clone())));
    }
    keys(pod, names)
}

/// The Secrets that a pod names.
pub(crate) fn secrets(pod: &Pod) -> BTreeSet<Key> {
    let mut names = BTreeSet::new();
    for container in containers(pod) {
        let from = container.env_from.iter().flatten();
        names.extend(from.filter_map(|from| Some(from.secret_ref.as_ref()?.name.clone())));
        let values = container.env.iter().flatten().filter_map(|env| env.value_from.as_ref());
        names.extend(values.filter_map(|value| Some(value.secret_key_ref.as_ref()?.name.clone())));
    }
    let spec = shape::spec(pod);
    for volume in spec.volumes.iter().flatten() {
        names.extend(volume.secret.as_ref().and_then(|source| source.secret_name.clone()));
        let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        names.extend(projected.filter_map(|source| Some(source.secret.as_ref()?.name.clone())));
    }
    names.extend(spec.image_pull_secrets.iter().flatten().map(|reference| reference.name.clone()));
    keys(pod, names)
}

fn containers(pod: &Pod) -> Vec<Container> {
    let ephemeral = shape::ephemeral_containers(pod).iter().map(shape::as_container);
    shape::long_lived(pod).cloned().chain(ephemeral).collect()
}

fn keys(pod: &Pod, names: BTreeSet<String>) -> BTreeSet<Key> {
    names.into_iter().filter(|name| !name.is_empty()).map(|name| Key::new(shape::namespace(pod), name)).collect()
}

/// Both kinds together.
pub(crate) struct Objects {
    pub(crate) config_maps: Store<ConfigMap>,
    pub(crate) secrets: Store<Secret>,
}

impl Objects {
    pub(crate) fn new(client: &Client, tasks: &Tasks, notify: Notify) -> Self {
        Objects {
            config_maps: Store::new(client.clone(), tasks.clone(), notify.clone()),
            secrets: Store::new(client.clone(), tasks.clone(), notify),
        }
    }

    pub(crate) fn register(&self, pod: &Pod) {
        self.config_maps.register(shape::uid(pod), &config_maps(pod));
        self.secrets.register(shape::uid(pod), &secrets(pod));
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.config_maps.register(uid, &BTreeSet::new());
        self.secrets.register(uid, &BTreeSet::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn every_reference_is_found() {
        let pod = pod(
            "{imagePullSecrets: [{name: s1}], containers: [{name: a, envFrom: [{configMapRef: {name: c1}}, {secretRef: {name: s2}}], \
             env: [{name: x, valueFrom: {configMapKeyRef: {name: c2, key: k}}}, {name: y, valueFrom: {secretKeyRef: {name: s3, key: k}}}]}], \
             volumes: [{name: a, configMap: {name: c3}}, {name: b, secret: {secretName: s4}}, \
             {name: c, projected: {sources: [{configMap: {name: c4}}, {secret: {name: s5}}]}}]}",
        );
        let names = |keys: BTreeSet<Key>| keys.into_iter().map(|key| key.name).collect::<Vec<_>>().join(" ");
        assert_eq!(names(config_maps(&pod)), "c1 c2 c3 c4");
        assert_eq!(names(secrets(&pod)), "s1 s2 s3 s4 s5");
    }
}
