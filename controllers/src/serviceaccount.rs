//! serviceaccount-controller: every active namespace has the service account `default`
//! (pkg/controller/serviceaccount/serviceaccounts_controller.go@v1.37.2).

use client::Key;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::Context;
use crate::error::{Result, is_already_exists, is_namespace_terminating};

const NAME: &str = "serviceaccount-controller";
const DEFAULT: &str = "default";
/// Upstream has one worker; namespaces are independent.
const WORKERS: usize = 4;

pub(crate) fn start(context: &Context) {
    let queue: Queue<Key> = Queue::new();
    let namespaces = context.informers.of::<Namespace>();
    let accounts = context.informers.of::<ServiceAccount>();
    let to = queue.clone();
    namespaces.on_change(move |_, new| new.into_iter().for_each(|namespace| to.add(Key::of(&**namespace))));
    let to = queue.clone();
    accounts.on_change(move |old, new| {
        if let (Some(old), None) = (old, new) {
            to.add(Key::new("", old.metadata.namespace.as_deref().unwrap_or("")));
        }
    });
    let client = context.client("service-account-controller");
    context.controller(NAME, queue, WORKERS, (namespaces, accounts), move |key, caches| {
        let client = client.clone();
        async move { sync(&client, &key, &caches.0, &caches.1).await.map(|()| None) }
    });
}

/// True when the namespace is to get its default service account.
fn wanted(namespace: Option<&Namespace>, present: bool) -> bool {
    let phase = namespace.and_then(|namespace| namespace.status.as_ref()?.phase.as_deref());
    phase == Some("Active") && !present
}

async fn sync(
    client: &Client,
    key: &Key,
    namespaces: &Cache<Namespace>,
    accounts: &Cache<ServiceAccount>,
) -> Result<()> {
    if !wanted(namespaces.by_key(key).as_deref(), accounts.get(&key.name, DEFAULT).is_some()) {
        return Ok(());
    }
    let mut account = ServiceAccount::default();
    account.metadata.name = Some(DEFAULT.into());
    account.metadata.namespace = Some(key.name.clone());
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &key.name);
    match api.create(&PostParams::default(), &account).await {
        Err(error) if !is_already_exists(&error) && !is_namespace_terminating(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_active_namespaces_without_one() {
        let namespace = |phase: &str| -> Namespace {
            serde_json::from_value(serde_json::json!({"status": {"phase": phase}})).expect("namespace")
        };
        let (active, terminating) = (namespace("Active"), namespace("Terminating"));
        assert!(wanted(Some(&active), false));
        assert!(!wanted(Some(&active), true));
        assert!(!wanted(Some(&terminating), false));
        assert!(!wanted(None, false));
    }
}
