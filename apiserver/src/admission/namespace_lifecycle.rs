//! NamespaceLifecycle: nothing is created in a namespace that is not there or is going away
//! (k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go@v0.37.2).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use api::object::Meta;
use api::status::Status;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{Attributes, Operation, Plugin, Reader};

/// Namespaces that cannot be deleted.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];
/// Kinds that may be asked in any namespace.
const REVIEWS: &str = "authorization.k8s.io";

/// How long, and how many, deleted namespaces are looked up in the store: the cache may not know yet.
const LIVE_LOOKUP: Duration = Duration::from_secs(30);
const LIVE_LOOKUPS_MAX: usize = 100;

#[derive(Default)]
pub(crate) struct NamespaceLifecycle {
    deleted: Mutex<VecDeque<(String, Instant)>>,
}

impl NamespaceLifecycle {
    fn note_deleted(&self, name: &str) {
        let mut deleted = self.deleted.lock();
        deleted.retain(|(known, at)| known != name && at.elapsed() < LIVE_LOOKUP);
        if deleted.len() >= LIVE_LOOKUPS_MAX {
            deleted.pop_front();
        }
        deleted.push_back((name.into(), Instant::now()));
    }

    fn was_deleted(&self, name: &str) -> bool {
        self.deleted.lock().iter().any(|(known, at)| known == name && at.elapsed() < LIVE_LOOKUP)
    }
}

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update | Operation::Delete)
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            if attributes.operation == Operation::Delete
                && attributes.is("", "namespaces", &[""])
                && IMMORTAL.contains(&attributes.name)
            {
                return Err(attributes.forbidden("this namespace may not be deleted"));
            }
            if attributes.operation == Operation::Delete && attributes.is("", "namespaces", &[""]) {
                self.note_deleted(attributes.name);
            }
            let own = attributes.is("", "namespaces", &["", "status", "finalize"]);
            if attributes.namespace.is_empty() || own || attributes.group == REVIEWS {
                return Ok(());
            }
            // Objects in a namespace that is going away may still be changed and deleted.
            if attributes.operation != Operation::Create {
                return Ok(());
            }
            check(attributes, objects, self.was_deleted(attributes.namespace)).await
        })
    }
}

async fn check(attributes: &Attributes<'_>, objects: &dyn Reader, live: bool) -> Result<(), Status> {
    let name = attributes.namespace;
    let cached = objects.cached("", "namespaces", "", name);
    let found = match cached {
        Some(namespace) if !live || namespace.is_deleting() => Some(namespace.is_deleting()),
        // The cache may not know it yet.
        _ => objects.live("", "namespaces", "", name).await?.map(|namespace| namespace.is_deleting()),
    };
    match found {
        None => Err(Status::not_found("", "namespaces", name)),
        Some(false) => Ok(()),
        Some(true) => {
            let why = format!("unable to create new content in namespace {name} because it is being terminated");
            let cause = format!("namespace {name} is being terminated");
            Err(attributes.forbidden(&why).with_cause("NamespaceTerminating", &cause, "metadata.namespace"))
        }
    }
}
