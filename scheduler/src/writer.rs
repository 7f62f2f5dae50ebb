//! The three writes of a scheduler: bind a pod, patch a pod's status, delete a pod.
//!
//! Invariant: everything the scheduler changes in the API goes through here, events and the leader
//! lease aside.

use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Status};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::Value;

/// Tries of a status patch, and the first pause between two of them
/// (k8s.io/client-go/util/retry@v0.37.2, DefaultBackoff).
const PATCH_TRIES: u32 = 4;
const PATCH_PAUSE: Duration = Duration::from_millis(10);
const PATCH_PAUSE_FACTOR: u32 = 5;

/// Why a write did not succeed.
#[derive(Debug)]
pub(crate) struct WriteError {
    /// The HTTP status, when the API server answered.
    code: Option<u16>,
    message: String,
}

impl WriteError {
    pub(crate) fn message(&self) -> String {
        self.message.clone()
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.code == Some(404)
    }

    /// True for conflicts, overload and failures inside the API server.
    fn is_transient(&self) -> bool {
        matches!(self.code, Some(409 | 429 | 500 | 503 | 504))
    }
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => WriteError { code: Some(status.code), message: status.message.clone() },
            other => WriteError { code: None, message: other.to_string() },
        }
    }
}

pub(crate) type Written<'a> = BoxFuture<'a, Result<(), WriteError>>;

/// Changes pods.
pub(crate) trait Writer: Send + Sync {
    fn bind<'a>(&'a self, namespace: &'a str, name: &'a str, uid: &'a str, node: &'a str) -> Written<'a>;

    /// Applies a strategic merge patch to the status subresource.
    fn patch_status<'a>(&'a self, namespace: &'a str, name: &'a str, patch: Value) -> Written<'a>;

    /// Deletes gracefully, with the pod's own grace period.
    fn delete<'a>(&'a self, namespace: &'a str, name: &'a str) -> Written<'a>;
}

/// Writes to the API server.
pub(crate) struct ApiWriter {
    client: Client,
}

impl ApiWriter {
    pub(crate) fn new(client: Client) -> Self {
        ApiWriter { client }
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

impl Writer for ApiWriter {
    fn bind<'a>(&'a self, namespace: &'a str, name: &'a str, uid: &'a str, node: &'a str) -> Written<'a> {
        let metadata = ObjectMeta {
            namespace: Some(namespace.into()),
            name: Some(name.into()),
            uid: Some(uid.into()),
            ..ObjectMeta::default()
        };
        let kind = Some("Node".into());
        let target = ObjectReference { kind, name: Some(node.into()), ..ObjectReference::default() };
        Box::pin(async move {
            let binding = Binding { metadata, target };
            let (pods, params) = (self.pods(namespace), PostParams::default());
            let _: Status = pods.create_subresource("binding", name, &params, &binding).await?;
            Ok(())
        })
    }

    fn patch_status<'a>(&'a self, namespace: &'a str, name: &'a str, patch: Value) -> Written<'a> {
        Box::pin(async move {
            let pods = self.pods(namespace);
            let patch = Patch::Strategic(&patch);
            let mut pause = PATCH_PAUSE;
            for _ in 1..PATCH_TRIES {
                match pods.patch_status(name, &PatchParams::default(), &patch).await.map_err(WriteError::from) {
                    Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
                    outcome => return outcome.map(drop),
                }
                pause *= PATCH_PAUSE_FACTOR;
            }
            pods.patch_status(name, &PatchParams::default(), &patch).await?;
            Ok(())
        })
    }

    fn delete<'a>(&'a self, namespace: &'a str, name: &'a str) -> Written<'a> {
        Box::pin(async move {
            self.pods(namespace).delete(name, &DeleteParams::default()).await?;
            Ok(())
        })
    }
}

/// Accepts every write and does nothing: for what-if runs.
pub(crate) struct Nowhere;

impl Writer for Nowhere {
    fn bind<'a>(&'a self, _: &'a str, _: &'a str, _: &'a str, _: &'a str) -> Written<'a> {
        Box::pin(async { Ok(()) })
    }

    fn patch_status<'a>(&'a self, _: &'a str, _: &'a str, _: Value) -> Written<'a> {
        Box::pin(async { Ok(()) })
    }

    fn delete<'a>(&'a self, _: &'a str, _: &'a str) -> Written<'a> {
        Box::pin(async { Ok(()) })
    }
}
