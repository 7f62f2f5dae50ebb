//! root-ca-certificate-publisher-controller: every namespace has the ConfigMap `kube-root-ca.crt`
//! (pkg/controller/certificates/rootcacertpublisher/publisher.go@v1.37.2).

use std::collections::BTreeMap;

use client::Key;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::Context;
use crate::error::{Result, is_namespace_terminating, is_not_found};

const NAME: &str = "root-ca-certificate-publisher-controller";
const CONFIG_MAP: &str = "kube-root-ca.crt";
const DESCRIPTION_KEY: &str = "kubernetes.io/description";
/// Data on the wire: part of the object, so upstream's exact words.
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
const WORKERS: usize = 4;

pub(crate) fn start(context: &Context) {
    let Some(root_ca) = context.config.root_ca.clone() else { return };
    let queue: Queue<Key> = Queue::new();
    // Only the one name is cached, not every ConfigMap of the cluster.
    let maps = context.informers.with_fields::<ConfigMap>(&format!("metadata.name={CONFIG_MAP}"));
    let namespaces = context.informers.of::<Namespace>();
    let to = queue.clone();
    namespaces.on_change(move |_, new| new.into_iter().for_each(|namespace| to.add(Key::of(&**namespace))));
    let to = queue.clone();
    maps.on_change(move |old, new| {
        let namespace = new.or(old).and_then(|map| map.metadata.namespace.clone());
        namespace.into_iter().for_each(|namespace| to.add(Key::new("", namespace)));
    });
    let client = context.client("root-ca-cert-publisher");
    context.controller(NAME, queue, WORKERS, (maps, namespaces), move |key, caches| {
        let (client, root_ca) = (client.clone(), root_ca.clone());
        async move { sync(&client, &root_ca, &key.name, &caches.0, &caches.1).await.map(|()| None) }
    });
}

/// The ConfigMap to write, if what is there is not as it should be.
fn plan(current: Option<&ConfigMap>, root_ca: &str) -> Option<ConfigMap> {
    let data = BTreeMap::from([("ca.crt".to_owned(), root_ca.to_owned())]);
    let annotation = |map: &ConfigMap| {
        map.metadata.annotations.as_ref().and_then(|all| all.get(DESCRIPTION_KEY)).is_some_and(|text| !text.is_empty())
    };
    if current.is_some_and(|map| map.data.as_ref() == Some(&data) && annotation(map)) {
        return None;
    }
    let mut map = current.cloned().unwrap_or_default();
    map.metadata.name = Some(CONFIG_MAP.into());
    map.metadata.annotations.get_or_insert_default().insert(DESCRIPTION_KEY.into(), DESCRIPTION.into());
    map.data = Some(data);
    Some(map)
}

async fn sync(
    client: &Client,
    root_ca: &str,
    namespace: &str,
    maps: &Cache<ConfigMap>,
    namespaces: &Cache<Namespace>,
) -> Result<()> {
    if namespaces.get("", namespace).is_none() {
        return Ok(());
    }
    let current = maps.get(namespace, CONFIG_MAP);
    let Some(map) = plan(current.as_deref(), root_ca) else { return Ok(()) };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let written = match current {
        Some(_) => api.replace(CONFIG_MAP, &PostParams::default(), &map).await,
        None => api.create(&PostParams::default(), &map).await,
    };
    match written {
        Err(error) if !is_not_found(&error) && !is_namespace_terminating(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_wanted() {
        let written = plan(None, "PEM").expect("absent");
        assert!(plan(Some(&written), "PEM").is_none(), "stable");
        assert!(plan(Some(&written), "OTHER").is_some(), "another CA");
        let mut more = written.clone();
        more.data.get_or_insert_default().insert("x".into(), "y".into());
        assert_eq!(plan(Some(&more), "PEM").and_then(|map| map.data), written.data);
        let mut bare = written;
        bare.metadata.annotations = None;
        assert!(plan(Some(&bare), "PEM").is_some(), "no description");
    }
}
