//! token-cleaner-controller: deletes bootstrap tokens when they expire (pkg/controller/bootstrap/tokencleaner.go@v1.37.2).

use client::Key;
use client::controller::Again;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client};

use super::{is_token, left, tokens};
use crate::Context;
use crate::error::{Result, is_conflict, is_not_found};

const NAME: &str = "token-cleaner-controller";
const ACCOUNT: &str = "token-cleaner";
const WORKERS: usize = 1;

pub(crate) fn start(context: &Context) {
    let queue: Queue<Key> = Queue::new();
    let secrets = tokens(context);
    let to = queue.clone();
    secrets.on_change(move |_, new| {
        if let Some(secret) = new.filter(|secret| is_token(secret)) {
            to.add(Key::of(&**secret));
        }
    });
    let client = context.client(ACCOUNT);
    context.controller(NAME, queue, WORKERS, secrets, move |key, secrets| {
        let client = client.clone();
        async move { sync(&client, &key, &secrets).await }
    });
}

async fn sync(client: &Client, key: &Key, secrets: &Cache<Secret>) -> Result<Again> {
    let Some(secret) = secrets.by_key(key).filter(|secret| is_token(secret)) else { return Ok(None) };
    match left(&secret, Timestamp::now()) {
        None => return Ok(None),
        Some(wait) if !wait.is_zero() => return Ok(Some(wait)),
        Some(_) => {}
    }
    let api: Api<Secret> = Api::namespaced(client.clone(), &key.namespace);
    let preconditions = Some(Preconditions { uid: secret.metadata.uid.clone(), resource_version: None });
    match api.delete(&key.name, &DeleteParams { preconditions, ..DeleteParams::default() }).await {
        Err(error) if !is_not_found(&error) && !is_conflict(&error) => Err(error.into()),
        _ => Ok(None),
    }
}
