//! What every component needs around kube-rs: a transport (HTTPS or in memory), shared caches with
//! indexes, a keyed work queue, the controller loop, leader election, events and what a component says of its health.
//!
//! Must not know: any store, any request chain, any component. A component built on this crate
//! cannot tell whether its API server is in the same process, nor whether it is ours.

pub mod connector;
pub mod controller;
pub mod events;
pub mod health;
pub mod informer;
pub mod lease;
pub mod queue;
pub mod task;

use std::fmt;

/// Namespace and name of an object; the namespace is empty for cluster-scoped kinds.
/// Displays as upstream's cache key does: `namespace/name`, or `name`
/// (k8s.io/client-go/tools/cache/store.go@v0.37.2, MetaNamespaceKeyFunc).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Key { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object that has a name.
    pub fn of<K: kube::Resource>(object: &K) -> Self {
        let meta = object.meta();
        Key { namespace: meta.namespace.clone().unwrap_or_default(), name: meta.name.clone().unwrap_or_default() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// What can go wrong between a component and its API server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("kubeconfig {path}: {source}")]
    Kubeconfig { path: String, source: kube::config::KubeconfigError },
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// True for a 404 answer.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// True for a 409 answer, whatever its reason (Conflict or AlreadyExists).
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The HTTP status code when the API server answered with a Status.
    pub fn code(&self) -> Option<u16> {
        match self {
            Error::Api(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }

    /// The Status reason (`NotFound`, `AlreadyExists`, ...) when the API server gave one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Error::Api(kube::Error::Api(status)) => Some(&status.reason),
            _ => None,
        }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
